#include "snp/wire/seq_num.h"

#include <random>

#include <gtest/gtest.h>

namespace snp {
namespace {

TEST(SeqNum, OrderHoldsWithinHalfTheSpaceAnywhereOnTheCircle) {
  std::mt19937 random(20);  // the same each time
  for (int i = 0; i < 100'000; ++i) {
    const SeqNum a(static_cast<std::uint32_t>(random()));
    const std::uint32_t distance = static_cast<std::uint32_t>(random()) >> (random() % 32);
    const SeqNum b = a + distance;
    ASSERT_EQ(b - a, distance);
    ASSERT_EQ(b - distance, a);
    ASSERT_EQ(a == b, distance == 0);
    if (distance == 0 || distance >= 0x80000000u) continue;
    ASSERT_TRUE(a < b && a <= b && b > a && b >= a) << a.value() << " + " << distance;
    ASSERT_FALSE(b < a || b <= a || a > b || a >= b) << a.value() << " + " << distance;
    ASSERT_EQ(seq_max(a, b), b);
    ASSERT_EQ(seq_min(b, a), a);
  }
}

TEST(SeqNum, Wraps) {
  SeqNum seq(0xffffffffu);
  seq += 2;
  EXPECT_EQ(seq.value(), 1u);
  EXPECT_LT(SeqNum(0xfffffff0u), SeqNum(5));
}

}  // namespace
}  // namespace snp
