#include "test/script/expression.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace snp::script {

// Precedence climbing over the operators below, loosest first.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view text) : text_(text) {}

  tl::expected<Expression, Expression::Error> parse() {
    if (parse_level(0)) {
      skip_space();
      if (at_ != text_.size()) fail("this does not continue an expression");
    }
    if (failed_) return tl::unexpected(std::move(error_));
    return std::move(out_);
  }

 private:
  using Op = Expression::Op;
  struct Operator {
    std::string_view text;
    Op op;
    int level;
  };
  // The longer of two that begin alike comes first.
  static constexpr std::array<Operator, 15> kOperators{{
      {"||", Op::kOr, 0},
      {"or", Op::kOr, 0},
      {"&&", Op::kAnd, 1},
      {"and", Op::kAnd, 1},
      {"==", Op::kEqual, 2},
      {"!=", Op::kNotEqual, 2},
      {"<=", Op::kLessEqual, 3},
      {">=", Op::kGreaterEqual, 3},
      {"<", Op::kLess, 3},
      {">", Op::kGreater, 3},
      {"+", Op::kAdd, 4},
      {"-", Op::kSubtract, 4},
      {"*", Op::kMultiply, 5},
      {"/", Op::kDivide, 5},
      {"%", Op::kModulo, 5},
  }};
  static constexpr int kUnaryLevel = 6;

  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0)
      ++at_;
  }
  bool fail(std::string message) {
    if (!failed_) error_ = {at_, std::move(message)};
    failed_ = true;
    return false;
  }
  bool take(std::string_view token) {
    skip_space();
    if (text_.substr(at_, token.size()) != token) return false;
    const std::size_t end = at_ + token.size();
    if (is_word(token.back()) && end < text_.size() && is_word(text_[end])) return false;
    at_ = end;
    return true;
  }
  const Operator* take_operator(int level) {
    for (const Operator& candidate : kOperators)
      if (candidate.level == level && take(candidate.text)) return &candidate;
    return nullptr;
  }

  bool parse_level(int level) {
    if (level == kUnaryLevel) return parse_unary();
    if (!parse_level(level + 1)) return false;
    while (const Operator* found = take_operator(level)) {
      if (!parse_level(level + 1)) return false;
      out_.steps_.push_back({found->op});
    }
    return true;
  }

  bool parse_unary() {
    skip_space();
    const bool is_not = (text_.substr(at_, 2) != "!=" && take("!")) || take("not");
    if (is_not || take("-")) {
      if (++depth_ > kMaxDepth) return fail("this is nested too deeply");
      if (!parse_unary()) return false;
      out_.steps_.push_back({is_not ? Op::kNot : Op::kNegate});
      return true;
    }
    if (take("(")) {
      if (++depth_ > kMaxDepth) return fail("this is nested too deeply");
      if (!parse_level(0)) return false;
      return take(")") || fail("expected )");
    }
    return parse_operand();
  }

  bool parse_operand() {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_]))
      ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (word.empty()) return fail("expected a number or a name");
    if (std::isdigit(static_cast<unsigned char>(word[0])) == 0) {
      auto found = std::find(out_.names_.begin(), out_.names_.end(), word);
      if (found == out_.names_.end()) found = out_.names_.insert(found, std::string(word));
      out_.steps_.push_back({Op::kName, found - out_.names_.begin()});
      return true;
    }
    std::int64_t value = 0;
    for (const char c : word) {
      if (std::isdigit(static_cast<unsigned char>(c)) == 0 || value > 100'000'000'000'000'000) {
        at_ = begin;
        return fail("this is not a number");
      }
      value = value * 10 + (c - '0');
    }
    out_.steps_.push_back({Op::kNumber, value});
    return true;
  }

  static constexpr int kMaxDepth = 64;
  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool failed_ = false;
  Expression::Error error_;
  Expression out_;
};

tl::expected<Expression, Expression::Error> Expression::parse(std::string_view text) {
  return ExpressionParser(text).parse();
}

// False: division by zero.
bool Expression::apply(Op op, std::vector<std::int64_t>& stack) {
  if (op == Op::kNot || op == Op::kNegate) {
    std::int64_t& top = stack.back();
    top = op == Op::kNot ? std::int64_t{top == 0} : -top;
    return true;
  }
  const std::int64_t b = stack.back();
  stack.pop_back();
  std::int64_t& a = stack.back();
  if ((op == Op::kDivide || op == Op::kModulo) && b == 0) return false;
  switch (op) {
    case Op::kMultiply:
      a *= b;
      break;
    case Op::kDivide:
      a /= b;
      break;
    case Op::kModulo:
      a %= b;
      break;
    case Op::kAdd:
      a += b;
      break;
    case Op::kSubtract:
      a -= b;
      break;
    case Op::kLess:
      a = a < b;
      break;
    case Op::kLessEqual:
      a = a <= b;
      break;
    case Op::kGreater:
      a = a > b;
      break;
    case Op::kGreaterEqual:
      a = a >= b;
      break;
    case Op::kEqual:
      a = a == b;
      break;
    case Op::kNotEqual:
      a = a != b;
      break;
    case Op::kAnd:
      a = (a != 0 && b != 0);
      break;
    case Op::kOr:
      a = (a != 0 || b != 0);
      break;
    default:
      break;
  }
  return true;
}

Result<std::int64_t> Expression::evaluate(const Names& names) const {
  std::vector<std::int64_t> stack;
  for (const Step& step : steps_) {
    if (step.op == Op::kNumber) {
      stack.push_back(step.value);
    } else if (step.op == Op::kName) {
      const std::string& name = names_[static_cast<std::size_t>(step.value)];
      const auto value = names(name);
      if (!value) return fail(Errc::kNotFound, "there is no name " + name);
      stack.push_back(*value);
    } else if (!apply(step.op, stack)) {
      return fail(Errc::kInvalid, "division by zero");
    }
  }
  return stack.back();
}

}  // namespace snp::script
