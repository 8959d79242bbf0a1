#include "snp/tcp/cc/congestion_control.h"

#include <vector>

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

constexpr std::uint32_t kMss = 1000;

class EachAlgorithm : public ::testing::TestWithParam<const CongestionAlgorithm*> {
 protected:
  EachAlgorithm() {
    state_.mss = kMss;
    state_.cwnd = 10 * kMss;
    algorithm().start(state_, 20'000, {}, now_);
  }
  static const CongestionAlgorithm& algorithm() { return *GetParam(); }
  // One round trip: the whole window is acknowledged, two segments at a time.
  void pass_round() {
    now_ += milliseconds(20);
    for (std::uint32_t left = state_.cwnd; left != 0;) {
      const std::uint32_t bytes = std::min(left, 2 * kMss);
      left -= bytes;
      algorithm().on_acked(
          state_,
          {.bytes = bytes, .rtt_us = 20'000, .min_rtt_us = 20'000, .round_ended = left == 0}, now_);
    }
  }

  CongestionState state_;
  Instant now_ = Instant(seconds(100));
};

TEST_P(EachAlgorithm, SlowStartDoubles) {
  pass_round();
  EXPECT_EQ(state_.cwnd, 20 * kMss);
}

TEST_P(EachAlgorithm, ALossReducesAndCongestionAvoidanceIsSlow) {
  state_.cwnd = 100 * kMss;
  algorithm().on_congestion(state_, Congestion::kLoss, state_.cwnd, now_);
  EXPECT_LE(state_.ssthresh, 70 * kMss);
  EXPECT_GE(state_.ssthresh, 50 * kMss);
  state_.cwnd = state_.ssthresh;
  const std::uint32_t before = state_.cwnd;
  pass_round();
  EXPECT_GT(state_.cwnd, before);
  EXPECT_LT(state_.cwnd, before + 20 * kMss);
}

TEST_P(EachAlgorithm, TheOldWindowComesBack) {
  state_.cwnd = 100 * kMss;
  algorithm().on_congestion(state_, Congestion::kLoss, state_.cwnd, now_);
  state_.cwnd = state_.ssthresh;
  for (int i = 0; i < 400; ++i)
    pass_round();
  EXPECT_GT(state_.cwnd, 100 * kMss);
}

TEST_P(EachAlgorithm, AnUnusedWindowDoesNotGrow) {
  algorithm().on_acked(state_, {.bytes = 5000, .may_grow = false}, now_);
  EXPECT_EQ(state_.cwnd, 10 * kMss);
}

TEST_P(EachAlgorithm, ThereIsAFloor) {
  state_.cwnd = kMss;
  algorithm().on_congestion(state_, Congestion::kLoss, kMss, now_);
  EXPECT_EQ(state_.ssthresh, 2 * kMss);
}

// Those whose window a loss brings down.
std::vector<const CongestionAlgorithm*> loss_based() {
  std::vector<const CongestionAlgorithm*> found;
  for (const CongestionAlgorithm* algorithm : congestion_algorithms())
    if (!algorithm->owns_window) found.push_back(algorithm);
  return found;
}

INSTANTIATE_TEST_SUITE_P(Cc, EachAlgorithm, ::testing::ValuesIn(loss_based()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(CongestionAlgorithms, AreFoundByName) {
  for (const char* name : {"newreno", "cubic", "dctcp", "bbr"}) {
    ASSERT_NE(find_congestion_algorithm(name), nullptr) << name;
    EXPECT_EQ(find_congestion_algorithm(name)->name, name);
  }
  EXPECT_EQ(find_congestion_algorithm("reno")->name, "newreno");
  EXPECT_EQ(find_congestion_algorithm("htcp"), nullptr);
  EXPECT_EQ(find_congestion_algorithm(""), nullptr);
  EXPECT_EQ(congestion_algorithm_or_default("htcp").name, "cubic");
}

// RFC 9438 5.1: with C = 0.4 and beta = 0.7 a window of 100 segments is back after
// K = cbrt(100 * 0.3 / 0.4) = 4.2 s, whatever the round-trip time.
TEST(Cubic, ReachesTheOldWindowAfterK) {
  CongestionState state;
  state.mss = kMss;
  state.cwnd = 100 * kMss;
  const CongestionAlgorithm& cubic = congestion_algorithm_or_default("cubic");
  Instant now(seconds(100));
  cubic.start(state, 100'000, {}, now);
  cubic.on_congestion(state, Congestion::kLoss, state.cwnd, now);
  state.cwnd = state.ssthresh;
  EXPECT_EQ(state.ssthresh, 70 * kMss);
  const Instant start = now;
  while (state.cwnd < 99 * kMss && now < start + seconds(20)) {
    now += milliseconds(100);
    cubic.on_acked(state, {.bytes = state.cwnd, .min_rtt_us = 100'000}, now);
  }
  const double seconds_taken = std::chrono::duration<double>(now - start).count();
  EXPECT_GT(seconds_taken, 2.0);
  EXPECT_LT(seconds_taken, 5.5);
}

// RFC 9438 4.2: what the application did not use is not time on the curve.
TEST(Cubic, UnusedTimeDoesNotCount) {
  const CongestionAlgorithm& cubic = congestion_algorithm_or_default("cubic");
  std::uint32_t grown[2] = {};
  for (const bool pauses : {false, true}) {
    CongestionState state;
    state.mss = kMss;
    state.cwnd = 100 * kMss;
    Instant now(seconds(100));
    cubic.start(state, 100'000, {}, now);
    cubic.on_congestion(state, Congestion::kLoss, state.cwnd, now);
    state.cwnd = state.ssthresh;
    const auto use = [&](int rounds, bool may_grow) {
      for (; rounds != 0; --rounds) {
        now += milliseconds(100);
        cubic.on_acked(state, {.bytes = 10 * kMss, .min_rtt_us = 100'000, .may_grow = may_grow},
                       now);
      }
    };
    use(10, true);
    if (pauses) use(100, false);
    use(10, true);
    grown[pauses ? 1 : 0] = state.cwnd;
  }
  EXPECT_NEAR(grown[0], grown[1], kMss);
}

// RFC 9438 4.8: K is 0, and the window grows from there as slowly as above a plateau.
TEST(Cubic, AfterATimeoutThePlateauIsWhereSlowStartEnded) {
  const CongestionAlgorithm& cubic = congestion_algorithm_or_default("cubic");
  std::uint32_t after[2] = {};
  for (const Congestion what : {Congestion::kLoss, Congestion::kTimeout}) {
    CongestionState state;
    state.mss = kMss;
    state.cwnd = 1000 * kMss;
    Instant now(seconds(100));
    cubic.start(state, 100'000, {}, now);
    cubic.on_congestion(state, what, state.cwnd, now);
    state.cwnd = state.ssthresh;
    for (int round = 0; round < 10; ++round) {
      now += milliseconds(100);
      cubic.on_acked(state, {.bytes = state.cwnd, .min_rtt_us = 100'000}, now);
    }
    after[what == Congestion::kTimeout ? 1 : 0] = state.cwnd;
  }
  EXPECT_GT(after[0], 780 * kMss) << "on its way back to 1000";
  EXPECT_LT(after[1], 720 * kMss) << "it has no way back";
}

// RFC 8257 3.3, 3.4.
class DctcpWindow : public ::testing::Test {
 protected:
  DctcpWindow() {
    state_.mss = kMss;
    state_.cwnd = 100 * kMss;
    state_.ssthresh = 50 * kMss;
    algorithm_.start(state_, 100, {}, now_);
  }
  // Rounds of which `share` was marked.
  void pass(int rounds, double share) {
    for (int i = 0; i < rounds; ++i) {
      const auto marked = static_cast<std::uint32_t>(100 * kMss * share);
      algorithm_.on_acked(state_, {.bytes = marked, .marked_bytes = marked, .may_grow = false},
                          now_);
      algorithm_.on_acked(
          state_, {.bytes = 100 * kMss - marked, .round_ended = true, .may_grow = false}, now_);
    }
  }

  const CongestionAlgorithm& algorithm_ = congestion_algorithm_or_default("dctcp");
  CongestionState state_;
  Instant now_{seconds(100)};
};

TEST_F(DctcpWindow, TheFirstMarkHalvesAsRenoDoes) {
  algorithm_.on_congestion(state_, Congestion::kMark, state_.cwnd, now_);
  EXPECT_EQ(state_.ssthresh, 50 * kMss);
}

TEST_F(DctcpWindow, AMarkTakesHalfOfTheMarkedShare) {
  pass(200, 0.2);
  algorithm_.on_congestion(state_, Congestion::kMark, state_.cwnd, now_);
  EXPECT_NEAR(state_.ssthresh, 90 * kMss, kMss);
}

TEST_F(DctcpWindow, AlphaMovesByASixteenthARound) {
  pass(1, 0);
  algorithm_.on_congestion(state_, Congestion::kMark, state_.cwnd, now_);
  EXPECT_NEAR(state_.ssthresh, 100 * kMss * (1 - 15.0 / 32), 10);
}

// Else the first mark after a hand-over would halve.
TEST_F(DctcpWindow, AlphaMovesAlong) {
  pass(100, 0);
  const PathModel path = algorithm_.model(state_, now_);
  EXPECT_LT(path.marked_share, PathModel::kAllMarked / 100);
  const std::uint32_t window = state_.cwnd;
  algorithm_.start(state_, 100, path, now_);
  algorithm_.on_congestion(state_, Congestion::kMark, state_.cwnd, now_);
  EXPECT_GT(state_.ssthresh, window * 0.99);
}

TEST_F(DctcpWindow, ALossHalvesWhateverTheMarks) {
  pass(200, 0);
  algorithm_.on_congestion(state_, Congestion::kLoss, state_.cwnd, now_);
  EXPECT_EQ(state_.ssthresh, 50 * kMss);
}

}  // namespace
}  // namespace snp::tcp
