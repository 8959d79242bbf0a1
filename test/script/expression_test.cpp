#include "test/script/expression.h"

#include <gtest/gtest.h>

namespace snp::script {
namespace {

std::int64_t value(std::string_view text) {
  const auto parsed = Expression::parse(text);
  if (!parsed) {
    ADD_FAILURE() << text << ": " << parsed.error().message;
    return -1;
  }
  const Names names = [](std::string_view name) {
    return name == "ten" ? std::optional<std::int64_t>(10) : std::nullopt;
  };
  const auto result = parsed->evaluate(names);
  if (!result) {
    ADD_FAILURE() << text << ": " << result.error().message;
    return -1;
  }
  return *result;
}

std::size_t fault(std::string_view text) {
  const auto parsed = Expression::parse(text);
  EXPECT_FALSE(parsed) << text;
  return parsed ? 0 : parsed.error().offset;
}

TEST(Expression, BindsAsInC) {
  EXPECT_EQ(value("1 + 2 * 3"), 7);
  EXPECT_EQ(value("(1 + 2) * 3"), 9);
  EXPECT_EQ(value("7 - 2 - 1"), 4);
  EXPECT_EQ(value("7 / 2 % 2"), 1);
  EXPECT_EQ(value("-3 + 5"), 2);
  EXPECT_EQ(value("1 < 2 == 1"), 1);
  EXPECT_EQ(value("1 || 0 && 0"), 1);
  EXPECT_EQ(value("!0 && !(1 == 2)"), 1);
  EXPECT_EQ(value("3 <= 3 && 3 >= 4"), 0);
  EXPECT_EQ(value("3 != 3"), 0);
}

TEST(Expression, TakesPythonsWords) {
  EXPECT_EQ(value("1 and not 0 or 0"), 1);
  EXPECT_EQ(value("ten == 10 and ten / 3 == 3"), 1);
}

TEST(Expression, NamesItsNamesOnce) {
  const auto parsed = Expression::parse("a + b == a");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(parsed->evaluate([](std::string_view) { return std::nullopt; }));
}

TEST(Expression, RefusesNonsenseAtItsPlace) {
  EXPECT_EQ(fault("1 +"), 3u);
  EXPECT_EQ(fault("(1"), 2u);
  EXPECT_EQ(fault("1 2"), 2u);
  EXPECT_EQ(fault(""), 0u);
  EXPECT_EQ(fault("1 = 2"), 2u);
  EXPECT_EQ(fault("2x"), 0u);
  EXPECT_EQ(fault("99999999999999999999"), 0u);
  fault(std::string(1000, '('));
  fault(std::string(1000, '!') + "1");
}

TEST(Expression, DivisionByZeroIsAnError) {
  const auto parsed = Expression::parse("1 / (2 - 2)");
  ASSERT_TRUE(parsed);
  const auto result = parsed->evaluate([](std::string_view) { return std::nullopt; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "division by zero");
}

}  // namespace
}  // namespace snp::script
