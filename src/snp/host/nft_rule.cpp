#include "snp/host/nft_rule.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace snp::host {
namespace {

using Json = nlohmann::json;

constexpr ChainId kNoChain = ~ChainId{0};  // jumps to what is not there

std::optional<std::uint16_t> port_in(const Json& value) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > 0xffff) return std::nullopt;
  return value.get<std::uint16_t>();
}

std::optional<AddressRange> prefix_in(const Json& value) {
  const auto address = parse_address(text_in(value, "addr"));
  const auto length = value.find("len");
  if (!address || length == value.end() || !length->is_number_unsigned()) return std::nullopt;
  return range_of_prefix(*address, length->get<unsigned>());
}

bool add_address(const Json& value, Condition& out) {
  if (value.is_string()) {
    const auto address = parse_address(value.get<std::string>());
    if (address) out.addresses.push_back({*address, *address});
    return address.has_value();
  }
  if (!value.is_object()) return false;
  if (const auto prefix = value.find("prefix"); prefix != value.end()) {
    const auto range = prefix_in(*prefix);
    if (range) out.addresses.push_back(*range);
    return range.has_value();
  }
  const auto range = value.find("range");
  if (range == value.end() || !range->is_array() || range->size() != 2 ||
      !(*range)[0].is_string() || !(*range)[1].is_string())
    return false;
  const auto first = parse_address((*range)[0].get<std::string>());
  const auto last = parse_address((*range)[1].get<std::string>());
  if (!first || !last) return false;
  out.addresses.push_back({*first, *last});
  return true;
}

bool add_port(const Json& value, Condition& out) {
  if (const auto port = port_in(value)) {
    out.ports.push_back({*port, *port});
    return true;
  }
  if (!value.is_object()) return false;
  const auto range = value.find("range");
  if (range == value.end() || !range->is_array() || range->size() != 2) return false;
  const auto first = port_in((*range)[0]);
  const auto last = port_in((*range)[1]);
  if (!first || !last) return false;
  out.ports.push_back({*first, *last});
  return true;
}

bool add_device(const Json& value, Condition& out) {
  if (!value.is_string()) return false;
  out.devices.push_back(value.get<std::string>());
  return true;
}

