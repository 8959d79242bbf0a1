#include "snp/daemon/ring_sizes.h"

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kGiB = 1u << 30;
constexpr RingSizes kRoomy{kMiB, 64 * kMiB, 32 * kGiB, 32 * kGiB};

TEST(RingSizes, AShortPathGetsTheLeast) {
  EXPECT_EQ(ring_size(0, 0, 100, kRoomy), kMiB);
  EXPECT_EQ(ring_size(0, 0, 0, kRoomy), kMiB) << "nothing measured";
}

TEST(RingSizes, ALongPathGetsTwoRoundTripsOfTenGigabit) {
  EXPECT_EQ(ring_size(0, 0, 1'000, kRoomy), 4 * kMiB);
  EXPECT_EQ(ring_size(0, 0, 10'000, kRoomy), 32 * kMiB);
  EXPECT_EQ(ring_size(0, 0, 100'000, kRoomy), 64 * kMiB) << "ring_max_bytes";
}

TEST(RingSizes, WhatIsQueuedMustFit) {
  EXPECT_EQ(ring_size(5 * kMiB, 0, 0, kRoomy), 8 * kMiB);
  EXPECT_EQ(ring_size(500 * kMiB, 0, 0, kRoomy), 64 * kMiB);
}

TEST(RingSizes, ARuleOfPolicyGoesBeforeTheMeasure) {
  EXPECT_EQ(ring_size(0, 2 * kMiB, 100'000, kRoomy), 2 * kMiB);
  EXPECT_EQ(ring_size(0, 128 * kMiB, 0, kRoomy), 128 * kMiB);
  EXPECT_EQ(ring_size(5 * kMiB, 2 * kMiB, 0, kRoomy), 8 * kMiB);
}

TEST(RingSizes, LongPathsLeaveHalfOfTheArenaToOthers) {
  RingSizes sizes = kRoomy;
  int large = 0;
  int all = 0;
  while (sizes.free_bytes >= 2 * ring_size(0, 0, 100'000, sizes)) {
    const std::uint64_t size = ring_size(0, 0, 100'000, sizes);
    large += size > kMiB;
    ++all;
    sizes.free_bytes -= 2 * size;
  }
  EXPECT_GT(large, 200);
  EXPECT_GE(all, 8192) << "as many as 16 GiB hold at ring_bytes";
}

}  // namespace
}  // namespace snp::daemon
