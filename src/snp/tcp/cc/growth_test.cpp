// How windows grow, number by number: CUBIC's curve (RFC 9438 4.2 to 4.8), HyStart++ (RFC
// 9406 4.2), Reno's bytes (RFC 5681 3.1, RFC 3465 2.1).
#include <cmath>

#include <gtest/gtest.h>

#include "snp/tcp/cc/congestion_control.h"
#include "snp/tcp/cc/hystart.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kMss = 1000;

// A window that is always in use: its segments are acknowledged one by one, evenly spread.
class InUse : public ::testing::Test {
 protected:
  void start(const char* name, std::uint32_t segments, Duration rtt) {
    algorithm_ = find_congestion_algorithm(name);
    rtt_ = rtt;
    state_.mss = kMss;
    state_.cwnd = segments * kMss;
    algorithm_->start(state_, rtt_us(), {}, now_);
  }
  void reduce(Congestion what) {
    algorithm_->on_congestion(state_, what, state_.cwnd, now_);
    state_.cwnd = state_.ssthresh;
    since_ = now_;
  }
  void acknowledge(std::uint32_t bytes, std::uint32_t rtt_us_now = 0) {
    algorithm_->on_acked(
        state_,
        {.bytes = bytes, .rtt_us = rtt_us_now, .min_rtt_us = rtt_us(), .is_window_limited = true},
        now_);
  }
  void use_until(double seconds_since) {
    while (elapsed() < seconds_since) {
      now_ += rtt_ * kMss / state_.cwnd;
      acknowledge(kMss);
    }
  }
  [[nodiscard]] double elapsed() const {
    return std::chrono::duration<double>(now_ - since_).count();
  }
  [[nodiscard]] double segments() const { return static_cast<double>(state_.cwnd) / kMss; }
  [[nodiscard]] std::uint32_t rtt_us() const {
    return static_cast<std::uint32_t>(rtt_ / microseconds(1));
  }

  const CongestionAlgorithm* algorithm_ = nullptr;
  CongestionState state_;
  Duration rtt_{};
  Instant now_{seconds(100)};
  Instant since_ = now_;
};

// RFC 9438 4.2, equations 1 and 2.
TEST_F(InUse, CubicFollowsItsCurve) {
  start("cubic", 100, milliseconds(200));
  reduce(Congestion::kLoss);
  const double k = std::cbrt(30 / 0.4);
  for (const double t : {0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0}) {
    use_until(t);
    EXPECT_NEAR(segments(), 100 + 0.4 * std::pow(t - k, 3), 0.8) << t;
  }
}

// RFC 9438 4.7: below the old plateau the new one is lower than the window, by (1 + beta) / 2.
TEST_F(InUse, CubicBeginsAnewWithEachReduction) {
  start("cubic", 100, milliseconds(200));
  reduce(Congestion::kLoss);
  use_until(2.0);
  const double before = segments();
  ASSERT_LT(before, 100);
  reduce(Congestion::kLoss);
  const double plateau = before * 0.85;
  const double k = std::cbrt((plateau - segments()) / 0.4);
  for (const double t : {1.0, 2.0, 4.0, 6.0}) {
    use_until(t);
    EXPECT_NEAR(segments(), plateau + 0.4 * std::pow(t - k, 3), 0.8) << t;
  }
}

// RFC 9438 4.8: after a timeout the curve rises from where slow start ended.
TEST_F(InUse, CubicRisesFromItsPlateauAfterATimeout) {
  start("cubic", 100, milliseconds(500));
  reduce(Congestion::kTimeout);
  ASSERT_EQ(segments(), 70);
  use_until(4.0);
  EXPECT_NEAR(segments(), 70 + 0.4 * std::pow(4.0, 3), 3);
}

// RFC 9438 4.3: alpha is 3 (1 - beta) / (1 + beta) until the old window is back, then 1.
TEST_F(InUse, CubicIsNoSlowerThanRenoWouldBe) {
  start("cubic", 20, milliseconds(10));
  reduce(Congestion::kLoss);
  ASSERT_EQ(segments(), 14);
  use_until(0.1);  // ten rounds
  EXPECT_NEAR(segments(), 14 + 10 * 9.0 / 17, 0.3);
  use_until(6.0 / 9 * 17 * 0.01);
  ASSERT_NEAR(segments(), 20, 0.3);
  const double at = segments();
  use_until(elapsed() + 0.1);
  EXPECT_NEAR(segments(), at + 10, 0.5);
}

// RFC 9438 5.8, RFC 5681 4.1: a pause is no time on the curve.
TEST_F(InUse, CubicBeginsAnewAfterAPause) {
  start("cubic", 100, milliseconds(100));
  reduce(Congestion::kLoss);
  use_until(1.0);
  const double before = segments();
  now_ += seconds(60);
  algorithm_->on_idle(state_);
  acknowledge(10 * kMss);
  EXPECT_NEAR(segments(), before, 1.0);
}

