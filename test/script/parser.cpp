#include "test/script/parser.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "test/script/lexer.h"
#include "test/script/setup.h"

namespace snp::script {
namespace {

using Kind = Token::Kind;

// Thrown inside this file only: a recursive descent has one way out.
struct Refusal {
  Fault fault;
};

class Parser {
 public:
  Parser(std::string path, std::string_view source, std::vector<Token> tokens)
      : source_(source), tokens_(std::move(tokens)) {
    script_.path = std::move(path);
  }

  Script run() {
    while (see().kind == Kind::kOption) {
      const Token& token = next();
      if (const auto applied = apply_option(token.text, script_.setup); !applied)
        refuse(token, applied.error().message);
    }
    if (const auto completed = complete(script_.setup); !completed)
      refuse(see(), completed.error().message);
    while (see().kind != Kind::kEnd)
      parse_line();
    if (script_.events.empty()) refuse(see(), "nothing happens in this script");
    return std::move(script_);
  }

 private:
  [[noreturn]] static void refuse(const Token& token, std::string message) {
    throw Refusal{{token.place, std::move(message)}};
  }
  [[nodiscard]] const Token& see(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() {
    const Token& token = see();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool take(std::string_view sign) {
    if (!see().is(sign)) return false;
    next();
    return true;
  }
  bool take_word(std::string_view word) {
    if (!see().is_word(word)) return false;
    next();
    return true;
  }
  void need(std::string_view sign) {
    if (!take(sign)) refuse(see(), "expected " + std::string(sign) + ", not " + see().text);
  }
  void need_word(std::string_view word) {
    if (!take_word(word)) refuse(see(), "expected " + std::string(word) + ", not " + see().text);
  }
  std::uint32_t need_number(std::uint32_t most = 0xffffffff) {
    const Token& token = next();
    const auto number = token.kind == Kind::kNumber ? parse_number(token.text) : std::nullopt;
    if (!number) refuse(token, "expected a number, not " + token.text);
    if (*number > most) refuse(token, "more than " + std::to_string(most));
    return *number;
  }

  void parse_line() {
    if (see().kind == Kind::kNoHandover) {
      if (!no_handover_.empty()) refuse(see(), "no-handover stands already");
      no_handover_ = next().text;
      // The gap before the next event belongs to the range, too.
      if (!script_.events.empty()) script_.events.back().no_handover = no_handover_;
      return;
    }
    if (see().kind == Kind::kHandoverAgain) {
      if (no_handover_.empty()) refuse(see(), "there is no no-handover to end");
      next();
      no_handover_.clear();
      if (!script_.events.empty()) script_.events.back().no_handover.clear();
      return;
    }
    if (see().kind == Kind::kOption) refuse(see(), "options stand before the first event");
    parse_event();
  }

  void parse_event() {
    Event event;
    const Token first = see();
    event.place = first.place;
    event.when = parse_when();
    const Token& body = see();
    if (body.is("<") || body.is(">")) {
      event.what = parse_packet();
    } else if (body.kind == Kind::kCode) {
      event.what = parse_code();
    } else if (body.kind == Kind::kWord && see(1).is("(")) {
      event.what = parse_call();
    } else if (body.kind == Kind::kWord) {
      event.what = parse_host_act();
    } else {
      refuse(body, "expected a segment, a call, code or an event, not " + body.text);
    }
    const auto* packet = std::get_if<Packet>(&event.what);
    if ((event.when.kind == When::Kind::kAny || event.when.from != event.when.to) &&
        (packet == nullptr || !packet->is_outbound))
      refuse(first, "only a segment that we send may come within a range of time");
    event.text = text_between(first.begin, tokens_[at_ - 1].end);
    event.no_handover = no_handover_;
    script_.events.push_back(std::move(event));
  }

  // One line, without the comments and spaces around line ends.
  [[nodiscard]] std::string text_between(std::size_t begin, std::size_t end) const {
    std::string out;
    for (const char c : source_.substr(begin, end - begin)) {
      const bool is_space = c == ' ' || c == '\n' || c == '\t';
      if (!is_space || (!out.empty() && out.back() != ' ')) out += is_space ? ' ' : c;
    }
    return out;
  }

  Duration parse_time() {
    const Token& token = next();
    const auto time = token.kind == Kind::kNumber ? parse_duration(token.text) : std::nullopt;
    if (!time) refuse(token, "expected a time in seconds, not " + token.text);
    return *time;
  }
  When parse_when() {
    When when;
    if (take("*")) {
      when.kind = When::Kind::kAny;
      return when;
    }
    const Token& first = see();
    const bool is_relative = take("+");
    when.kind = is_relative ? When::Kind::kRelative : When::Kind::kAbsolute;
    when.from = when.to = parse_time();
    if (take("~")) {
      if (take("+") != is_relative)
        refuse(first, "both ends of a range count alike, with or without +");
      when.to = parse_time();
      if (when.to < when.from) refuse(first, "this range ends before it begins");
    }
    return when;
  }

  Packet parse_packet() {
    Packet packet;
    packet.is_outbound = next().text == ">";
    if (take("[")) packet.ecn = parse_ecn();
    parse_flags(packet);
    parse_sequence(packet);
    if (take_word("ack")) packet.ack = need_number();
    if (take_word("win")) packet.wnd = static_cast<std::uint16_t>(need_number(0xffff));
    if (take_word("gso")) packet.gso = need_number(0xffff);
    if (take("<")) parse_options(packet);
    if (((packet.flags & TcpFlags::kAck) != 0) != packet.ack.has_value())
      refuse(see(), "`.` and `ack` go together");
    return packet;
  }
  Packet::Ecn parse_ecn() {
    const Token& token = next();
    need("]");
    if (token.text == "noecn") return Packet::Ecn::kNoEct;
    if (token.text == "ect0") return Packet::Ecn::kEct0;
    if (token.text == "ce") return Packet::Ecn::kCe;
    refuse(token, "expected noecn, ect0 or ce, not " + token.text);
  }
  void parse_flags(Packet& packet) {
    constexpr std::string_view kLetters = "FSRP.UEW";
    const Token first = see();
    std::string letters;
    while (see().kind == Kind::kWord || see().is(".")) {
      if (!letters.empty() && see().begin != tokens_[at_ - 1].end) break;
      letters += next().text;
    }
    if (letters.empty()) refuse(first, "expected flags, not " + first.text);
    for (const char letter : letters) {
      const std::size_t bit = kLetters.find(letter);
      if (bit == std::string_view::npos)
        refuse(first, std::string("there is no flag ") + letter + "; flags are FSRP.UEW");
      packet.flags = static_cast<std::uint8_t>(packet.flags | (1u << bit));
    }
  }
  void parse_sequence(Packet& packet) {
    const Token first = see();
    packet.seq = need_number();
    need(":");
    const std::uint32_t end = need_number();
    need("(");
    packet.length = need_number(1u << 20);
    need(")");
    if (end - packet.seq != packet.length)
      refuse(first, std::to_string(packet.seq) + ":" + std::to_string(end) + " is not " +
                        std::to_string(packet.length) + " bytes");
  }

  void parse_options(Packet& packet) {
    packet.how_options = Packet::Options::kListed;
    if (take("...")) {
      if (!packet.is_outbound) refuse(see(), "<...> is for segments that we send");
      packet.how_options = Packet::Options::kAny;
      return need(">");
    }
    do {
      parse_option(packet);
    } while (take(","));
    need(">");
  }
  void parse_option(Packet& packet) {
    const Token& token = next();
    TcpOptions& options = packet.options;
    if (token.is_word("nop") || token.is_word("eol")) return;
    if (token.is_word("TS")) {
      need_word("val");
      options.ts_val = need_number();
      need_word("ecr");
      options.ts_ecr = need_number();
      options.has_timestamps = true;
    } else if (token.is_word("sack")) {
      while (see().kind == Kind::kNumber)
        parse_block(token, options);
      if (options.sack_count == 0) refuse(token, "sack without a block");
    } else if ((packet.flags & TcpFlags::kSyn) == 0) {
      refuse(token, "no segment of an established connection has the option " + token.text);
    } else if (token.is_word("mss") || token.is_word("wscale")) {
      (void)need_number(0xffff);
    } else if (!token.is_word("sackOK")) {
      refuse(token, "there is no option " + token.text);
    }
  }
  void parse_block(const Token& token, TcpOptions& options) {
    if (options.sack_count == options.sack.size()) refuse(token, "more than four SACK blocks");
    SackBlock& block = options.sack[options.sack_count++];
    block.start = SeqNum(need_number());
    need(":");
    block.end = SeqNum(need_number());
  }

  Call parse_call() {
    Call call;
    call.name = next().text;
    need("(");
    if (!take(")")) {
      do {
        parse_argument(call);
      } while (take(","));
      need(")");
    }
    need("=");
    const bool is_negative = take("-");
    call.result = need_number(0x7fffffff);
    if (is_negative) {
      if (call.result != 1) refuse(see(), "a call that fails returns -1");
      call.result = -1;
      if (see().kind != Kind::kWord)
        refuse(see(), "expected the name of an error, not " + see().text);
      call.error = next().text;
      if (take("("))  // packetdrill's explanation of it
        while (!take(")")) {
          if (see().kind == Kind::kEnd) refuse(see(), "expected )");
          next();
        }
    }
    return call;
  }
  // 1000, [1], {onoff=1, linger=0}, SOL_TCP, "cubic", ... (which stands for a buffer).
  void parse_argument(Call& call) {
    if (take("...")) return;
    if (take("[")) {
      call.numbers.push_back(need_number());
      return need("]");
    }
    if (take("{")) {
      do {
        if (next().kind != Kind::kWord) refuse(see(), "expected the name of a field");
        need("=");
        call.numbers.push_back(need_number());
      } while (take(","));
      return need("}");
    }
    const Token& token = see();
    if (token.kind == Kind::kNumber) {
      call.numbers.push_back(need_number());
    } else if (token.kind == Kind::kWord || token.kind == Kind::kString) {
      call.words.push_back(next().text);
    } else {
      refuse(token, "expected an argument, not " + token.text);
    }
  }

  Code parse_code() {
    const Token& token = next();
    Code code;
    std::uint32_t line = token.place.line;
    std::size_t begin = 0;
    const std::string& text = token.text;
    while (begin <= text.size()) {
      const std::size_t end = std::min(text.find_first_of("\n;", begin), text.size());
      const Place place{line, begin == 0 ? token.place.column + 2 : 1};
      parse_assertion(std::string_view(text).substr(begin, end - begin), place, code);
      if (end < text.size() && text[end] == '\n') ++line;
      begin = end + 1;
    }
    if (code.assertions.empty()) refuse(token, "nothing is asserted here");
    return code;
  }
  static void parse_assertion(std::string_view text, Place place, Code& code) {
    constexpr std::string_view kAssert = "assert";
    text = text.substr(0, text.find('#'));
    const std::size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return;
    text = text.substr(begin);
    place.column += static_cast<std::uint32_t>(begin);
    if (!text.starts_with(kAssert) || text.size() == kAssert.size())
      throw Refusal{{place, "expected assert and an expression"}};
    text = text.substr(kAssert.size());
    auto parsed = Expression::parse(text);
    if (!parsed) {
      place.column += static_cast<std::uint32_t>(kAssert.size() + parsed.error().offset);
      throw Refusal{{place, parsed.error().message}};
    }
    code.assertions.push_back(
        {place, std::string(text.substr(text.find_first_not_of(' '))), std::move(*parsed)});
  }

  HostAct parse_host_act() {
    const Token& token = next();
    if (token.text == "handover") return {HostAct::Kind::kHandOver};
    if (token.text == "restart") return {HostAct::Kind::kRestart};
    if (token.text == "upload") return {HostAct::Kind::kUpload};
    if (token.text == "offload") return {HostAct::Kind::kOffload};
    if (token.text == "path_mtu") return {HostAct::Kind::kPathMtu, need_number(0xffff)};
    refuse(token, "there is no event " + token.text);
  }

  std::string_view source_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::string no_handover_;
  Script script_;
};

std::string at_place(const std::string& path, const Fault& fault) {
  return path + ":" + std::to_string(fault.place.line) + ":" + std::to_string(fault.place.column) +
         ": " + fault.message;
}

}  // namespace

Result<Script> parse_script(const std::string& path, std::string_view source) {
  auto tokens = split_into_tokens(source);
  if (!tokens) return fail(Errc::kInvalid, at_place(path, tokens.error()));
  try {
    return Parser(path, source, std::move(*tokens)).run();
  } catch (const Refusal& refusal) {
    return fail(Errc::kInvalid, at_place(path, refusal.fault));
  }
}

Result<Script> load_script(const std::string& path) {
  const std::ifstream file(path);
  if (!file) return fail(Errc::kNotFound, path + ": cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_script(path, text.str());
}

}  // namespace snp::script
