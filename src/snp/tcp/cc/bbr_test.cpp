// BBR on a path that is a formula: rate, round trip and a queue before it.
#include <gtest/gtest.h>

#include "snp/tcp/cc/bbr_model.h"

namespace snp::tcp {
namespace {

using State = Bbr::State;

constexpr std::uint32_t kMss = 1000;
constexpr std::uint32_t kRttUs = 20'000;

class BbrModel : public ::testing::Test {
 protected:
  static constexpr double kRate = 10e6;  // bytes per second
  static constexpr double kBdp = kRate * kRttUs * 1e-6;

  BbrModel() {
    cc_.mss = kMss;
    cc_.cwnd = 10 * kMss;
    algorithm_.start(cc_, kRttUs, {}, now_);
  }

  // One round trip in eight ACKs. The path carries rate_; what is sent beyond waits in its queue,
  // and beyond queue_most_ it is lost.
  void pass_round() {
    const std::uint32_t round_delivered = delivered_;
    const std::uint32_t round_lost = lost_;
    const double rtt_s = kRttUs * 1e-6 + standing_s_ + queue_ / rate_;
    const double sent = std::min<double>(cc_.cwnd, static_cast<double>(cc_.pacing_rate) * rtt_s);
    const double arrives = std::min(sent, rate_ * rtt_s) * (1 - random_loss_);
    queue_ = std::max(0.0, std::min<double>(cc_.cwnd, sent + queue_) - rate_ * rtt_s);
    double lost = sent * random_loss_;
    if (queue_ > queue_most_) lost += std::exchange(queue_, queue_most_) - queue_most_;
    for (int i = 0; i < 8; ++i) {
      now_ += microseconds(static_cast<std::int64_t>(rtt_s * 1e6 / 8));
      Acked acked{.bytes = static_cast<std::uint32_t>(arrives / 8),
                  .rtt_us = static_cast<std::uint32_t>(rtt_s * 1e6),
                  .min_rtt_us = kRttUs,
                  .lost_bytes = static_cast<std::uint32_t>(lost / 8),
                  .in_flight = static_cast<std::uint32_t>(sent)};
      delivered_ += acked.bytes;
      lost_ += acked.lost_bytes;
      acked.delivered = delivered_;
      acked.is_window_limited = sent >= cc_.cwnd;
      acked.is_recovering = lost > 0;
      acked.rate = {.bytes_per_s = static_cast<std::uint64_t>(arrives / rtt_s),
                    .is_app_limited = is_app_limited_,
                    .has_mark = true,
                    .delivered = static_cast<std::uint32_t>(arrives),
                    .prior_delivered = round_delivered - (i == 7 ? 0 : 1),
                    .in_flight = static_cast<std::uint32_t>(sent),
                    .lost = lost_ - round_lost};
      if (lost > 0 && !was_recovering_) algorithm_.on_congestion(cc_, Congestion::kLoss, 0, now_);
      was_recovering_ = lost > 0;
      algorithm_.on_acked(cc_, acked, now_);
    }
  }
  void pass(Duration time) {
    for (const Instant end = now_ + time; now_ < end;)
      pass_round();
  }
  // Until a state is entered; false: not within a minute.
  bool reach(State state) {
    const Instant end = now_ + seconds(60);
    while (own().state != state && now_ < end)
      pass_round();
    return own().state == state;
  }
  [[nodiscard]] const Bbr& own() const { return cc_.own<Bbr>(); }

