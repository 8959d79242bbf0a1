// The small expressions of `%{ assert ... }%`: integers, names, C's and Python's operators.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"

namespace snp::script {

// What a name stands for; nothing: there is no such name.
using Names = std::function<std::optional<std::int64_t>(std::string_view)>;

class Expression {
 public:
  // `offset` in the message of an error is given as "offset N: ..." by where the text went wrong.
  struct Error {
    std::size_t offset = 0;
    std::string message;
  };
  static tl::expected<Expression, Error> parse(std::string_view text);

  // Fails with a message for a division by zero; the names are checked by unknown_name().
  [[nodiscard]] Result<std::int64_t> evaluate(const Names& names) const;
  // Every name that occurs, once each, in order: for the message of a failed assertion.
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }

 private:
  friend class ExpressionParser;
  enum class Op : std::uint8_t {
    kNumber,
    kName,
    kNot,
    kNegate,
    kMultiply,
    kDivide,
    kModulo,
    kAdd,
    kSubtract,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kEqual,
    kNotEqual,
    kAnd,
    kOr,
  };
  struct Step {
    Op op;
    std::int64_t value = 0;  // of kNumber; index of names_ for kName
  };
  static bool apply(Op op, std::vector<std::int64_t>& stack);

  std::vector<Step> steps_;  // postfix
  std::vector<std::string> names_;
};

}  // namespace snp::script