// A slow start that had become careful, and was over, does not slow the next one down.
TEST_F(InUse, CubicsNextSlowStartIsAFullOne) {
  for (const bool by_pause : {false, true}) {
    start("cubic", 10, milliseconds(20));
    state_.ssthresh = 0xffffffff;
    for (int i = 0; i < 8; ++i)
      acknowledge(kMss, 30'000);
    const std::uint32_t careful = state_.cwnd;
    acknowledge(4 * kMss, 30'000);
    ASSERT_EQ(state_.cwnd, careful + kMss) << "a quarter";
    if (by_pause)
      algorithm_->on_idle(state_);
    else
      algorithm_->on_congestion(state_, Congestion::kTimeout, 50 * kMss, now_);
    state_.cwnd = kMss;
    acknowledge(kMss, 20'000);
    EXPECT_EQ(state_.cwnd, 2 * kMss) << by_pause;
  }
}

// RFC 9438 4.6, RFC 5681 3.1 equation 4, RFC 8257 3.4: of what is in flight, and at most the
// window.
TEST_F(InUse, AReductionStartsFromWhatIsUsed) {
  for (const auto& [name, kept] :
       {std::pair{"cubic", 0.7}, std::pair{"newreno", 0.5}, std::pair{"dctcp", 0.5}}) {
    start(name, 100, milliseconds(100));
    algorithm_->on_congestion(state_, Congestion::kLoss, 60 * kMss, now_);
    EXPECT_NEAR(state_.ssthresh, 60 * kMss * kept, 1) << name;
    start(name, 100, milliseconds(100));
    algorithm_->on_congestion(state_, Congestion::kLoss, 120 * kMss, now_);
    EXPECT_NEAR(state_.ssthresh, 100 * kMss * kept, 1) << name;
  }
}

TEST_F(InUse, RenoGrowsByASegmentForEachWindow) {
  for (const char* name : {"newreno", "dctcp"}) {
    start(name, 10, milliseconds(100));
    state_.ssthresh = 11 * kMss;
    acknowledge(5 * kMss);  // one of slow start, four count
    EXPECT_EQ(segments(), 11) << name;
    acknowledge(6 * kMss);
    EXPECT_EQ(segments(), 11) << name;
    acknowledge(3 * kMss);  // eleven, and two are left
    EXPECT_EQ(segments(), 12) << name;
    acknowledge(10 * kMss);
    EXPECT_EQ(segments(), 13) << name;
  }
}

TEST_F(InUse, RenoCountsAfreshAfterAReductionAndAPause) {
  for (const char* name : {"newreno", "dctcp"})
    for (const bool by_pause : {false, true}) {
      start(name, 10, milliseconds(100));
      state_.ssthresh = 5 * kMss;
      acknowledge(9 * kMss);
      if (by_pause)
        algorithm_->on_idle(state_);
      else
        reduce(Congestion::kLoss);
      const double before = segments();
      acknowledge(kMss);
      EXPECT_EQ(segments(), before) << name << by_pause;
    }
}

// RFC 9406 4.2: the round-trip times of one round, and what the window made of each segment.
class HyStartRounds : public ::testing::Test {
 protected:
  HyStartRounds() {
    state_.mss = kMss;
    state_.cwnd = 100 * kMss;
  }
  // What a segment adds to the window.
  std::uint32_t acknowledge(std::uint32_t rtt_us, bool round_ended = false) {
    const std::uint32_t before = state_.cwnd;
    hystart_.grow(
        state_,
        {.bytes = kMss, .rtt_us = rtt_us, .min_rtt_us = min_rtt_us_, .round_ended = round_ended});
    return state_.cwnd - before;
  }
  void pass_round(std::uint32_t rtt_us, int samples = 8) {
    for (int i = 1; i <= samples; ++i)
      acknowledge(rtt_us, i == samples);
  }
  // Whether eight samples of that end the full speed.
  bool ends_at(std::uint32_t min_rtt_us, std::uint32_t rtt_us) {
    hystart_.restart();
    min_rtt_us_ = min_rtt_us;
    pass_round(rtt_us);
    return acknowledge(0) != kMss;
  }

  HyStart hystart_;
  CongestionState state_;
  std::uint32_t min_rtt_us_ = 80'000;
};

TEST_F(HyStartRounds, AnEighthMoreEndsTheFullSpeed) {
  EXPECT_FALSE(ends_at(80'000, 89'999));
  EXPECT_TRUE(ends_at(80'000, 90'000));
}

TEST_F(HyStartRounds, TheThresholdIsFourToSixteenMilliseconds) {
  EXPECT_FALSE(ends_at(8'000, 11'999));
  EXPECT_TRUE(ends_at(8'000, 12'000));
  EXPECT_FALSE(ends_at(400'000, 415'999));
  EXPECT_TRUE(ends_at(400'000, 416'000));
}

TEST_F(HyStartRounds, EightSamplesOfARoundDecide) {
  pass_round(200'000, 7);
  EXPECT_EQ(acknowledge(200'000), kMss) << "the count begins anew with the round";
  for (int i = 0; i < 6; ++i)
    acknowledge(200'000);
  EXPECT_EQ(acknowledge(0), kMss) << "no sample";
  EXPECT_EQ(acknowledge(200'000), kMss / 4) << "the eighth";
}

TEST_F(HyStartRounds, TheLeastOfARoundCounts) {
  acknowledge(80'000);
  pass_round(200'000);
  EXPECT_EQ(acknowledge(0), kMss);
  pass_round(200'000);  // the least is that of the round, not of the one before
  EXPECT_EQ(acknowledge(0), kMss / 4);
}

TEST_F(HyStartRounds, FiveCarefulRoundsEndSlowStart) {
  pass_round(100'000);
  // The round in which it was seen is the first.
  for (int round = 0; round < 4; ++round) {
    EXPECT_EQ(acknowledge(0), kMss / 4);
    EXPECT_TRUE(state_.is_slow_start()) << round;
    pass_round(100'000);
  }
  EXPECT_FALSE(state_.is_slow_start());
  EXPECT_EQ(state_.ssthresh, state_.cwnd);
}

TEST_F(HyStartRounds, ALowerRoundShowsThatItWasNoise) {
  pass_round(100'000);
  ASSERT_EQ(acknowledge(0), kMss / 4);
  pass_round(99'999);
  EXPECT_EQ(acknowledge(0), kMss);
  // And then five rounds count again.
  for (int i = 0; i < 3; ++i)
    pass_round(100'000);
  EXPECT_TRUE(state_.is_slow_start());
}

}  // namespace
}  // namespace snp::tcp