  const CongestionAlgorithm& algorithm_ = congestion_algorithm_or_default("bbr");
  CongestionState cc_;
  Instant now_{seconds(100)};
  double standing_s_ = 0;  // a queue that others keep
  double rate_ = kRate, queue_ = 0, queue_most_ = 1e9, random_loss_ = 0;
  bool is_app_limited_ = false, was_recovering_ = false;
  std::uint32_t delivered_ = 0, lost_ = 0;
};

TEST_F(BbrModel, StartsAtMoreThanTwiceTheWindowInARoundTrip) {
  EXPECT_NEAR(static_cast<double>(cc_.pacing_rate), 2.77 * 10 * kMss / 0.02, 1);
}

TEST_F(BbrModel, FindsRateAndWindowOfThePath) {
  pass(seconds(2));
  ASSERT_TRUE(own().is_full_bw_reached);
  EXPECT_TRUE(own().is_in_probe_bw());
  EXPECT_NEAR(static_cast<double>(own().bw()), kRate, kRate * 0.01);
  EXPECT_EQ(own().min_rtt_us, kRttUs);
  ASSERT_TRUE(reach(State::kCruise));
  pass_round();
  EXPECT_NEAR(static_cast<double>(cc_.pacing_rate), 0.99 * kRate, kRate * 0.01);
  EXPECT_GE(cc_.cwnd, 2 * kBdp * 0.95);
  EXPECT_LE(cc_.cwnd, 3 * kBdp);
}

TEST_F(BbrModel, GoesThroughTheStatesOfItsCycle) {
  ASSERT_TRUE(reach(State::kDrain));
  ASSERT_TRUE(reach(State::kDown) || own().state == State::kCruise);
  ASSERT_TRUE(reach(State::kCruise));
  EXPECT_LE(queue_, 0.1 * kBdp) << "drained";
  const Instant cruise = now_;
  ASSERT_TRUE(reach(State::kRefill));
  EXPECT_LE(now_ - cruise, seconds(3));
  ASSERT_TRUE(reach(State::kUp));
  pass_round();
  EXPECT_NEAR(static_cast<double>(cc_.pacing_rate), 1.25 * 0.99 * kRate, kRate * 0.02);
  ASSERT_TRUE(reach(State::kDown));
}

TEST_F(BbrModel, AFasterPathIsFound) {
  pass(seconds(3));
  rate_ = 3 * kRate;
  pass(seconds(12));
  EXPECT_NEAR(static_cast<double>(own().bw()), 3 * kRate, 0.2 * kRate);
}

TEST_F(BbrModel, ASlowerPathIsForgottenInTwoCycles) {
  pass(seconds(3));
  rate_ = kRate / 3;
  pass(seconds(12));
  EXPECT_NEAR(static_cast<double>(own().bw()), kRate / 3, 0.1 * kRate);
}

// 5.3.4: half of what is estimated to fit, for 200 ms.
TEST_F(BbrModel, ProbesTheRoundTripEveryFiveSeconds) {
  pass(seconds(2));
  standing_s_ = 5e-3;
  int probes = 0;
  std::uint32_t least = 0xffffffff;
  for (const Instant end = now_ + seconds(20); now_ < end;) {
    const State before = own().state;
    pass_round();
    if (own().state != State::kProbeRtt) continue;
    probes += before != State::kProbeRtt;
    least = std::min(least, cc_.cwnd);
  }
  EXPECT_GE(probes, 2);
  EXPECT_LE(probes, 4);
  EXPECT_NEAR(least, kBdp / 2, 0.1 * kBdp);
}

// A hand-over: another owner starts from what this one exports.
TEST_F(BbrModel, GoesOnWithTheModelOfTheOwnerBefore) {
  queue_most_ = 0.3 * kBdp;
  pass(seconds(20));
  ASSERT_TRUE(own().is_in_probe_bw());
  const Bbr before = own();
  const PathModel path = algorithm_.model(cc_, now_);
  EXPECT_EQ(path.bandwidth, before.max_bw());
  EXPECT_EQ(path.min_rtt_us, kRttUs);

  cc_.cwnd = 10 * kMss;  // a host's, that began anew
  algorithm_.start(cc_, 2 * kRttUs, path, now_);
  EXPECT_EQ(own().state, State::kCruise);
  EXPECT_EQ(own().bw(), path.bandwidth);
  EXPECT_EQ(own().inflight_longterm, before.inflight_longterm);
  EXPECT_EQ(own().min_rtt_us, kRttUs);
  EXPECT_NEAR(static_cast<double>(cc_.pacing_rate), 0.99 * static_cast<double>(path.bandwidth), 1);
  EXPECT_GE(cc_.cwnd, kBdp) << "at once, not by slow start";
  EXPECT_LE(cc_.cwnd, before.inflight_longterm);
}

// Neither the probe for bandwidth nor that of the round trip is put off by moving.
TEST_F(BbrModel, ProbesGoOnThroughHandOversInQuickSuccession) {
  pass(seconds(3));
  int probes_up = 0, probes_rtt = 0;
  for (const Instant end = now_ + seconds(30); now_ < end;) {
    for (const Instant stay = now_ + milliseconds(500); now_ < stay;) {
      const State before = own().state;
      pass_round();
      probes_up += before != State::kUp && own().state == State::kUp;
      probes_rtt += before != State::kProbeRtt && own().state == State::kProbeRtt;
    }
    PathModel path = algorithm_.model(cc_, now_);
    path.age(50);
    now_ += milliseconds(50);
    algorithm_.start(cc_, kRttUs, path, now_);
  }
  EXPECT_GE(probes_up, 5);
  EXPECT_GE(probes_rtt, 3);
  EXPECT_NEAR(static_cast<double>(own().bw()), kRate, 0.1 * kRate);
}

TEST_F(BbrModel, WhatIsNotFoundYetIsNotTold) {
  pass_round();
  ASSERT_FALSE(own().is_full_bw_reached);
  EXPECT_EQ(algorithm_.model(cc_, now_).bandwidth, 0u);
}

TEST_F(BbrModel, AnOldRoundTripIsMeasuredAnew) {
  pass(seconds(3));
  PathModel path = algorithm_.model(cc_, now_);
  path.age(60'000);
  EXPECT_EQ(path.probe_bw_wait_ms, 0u);
  algorithm_.start(cc_, 3 * kRttUs, path, now_ + seconds(60));
  EXPECT_EQ(own().min_rtt_us, 3 * kRttUs);
  EXPECT_EQ(own().bw(), path.bandwidth) << "as after a pause (5.4)";
}

TEST_F(BbrModel, AModelThatNobodyCouldHaveMeasuredIsBounded) {
  algorithm_.start(cc_, 1, {.bandwidth = ~0ull, .inflight_longterm = 0, .min_rtt_us = ~0u}, now_);
  EXPECT_LE(cc_.pacing_rate, 1'000'000'000'000u);
  EXPECT_GE(cc_.cwnd, 4 * kMss);
  pass(seconds(20));
  EXPECT_NEAR(static_cast<double>(own().bw()), kRate, 0.3 * kRate);
}

// 5.5.10.2: a queue that overflows sets what may be in flight.
TEST_F(BbrModel, WhatOverflowsAQueueIsNotSentAgain) {
  queue_most_ = 0.3 * kBdp;
  pass(seconds(20));
  EXPECT_NE(own().inflight_longterm, Bbr::kNoLimit);
  EXPECT_LE(own().inflight_longterm, 1.7 * kBdp);
  EXPECT_GE(own().inflight_longterm, 0.7 * kBdp);
  const std::uint32_t lost = lost_;
  const std::uint32_t delivered = delivered_;
  pass(seconds(20));
  EXPECT_LE(lost_ - lost, 0.02 * (delivered_ - delivered));
  EXPECT_GE(delivered_ - delivered, 0.85 * 20 * kRate);
}

// Ours: no queue, no blame.
TEST_F(BbrModel, RandomLossDoesNotSlowItDown) {
  random_loss_ = 0.03;
  pass(seconds(5));
  const std::uint32_t delivered = delivered_;
  pass(seconds(20));
  EXPECT_GE(delivered_ - delivered, 0.8 * 0.97 * 20 * kRate);
}

// 5.5.10.3, while there is a queue.
TEST_F(BbrModel, LossWhileCruisingBoundsTheRateUntilTheNextProbe) {
  pass(seconds(2));
  ASSERT_TRUE(reach(State::kCruise));
  rate_ = 0.8 * kRate;
  queue_most_ = 0.3 * kBdp;
  for (int i = 0; i < 15 && own().bw_shortterm == Bbr::kNoRateLimit; ++i)
    pass_round();
  ASSERT_EQ(own().state, State::kCruise);
  EXPECT_LE(static_cast<double>(own().bw()), 0.9 * kRate);
  EXPECT_GE(static_cast<double>(own().bw()), 0.6 * kRate);
  ASSERT_TRUE(reach(State::kRefill));
  EXPECT_EQ(own().bw_shortterm, Bbr::kNoRateLimit);
}

TEST_F(BbrModel, AfterARecoveryTheWindowIsBack) {
  pass(seconds(2));
  const std::uint32_t before = cc_.cwnd;
  algorithm_.on_congestion(cc_, Congestion::kLoss, before, now_);
  algorithm_.on_acked(cc_, {.bytes = kMss, .in_flight = 50 * kMss, .is_recovering = true}, now_);
  cc_.cwnd = 51 * kMss;
  algorithm_.on_acked(cc_, {.bytes = kMss, .in_flight = 50 * kMss}, now_);
  EXPECT_GE(cc_.cwnd, 0.9 * before);
}

TEST_F(BbrModel, AfterATimeoutTheWindowGrowsByWhatIsAcknowledged) {
  pass(seconds(2));
  algorithm_.on_congestion(cc_, Congestion::kTimeout, cc_.cwnd, now_);
  cc_.cwnd = kMss;
  for (int i = 0; i < 20; ++i)
    algorithm_.on_acked(cc_, {.bytes = kMss, .in_flight = kMss, .is_recovering = true}, now_);
  EXPECT_GE(cc_.cwnd, 20 * kMss);
}

// 5.5.11: what was found out by a loss that was none is forgotten.
TEST_F(BbrModel, AnUndoTakesTheBoundsBack) {
  pass(seconds(2));
  ASSERT_TRUE(reach(State::kUp));
  const CongestionState before = cc_;
  algorithm_.on_congestion(cc_, Congestion::kLoss, cc_.cwnd, now_);
  queue_ = queue_most_ = 0.3 * kBdp;
  for (int i = 0; i < 10 && own().state == State::kUp; ++i)
    pass_round();
  ASSERT_EQ(own().state, State::kDown);
  ASSERT_NE(own().inflight_longterm, Bbr::kNoLimit);
  algorithm_.on_undo(cc_, before);
  EXPECT_EQ(own().inflight_longterm, Bbr::kNoLimit);
  EXPECT_EQ(own().state, State::kRefill) << "and probes again";
}

TEST_F(BbrModel, ASlowApplicationDoesNotLowerTheEstimate) {
  pass(seconds(2));
  for (int i = 0; i < 100; ++i) {
    now_ += microseconds(kRttUs);
    delivered_ += kMss;
    algorithm_.on_acked(cc_,
                        {.bytes = kMss,
                         .rtt_us = kRttUs,
                         .delivered = delivered_,
                         .rate = {.bytes_per_s = 50'000,
                                  .is_app_limited = true,
                                  .has_mark = true,
                                  .delivered = kMss,
                                  .prior_delivered = delivered_ - kMss,
                                  .in_flight = kMss}},
                        now_);
  }
  EXPECT_GE(static_cast<double>(cc_.pacing_rate), 0.7 * kRate);
}

TEST_F(BbrModel, AfterAPauseItGoesOnAtTheRateOfThePath) {
  pass(seconds(2));
  ASSERT_TRUE(reach(State::kUp));
  pass_round();
  algorithm_.on_idle(cc_);
  EXPECT_NEAR(static_cast<double>(cc_.pacing_rate), 0.99 * kRate, 0.01 * kRate);
}

}  // namespace
}  // namespace snp::tcp
