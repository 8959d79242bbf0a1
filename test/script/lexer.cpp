#include "test/script/lexer.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace snp::script {
namespace {

constexpr std::string_view kSigns = "<>()[]{},:=+-*~.|";
constexpr std::string_view kNoHandover = "no-handover:";
constexpr std::string_view kHandoverAgain = "handover-again";

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}
bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  tl::expected<std::vector<Token>, Fault> run() {
    for (;;) {
      if (!skip_space()) return tl::unexpected(std::move(fault_));
      if (at_ == source_.size()) break;
      begin_ = at_;
      start_ = here_;
      if (!take()) return tl::unexpected(std::move(fault_));
    }
    tokens_.push_back({Token::Kind::kEnd, "the end of the file", here_, at_, at_});
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  [[nodiscard]] bool sees(std::string_view text) const {
    return source_.substr(at_, text.size()) == text;
  }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void advance(std::size_t count) {
    for (const std::size_t end = std::min(at_ + count, source_.size()); at_ < end; ++at_) {
      if (source_[at_] == '\n') {
        ++here_.line;
        here_.column = 1;
      } else {
        ++here_.column;
      }
    }
  }
  void advance_to(std::string_view end) {
    advance(std::min(source_.find(end, at_), source_.size()) - at_);
  }
  bool fail(std::string message) {
    fault_ = {start_, std::move(message)};
    return false;
  }

  bool skip_space() {
    for (;;) {
      start_ = here_;
      if (std::isspace(static_cast<unsigned char>(peek())) != 0) {
        advance(1);
      } else if (sees("//") || sees("#")) {
        advance_to("\n");
      } else if (sees("/*")) {
        advance_to("*/");
        if (at_ == source_.size()) return fail("this comment has no end");
        advance(2);
      } else {
        return true;
      }
    }
  }

  bool push(Kind kind, std::string_view text) {
    tokens_.push_back({kind, std::string(text), start_, begin_, at_});
    return true;
  }
  bool push_to_here(Kind kind) { return push(kind, source_.substr(begin_, at_ - begin_)); }

  bool take() {
    if (sees("%{")) return take_code();
    if (sees("--")) return take_option();
    if (peek() == '"') return take_string();
    if (sees(kNoHandover)) return take_no_handover();
    if (sees(kHandoverAgain)) {
      advance(kHandoverAgain.size());
      return push_to_here(Kind::kHandoverAgain);
    }
    if (sees("...")) {
      advance(3);
      return push_to_here(Kind::kSign);
    }
    if (is_digit(peek()) || (peek() == '.' && is_digit(peek(1)))) {
      while (is_digit(peek()) || (peek() == '.' && is_digit(peek(1))))
        advance(1);
      if (is_letter(peek())) return fail("this is neither a number nor a word");
      return push_to_here(Kind::kNumber);
    }
    if (is_letter(peek())) {
      while (is_letter(peek()) || is_digit(peek()))
        advance(1);
      return push_to_here(Kind::kWord);
    }
    if (kSigns.find(peek()) == std::string_view::npos)
      return fail(std::string("a script has no '") + peek() + "'");
    advance(1);
    return push_to_here(Kind::kSign);
  }

  bool take_code() {
    advance_to("}%");
    if (at_ == source_.size()) return fail("this code has no }%");
    const std::string_view text = source_.substr(begin_ + 2, at_ - begin_ - 2);
    advance(2);
    return push(Kind::kCode, text);
  }
  bool take_option() {
    while (peek() != '\0' && std::isspace(static_cast<unsigned char>(peek())) == 0)
      advance(1);
    return push(Kind::kOption, source_.substr(begin_ + 2, at_ - begin_ - 2));
  }
  bool take_string() {
    advance(1);
    while (peek() != '"' && peek() != '\n' && peek() != '\0')
      advance(1);
    if (peek() != '"') return fail("this string has no end");
    advance(1);
    return push(Kind::kString, source_.substr(begin_ + 1, at_ - begin_ - 2));
  }
  bool take_no_handover() {
    advance_to("\n");
    std::string_view reason = source_.substr(begin_ + kNoHandover.size());
    reason = reason.substr(0, at_ - begin_ - kNoHandover.size());
    while (!reason.empty() && reason.front() == ' ')
      reason.remove_prefix(1);
    if (reason.empty()) return fail("no-handover needs a reason");
    return push(Kind::kNoHandover, reason);
  }

  std::string_view source_;
  std::size_t at_ = 0, begin_ = 0;
  Place here_, start_;
  Fault fault_;
  std::vector<Token> tokens_;
};

}  // namespace

tl::expected<std::vector<Token>, Fault> split_into_tokens(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace snp::script
