#include "snp/daemon/time_histogram.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

TEST(TimeHistogram, QuantilesAreWithinAnEighth) {
  TimeHistogram times;
  EXPECT_EQ(times.quantile_us(0.5), 0u);
  for (std::uint32_t us = 1; us <= 10000; ++us)
    times.add(us);
  EXPECT_EQ(times.total(), 10000u);
  EXPECT_EQ(times.max_us(), 10000u);
  EXPECT_NEAR(times.quantile_us(0.5), 5000, 5000.0 / 8);
  EXPECT_NEAR(times.quantile_us(0.99), 9900, 9900.0 / 8);
  EXPECT_EQ(times.quantile_us(1.0), 10000u);
}

TEST(TimeHistogram, TakesEveryValue) {
  TimeHistogram times;
  for (const std::uint32_t us : {0u, 7u, 8u, 15u, 16u, 0x7fffffffu, 0xffffffffu})
    times.add(us);
  EXPECT_EQ(times.quantile_us(0), 0u);
  EXPECT_EQ(times.quantile_us(1.0), 0xffffffffu);
}

}  // namespace
}  // namespace snp::daemon
