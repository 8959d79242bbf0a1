#include "snp/tcp/rtt.h"

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

TEST(Rtt, FirstSampleAsTheRfcSays) {
  RttEstimator rtt;
  EXPECT_EQ(rtt.rto(0), seconds(1));
  rtt.on_sample(100'000, 0);
  EXPECT_EQ(rtt.srtt_us(), 100'000u);
  EXPECT_EQ(rtt.rttvar_us(), 50'000u);
  EXPECT_EQ(rtt.rto(0), milliseconds(300));
}

TEST(Rtt, SettlesAndKeepsTheFloor) {
  RttEstimator rtt({.srtt_us = 50'000, .rttvar_us = 20'000});
  for (int i = 0; i < 200; ++i)
    rtt.on_sample(1000, 0);
  EXPECT_NEAR(rtt.srtt_us(), 1000, 10);
  EXPECT_EQ(rtt.min_rtt_us(), 1000u);
  EXPECT_GE(rtt.rto(0), milliseconds(200));
  EXPECT_LE(rtt.rto(0), milliseconds(203));
}

TEST(Rtt, BacksOffUpToTheCeiling) {
  RttEstimator rtt({.srtt_us = 100'000});
  EXPECT_EQ(rtt.rto(1), 2 * rtt.rto(0));
  EXPECT_EQ(rtt.rto(60), seconds(120));
  rtt.on_sample(0xffffffff, 0);
  EXPECT_EQ(rtt.rto(0), seconds(120));
}

TEST(Rtt, WithoutASampleTheHostsTimeoutCounts) {
  EXPECT_EQ(RttEstimator({.rto_us = 400'000}).rto(0), milliseconds(400));
  EXPECT_EQ(RttEstimator({.rto_us = 1}).rto(0), milliseconds(200));
}

// A rebuilt Linux socket says 3 s, and 12 s after two expiries.
TEST(Rtt, WithoutASampleNoTimeoutIsLongerThanTheInitialOne) {
  EXPECT_EQ(RttEstimator({.rto_us = 12'000'000}).rto(0), seconds(1));
}

TEST(Rtt, TheLeastRoundTripIsTakenOver) {
  EXPECT_EQ(RttEstimator({.srtt_us = 9000, .min_rtt_us = 200}).min_rtt_us(), 200u);
  EXPECT_EQ(RttEstimator({.srtt_us = 9000}).min_rtt_us(), 9000u);
}

TEST(Rtt, APathThatHasBecomeLongerIsBelievedAfterAWhile) {
  RttEstimator rtt;
  std::uint32_t now_us = 0xf0000000u;  // wraps on the way
  rtt.on_sample(10'000, now_us);
  for (int s = 0; s < 149; ++s)
    rtt.on_sample(50'000, now_us += 1'000'000);
  EXPECT_EQ(rtt.min_rtt_us(), 10'000u);
  for (int s = 0; s < 300; ++s)
    rtt.on_sample(50'000, now_us += 1'000'000);
  EXPECT_EQ(rtt.min_rtt_us(), 50'000u);
  rtt.on_sample(8'000, now_us);
  EXPECT_EQ(rtt.min_rtt_us(), 8'000u);
}

}  // namespace
}  // namespace snp::tcp
