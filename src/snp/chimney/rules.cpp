#include "snp/chimney/rules.h"

#include <algorithm>
#include <charconv>

namespace snp::chimney {
namespace {

using What = Condition::What;

struct Token {
  std::string_view text;
  std::size_t column = 0;  // from 1
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

bool is_operator(std::string_view text) {
  return text.substr(0, 2) == "&&" || text.substr(0, 2) == "=>";
}

// Words and the signs ! , && =>. A # begins a comment.
std::vector<Token> split(std::string_view line) {
  std::vector<Token> tokens;
  std::size_t i = 0;
  while (i < line.size() && line[i] != '#') {
    std::size_t end = i + 1;
    if (is_blank(line[i])) {
      i = end;
      continue;
    }
    if (is_operator(line.substr(i))) {
      end = i + 2;
    } else if (line[i] != ',' && line[i] != '!') {
      while (end < line.size() && !is_blank(line[end]) && line[end] != ',' && line[end] != '#' &&
             !is_operator(line.substr(end)))
        ++end;
    }
    tokens.push_back({line.substr(i, end - i), i + 1});
    i = end;
  }
  return tokens;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<Range> parse_range(std::string_view text, std::uint64_t most) {
  const std::size_t dash = text.find('-');
  const auto first = parse_number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_number(text.substr(dash + 1));
  if (!first || !last || *first > *last || *last > most) return std::nullopt;
  return Range{*first, *last};
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  int shift = 0;
  if (!text.empty()) {
    shift = text.back() == 'K' ? 10 : text.back() == 'M' ? 20 : text.back() == 'G' ? 30 : 0;
    if (shift != 0) text.remove_suffix(1);
  }
  const auto number = parse_number(text);
  if (!number || *number > ~std::uint64_t{0} >> shift) return std::nullopt;
  return *number << shift;
}

void clear_behind(AddressPrefix& prefix) {
  for (std::size_t bit = prefix.bits; bit < 128; ++bit)
    prefix.address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80u >> (bit % 8)));
}

std::optional<AddressPrefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = parse_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  const std::uint64_t most = address->is_v4() ? 32 : 128;
  const auto bits =
      slash == std::string_view::npos ? most : parse_number(text.substr(slash + 1)).value_or(999);
  if (bits > most) return std::nullopt;
  AddressPrefix prefix{*address, static_cast<std::uint8_t>(bits + 128 - most)};
  clear_behind(prefix);
  return prefix;
}

// What stands behind the words that begin a condition.
struct Kind {
  std::string_view word;
  What what;
  const char* allowed;
};
constexpr Kind kKinds[] = {
    {"program", What::kProgram, "a path or a name, * at its end for any that begins so"},
    {"uid", What::kUid, "a number or FIRST-LAST"},
    {"cgroup", What::kCgroup, "a path that begins with /"},
    {"interface", What::kInterface, "a name, * at its end for any that begins so"},
    {"net", What::kNet, "an address, or ADDRESS/BITS"},
    {"port", What::kPort, "0..65535 or FIRST-LAST"},
};

What of_side(What what, bool is_local) {
  if (what == What::kNet) return is_local ? What::kLocalNet : What::kRemoteNet;
  return is_local ? What::kLocalPort : What::kRemotePort;
}

bool take_value(std::string_view text, What kind, Condition& condition) {
  switch (kind) {
    case What::kNet:
      if (const auto prefix = parse_prefix(text)) {
        condition.nets.push_back(*prefix);
        return true;
      }
      return false;
    case What::kUid:
    case What::kPort:
      if (const auto range = parse_range(text, kind == What::kPort ? 65535 : 0xffffffff)) {
        condition.numbers.push_back(*range);
        return true;
      }
      return false;
    case What::kCgroup:
      if (text.front() != '/') return false;
      break;
    default:
      break;
  }
  condition.names.emplace_back(text);
  return true;
}

class LineParser {
 public:
  LineParser(std::string_view line, const RuleLimits& limits)
      : tokens_(split(line)), end_column_(line.size() + 1), limits_(limits) {}

  [[nodiscard]] bool is_empty() const { return tokens_.empty(); }
  [[nodiscard]] std::size_t column() const { return column_; }
  [[nodiscard]] const std::string& wrong() const { return wrong_; }

  bool parse(Rule& rule) {
    if (!take_conditions(rule) || !take_action(rule)) return false;
    while (!is_done())
      if (!take_treatment(rule.treatment)) return false;
    return true;
  }

 private:
  [[nodiscard]] bool is_done() const { return next_ == tokens_.size(); }
  [[nodiscard]] std::string_view peek() const { return is_done() ? "" : tokens_[next_].text; }

  bool take(std::string_view word) {
    if (is_done() || peek() != word) return false;
    ++next_;
    return true;
  }

  bool refuse(std::string what) {
    column_ = is_done() ? end_column_ : tokens_[next_].column;
    const std::string found = is_done() ? "the line ends" : "'" + std::string(peek()) + "'";
    wrong_ = found + ": " + std::move(what);
    return false;
  }

  bool take_conditions(Rule& rule) {
    if (take("all")) return true;
    do {
      Condition condition;
      if (!take_condition(condition)) return false;
      rule.conditions.push_back(std::move(condition));
    } while (take("&&") || take("and"));
    return true;
  }