std::string text_of_value(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool add_value(const Json& value, Condition& out) {
  switch (out.field) {
    case Field::kFamily:
    case Field::kOther:
      return false;
    case Field::kState:  // conntrack has one state for each packet
      out.is_negated = out.is_negated != (text_of_value(value) != "established");
      return true;
    case Field::kSource:
    case Field::kDestination:
      return add_address(value, out);
    case Field::kSourcePort:
    case Field::kDestinationPort:
      return add_port(value, out);
    case Field::kInDevice:
    case Field::kOutDevice:
      break;
  }
  return add_device(value, out);
}

// An element may carry a time-out, a counter or a comment.
const Json& value_of_element(const Json& element) {
  if (!element.is_object()) return element;
  const auto inner = element.find("elem");
  if (inner == element.end() || !inner->is_object()) return element;
  const auto value = inner->find("val");
  return value != inner->end() ? *value : element;
}

void add_elements(const Json& elements, Condition& out) {
  if (!elements.is_array()) {
    out.is_open = true;
    return;
  }
  for (const Json& element : elements)
    if (!add_value(value_of_element(element), out)) out.is_open = true;
}

class RuleReader {
 public:
  RuleReader(const NftNames& names, const Json& rule)
      : names_(names), family_(text_in(rule, "family")), table_(text_in(rule, "table")) {
    if (const auto handle = rule.find("handle");
        handle != rule.end() && handle->is_number_unsigned())
      rule_.number = handle->get<std::uint32_t>();
  }

  Rule read(const Json& statements) {
    if (!statements.is_array()) {
      add_step(Effect::kActs);
    } else {
      for (const Json& statement : statements)
        read_statement(statement);
    }
    // iptables-nft counts at every jump.
    if (jumps_)
      std::erase_if(rule_.steps, [](const Step& step) { return step.effect == Effect::kCounts; });
    return std::move(rule_);
  }

 private:
  Step& add_step(Effect effect) {
    rule_.steps.push_back({effect, 0, rule_.conditions.size(), {}});
    return rule_.steps.back();
  }

  void add_jump(Effect effect, const std::string& chain) {
    jumps_ = true;
    add_step(effect).chain = chain_named(chain);
  }

  [[nodiscard]] ChainId chain_named(const std::string& chain) const {
    const auto found = names_.chains.find({family_, table_, chain});
    return found == names_.chains.end() ? kNoChain : found->second;
  }

  void read_statement(const Json& statement) {
    if (!statement.is_object() || statement.size() != 1) {
      add_step(Effect::kActs);
      return;
    }
    const std::string kind = statement.begin().key();
    const Json& body = statement.begin().value();
    if (kind == "match") {
      read_match(body);
    } else if (kind == "jump" || kind == "goto") {
      add_jump(kind == "jump" ? Effect::kJumps : Effect::kGoes, text_in(body, "target"));
    } else if (kind == "vmap") {
      read_verdict_map(body);
    } else if (kind == "xt" && text_in(body, "type") == "match") {
      if (text_in(body, "name") != "comment") rule_.conditions.push_back(not_understood());
    } else if (kind == "counter") {
      add_step(Effect::kCounts);
    } else if (kind == "accept") {
      add_step(Effect::kAccepts);
    } else if (kind == "return") {
      add_step(Effect::kReturns);
    } else if (kind != "continue" && kind != "comment") {
      add_step(Effect::kActs);
    }
  }

  void add_family(bool is_v4) {
    Condition family;
    family.is_v4 = is_v4;
    rule_.conditions.push_back(family);
  }

  // Empty: nothing is known of what the expression asks for.
  std::optional<Field> field_of_payload(const Json& payload) {
    const std::string protocol = text_in(payload, "protocol");
    const std::string field = text_in(payload, "field");
    if (protocol == "ip" || protocol == "ip6") {
      add_family(protocol == "ip");
      if (field == "saddr") return Field::kSource;
      if (field == "daddr") return Field::kDestination;
      return std::nullopt;
    }
    if (protocol == "tcp" || protocol == "th") {
      if (field == "sport") return Field::kSourcePort;
      if (field == "dport") return Field::kDestinationPort;
      return std::nullopt;
    }
    static const std::set<std::string> kOthers = {
        "udp", "udplite", "icmp", "icmpv6", "igmp", "sctp", "dccp", "ah", "esp", "comp", "arp"};
    if (kOthers.contains(protocol)) rule_.conditions.push_back(never());
    return std::nullopt;
  }

  std::optional<Field> field_of(const Json& left) {
    if (!left.is_object()) return std::nullopt;
    if (const auto payload = left.find("payload"); payload != left.end())
      return field_of_payload(*payload);
    if (const auto meta = left.find("meta"); meta != left.end()) {
      const std::string key = text_in(*meta, "key");
      if (key == "iifname" || key == "iif") return Field::kInDevice;
      if (key == "oifname" || key == "oif") return Field::kOutDevice;
    }
    if (const auto tracked = left.find("ct");
        tracked != left.end() && text_in(*tracked, "key") == "state" && tracked->size() == 1)
      return Field::kState;
    return std::nullopt;
  }

  // `ct state established,related`; `ct state != invalid`
  void read_state(const Json& right, bool is_negated) {
    Condition condition = not_understood();
    if (is_named(right)) {
      condition.field = Field::kState;
      condition.is_negated = is_negated == names(right, "established");
    }
    rule_.conditions.push_back(std::move(condition));
  }

  // `right` as the values of a condition.
  void read_values(const Json& right, Condition& out) const {
    if (right.is_string() && right.get<std::string>().substr(0, 1) == "@") {
      const NftNames::Name name{family_, table_, right.get<std::string>().substr(1)};
      const auto found = names_.sets.find(name);
      out.is_open = found == names_.sets.end() || names_.filled_by_packets.contains(name);
      if (found != names_.sets.end() && found->second.contains("elem"))
        add_elements(found->second.at("elem"), out);
    } else if (right.is_object() && right.contains("set")) {
      const Json& set = right.at("set");
      add_elements(set.is_array() ? set : Json::array({set}), out);
    } else if (!add_value(right, out)) {
      out.is_open = true;
    }
  }

  // `tcp dport > 1023` and the like, of ports only.
  static bool read_comparison(const std::string& op, const Json& right, Condition& out) {
    const auto port = port_in(right);
    if (!port) return false;
    if (op == "<" && *port > 0)
      out.ports.push_back({0, static_cast<std::uint16_t>(*port - 1)});
    else if (op == "<=")
      out.ports.push_back({0, *port});
    else if (op == ">" && *port < 0xffff)
      out.ports.push_back({static_cast<std::uint16_t>(*port + 1), 0xffff});
    else if (op == ">=")
      out.ports.push_back({*port, 0xffff});
    return true;
  }

  void read_match(const Json& body) {
    if (!body.is_object() || !body.contains("left") || !body.contains("right"))
      return rule_.conditions.push_back(not_understood());
    const std::string op = text_in(body, "op");
    const Json& right = body.at("right");
    if (read_protocol(body.at("left"), op, right)) return;
    const auto field = field_of(body.at("left"));
    const bool is_comparison = op != "==" && op != "in" && op != "!=";
    if (!field) return rule_.conditions.push_back(not_understood());
    if (*field == Field::kState && !is_comparison) return read_state(right, op == "!=");
    Condition condition;
    condition.field = *field;
    const bool is_port = *field == Field::kSourcePort || *field == Field::kDestinationPort;
    if (!is_comparison) {
      condition.is_negated = op == "!=";
      read_values(right, condition);
    } else if (!is_port || !read_comparison(op, right, condition)) {
      condition = not_understood();
    }
    rule_.conditions.push_back(std::move(condition));
  }

  static bool names(const Json& value, const char* name) {
    if (value.is_string()) return value.get<std::string>() == name;
    if (value.is_object() && value.contains("set")) return names(value.at("set"), name);
    return value.is_array() && std::any_of(value.begin(), value.end(),
                                           [&](const Json& item) { return names(item, name); });
  }

  // Names only: a number, or the name of a set, may stand for anything.
  static bool is_named(const Json& value) {
    if (value.is_string()) return value.get<std::string>().substr(0, 1) != "@";
    if (value.is_object() && value.contains("set")) return is_named(value.at("set"));
    return value.is_array() && std::all_of(value.begin(), value.end(), is_named);
  }

  // Conditions on protocols: of the network, or of the transport. True: it was one.
  bool read_protocol(const Json& left, const std::string& op, const Json& right) {
    if (!left.is_object()) return false;
    std::string key;
    if (const auto meta = left.find("meta"); meta != left.end()) key = text_in(*meta, "key");
    if (const auto payload = left.find("payload"); payload != left.end()) {
      const std::string field = text_in(*payload, "field");
      if (field == "protocol" || field == "nexthdr") {
        (void)field_of_payload(*payload);
        key = "l4proto";
        // An extension header may stand between.
        if (field == "nexthdr") rule_.conditions.push_back(not_understood());
      }
    }
    if (key != "l4proto" && key != "nfproto" && key != "protocol") return false;
    const bool is_plain = (op == "==" || op == "!=" || op == "in") && is_named(right);
    if (!is_plain)
      rule_.conditions.push_back(not_understood());
    else if (key == "l4proto")
      read_transport(right, op == "!=");
    else
      read_family(key, right, op == "!=");
    return true;
  }

  void read_transport(const Json& right, bool is_negated) {
    if (names(right, "tcp") == is_negated) rule_.conditions.push_back(never());
  }

  void read_family(const std::string& key, const Json& right, bool is_negated) {
    const bool is_v4 = names(right, key == "protocol" ? "ip" : "ipv4");
    const bool is_v6 = names(right, key == "protocol" ? "ip6" : "ipv6");
    if (is_v4 != is_v6)
      add_family(is_v4 != is_negated);
    else if (is_v4 == is_negated)  // neither of them, or not one of both
      rule_.conditions.push_back(never());
  }

  void read_verdict_map(const Json& body) {
    const auto field =
        body.is_object() && body.contains("key") ? field_of(body.at("key")) : std::nullopt;
    const Json* elements = nullptr;
    if (body.is_object() && body.contains("data")) {
      const Json& data = body.at("data");
      if (data.is_object() && data.contains("set")) elements = &data.at("set");
      if (data.is_string()) {
        const auto set = names_.sets.find({family_, table_, data.get<std::string>().substr(1)});
        if (set != names_.sets.end() && !set->second.contains("elem")) return;  // empty
        if (set != names_.sets.end()) elements = &set->second.at("elem");
      }
    }
    if (elements == nullptr || !elements->is_array()) {
      add_step(Effect::kActs);
      return;
    }
    for (const Json& element : *elements)
      read_map_element(field, element);
  }

  void read_map_element(std::optional<Field> field, const Json& element) {
    Step& step = add_step(Effect::kActs);
    if (!element.is_array() || element.size() != 2) return;
    Condition condition = not_understood();
    if (field) {
      condition.field = *field;
      condition.is_open = !add_value(value_of_element(element[0]), condition);
    }
    step.conditions.push_back(std::move(condition));
    const Json& verdict = element[1];
    if (!verdict.is_object()) return;
    for (const auto& [kind, effect] :
         {std::pair("jump", Effect::kJumps), std::pair("goto", Effect::kGoes)})
      if (verdict.contains(kind)) {
        step.effect = effect;
        step.chain = chain_named(text_in(verdict.at(kind), "target"));
      }
    if (verdict.contains("accept")) step.effect = Effect::kAccepts;
    if (verdict.contains("return")) step.effect = Effect::kReturns;
  }

  const NftNames& names_;
  std::string family_, table_;
  Rule rule_;
  bool jumps_ = false;
};

}  // namespace

std::string text_in(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Rule read_nft_rule(const NftNames& names, const nlohmann::json& rule) {
  return RuleReader(names, rule).read(rule.at("expr"));
}

}  // namespace snp::host