  bool take_condition(Condition& condition) {
    condition.is_negated = take("!") || take("not");
    const bool is_local = take("local");
    const bool is_remote = !is_local && take("remote");
    const Kind* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                    [&](const Kind& each) { return each.word == peek(); });
    const bool has_side = is_local || is_remote;
    if (kind == std::end(kKinds) ||
        (has_side && kind->what != What::kNet && kind->what != What::kPort))
      return refuse(has_side ? "give net or port"
                             : "give all, program, uid, cgroup, interface, or [local|remote] net "
                               "or port");
    ++next_;
    condition.what = has_side ? of_side(kind->what, is_local) : kind->what;
    do {
      if (is_done() || is_operator(peek()) || !take_value(peek(), kind->what, condition))
        return refuse(std::string(kind->word) + " takes " + kind->allowed);
      ++next_;
    } while (take(","));
    return true;
  }

  bool take_action(Rule& rule) {
    if (!take("=>")) return refuse("give && and another condition, or => and what happens");
    if (take("automatic"))
      rule.action = RuleAction::kAutomatic;
    else if (take("offload"))
      rule.action = RuleAction::kOffload;
    else if (take("host") || (take("!") && take("offload")))
      rule.action = RuleAction::kHost;
    else
      return refuse("give offload, !offload or automatic");
    if (rule.action == RuleAction::kHost && !is_done())
      return refuse("nothing follows when the connection stays in the host");
    return true;
  }

  bool take_treatment(Treatment& treatment) {
    if (take("cong")) return take_congestion_control(treatment);
    if (take("shard")) {
      const auto shard = parse_number(peek());
      if (!shard || *shard >= limits_.shards)
        return refuse("shard takes 0.." + std::to_string(limits_.shards - 1));
      treatment.shard = static_cast<std::uint32_t>(*shard);
      ++next_;
      return true;
    }
    const bool is_both = take("ring");
    const bool is_receive = !is_both && take("rx_ring");
    if (!is_both && !is_receive && !take("tx_ring"))
      return refuse("give cong NAME, ring, rx_ring or tx_ring BYTES, or shard NUMBER");
    const auto bytes = parse_bytes(peek());
    if (!bytes || *bytes < limits_.ring_min || *bytes > limits_.ring_max)
      return refuse("a ring takes " + std::to_string(limits_.ring_min) + ".." +
                    std::to_string(limits_.ring_max) + " bytes");
    if (is_both || is_receive) treatment.rx_ring = *bytes;
    if (!is_receive) treatment.tx_ring = *bytes;
    ++next_;
    return true;
  }

  bool take_congestion_control(Treatment& treatment) {
    const auto& known = limits_.congestion_controls;
    if (std::find(known.begin(), known.end(), peek()) == known.end()) {
      std::string names;
      for (const std::string& name : known)
        names += (names.empty() ? "" : ", ") + name;
      return refuse("cong takes one of " + names);
    }
    treatment.congestion_control = peek();
    ++next_;
    return true;
  }

  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  std::size_t end_column_;
  const RuleLimits& limits_;
  std::size_t column_ = 0;
  std::string wrong_;
};

std::string place(const std::string& name, std::size_t line, std::size_t column) {
  return name + ":" + std::to_string(line) + ":" + std::to_string(column) + ": ";
}

bool is_text(std::string_view line) {
  return std::all_of(line.begin(), line.end(), [](char c) {
    return c == '\t' || c == '\r' || (static_cast<unsigned char>(c) >= 32 && c != 127);
  });
}

std::string_view trim(std::string_view line) {
  while (!line.empty() && is_blank(line.front()))
    line.remove_prefix(1);
  while (!line.empty() && is_blank(line.back()))
    line.remove_suffix(1);
  return line;
}

}  // namespace

bool AddressPrefix::contains(const IpAddress& other) const noexcept {
  const std::size_t whole = bits / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin()))
    return false;
  const std::size_t rest = bits % 8;
  return rest == 0 || (address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest) == 0;
}

const char* to_string(RuleAction action) noexcept {
  switch (action) {
    case RuleAction::kOffload:
      return "offload";
    case RuleAction::kHost:
      return "!offload";
    case RuleAction::kAutomatic:
      break;
  }
  return "automatic";
}

Result<Rules> parse_rules(std::string_view text, const std::string& name,
                          const RuleLimits& limits) {
  if (text.size() > kMostRuleBytes)
    return fail(Errc::kInvalid,
                name + ": longer than " + std::to_string(kMostRuleBytes) + " bytes");
  Rules rules;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!is_text(line))
      return fail(Errc::kInvalid, place(name, number, 1) + "control characters in the line");
    LineParser parser(line, limits);
    if (parser.is_empty()) continue;
    if (rules.size() == kMostRules)
      return fail(Errc::kInvalid,
                  place(name, number, 1) + "more than " + std::to_string(kMostRules) + " rules");
    Rule rule;
    rule.line = number;
    rule.text = trim(line);
    if (!parser.parse(rule))
      return fail(Errc::kInvalid, place(name, number, parser.column()) + parser.wrong());
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace snp::chimney
