// When the presence comes and goes, with acts that only count.
#include "snp/daemon/presence.h"

#include <atomic>
#include <string>

#include <gtest/gtest.h>

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

constexpr std::uint32_t kFirst = 2, kSecond = 3;
using Answer = Presence::Answer;

class PresenceTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = std::move(*EventLoop::open());
    presence_ = std::move(
        *Presence::open(*loop_, {kFirst, kSecond},
                        {[this](std::uint32_t ifindex) { return act(came_, ifindex, refused_); },
                         [this](std::uint32_t ifindex) { return act(went_, ifindex, kept_); }},
                        {kLinger, kRetry}));
    presence_->on_change([this] { ++changes_; });
  }
  void TearDown() override { presence_.reset(); }

  // Turns the loop until that is true; a test that waits in vain ends by its time limit.
  template <class Condition>
  void run_until(Condition&& is_true) {
    while (!is_true()) {
      loop_->call_at(engine::monotonic_now() + milliseconds(1), [] {});
      loop_->turn();
    }
  }
  // Long enough for what should not happen, were it to happen.
  void run_for(Duration time) {
    run_until(
        [until = engine::monotonic_now() + time] { return engine::monotonic_now() >= until; });
  }

  Result<> act(std::atomic<int>& count, std::uint32_t ifindex,
               const std::atomic<std::uint32_t>& refused) {
    ++count;
    while (is_held_)
      std::this_thread::yield();
    if (refused == ifindex) return fail(Errc::kBusy, "device " + std::to_string(ifindex));
    return {};
  }
  void bring() {
    ASSERT_EQ(presence_->want(kFirst), Answer::kComing);
    run_until([this] { return changes_ != 0; });
    changes_ = 0;
  }

  static constexpr Duration kLinger = milliseconds(30);
  static constexpr Duration kRetry = milliseconds(20);
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Presence> presence_;
  std::atomic<int> came_{0}, went_{0};
  std::atomic<std::uint32_t> refused_{0}, kept_{0};
  std::atomic<bool> is_held_{false};
  int changes_ = 0;
};

TEST_F(PresenceTest, NothingIsThereUntilAFlowIsToBeSteered) {
  run_for(2 * kLinger);
  EXPECT_EQ(came_, 0);
  EXPECT_EQ(went_, 0);
}

TEST_F(PresenceTest, ComesToEveryDeviceOnceAndGoesAfterTheLastFlow) {
  bring();
  EXPECT_EQ(came_, 2);
  EXPECT_EQ(presence_->want(kSecond), Answer::kHere);
  ASSERT_EQ(presence_->want(kFirst), Answer::kHere);
  presence_->keep();
  presence_->keep();
  presence_->let_go();
  run_for(3 * kLinger);
  EXPECT_EQ(went_, 0) << "a flow is there";
  presence_->let_go();
  run_until([this] { return went_ == 2; });
  run_for(3 * kLinger);
  EXPECT_EQ(went_, 2) << "once";
  bring();
  EXPECT_EQ(came_, 4);
}

TEST_F(PresenceTest, AFlowThatIsNeverKeptLeavesNothing) {
  bring();
  run_until([this] { return went_ == 2; });
}

TEST_F(PresenceTest, FlowsThatFollowEachOtherFindItThere) {
  bring();
  for (int i = 0; i < 20; ++i) {
    presence_->keep();
    presence_->let_go();
    const Instant alone_since = engine::monotonic_now();
    run_for(kLinger / 10);
    if (presence_->want(kFirst) == Answer::kHere) continue;
    ASSERT_GE(engine::monotonic_now() - alone_since, kLinger) << i;
    return;  // the machine was busy with something else
  }
  EXPECT_EQ(came_, 2);
}

TEST_F(PresenceTest, WhoWantsItWhileItGoesGetsItAfterwards) {
  bring();
  presence_->keep();
  presence_->let_go();
  is_held_ = true;
  run_until([this] { return went_ == 1; });
  EXPECT_EQ(presence_->want(kSecond), Answer::kComing);
  EXPECT_EQ(presence_->want(kFirst), Answer::kComing);
  is_held_ = false;
  run_until([this] { return changes_ != 0; });
  EXPECT_EQ(went_, 2);
  EXPECT_EQ(came_, 4);
  EXPECT_EQ(presence_->want(kSecond), Answer::kHere);
}

TEST_F(PresenceTest, ADeviceThatRefusesIsLeftAloneForAWhileAndHindersNoOther) {
  refused_ = kSecond;
  bring();
  EXPECT_EQ(presence_->want(kFirst), Answer::kHere);
  presence_->keep();
  run_until([this] { return presence_->want(kSecond) == Answer::kComing; });
  run_until([this] { return changes_ != 0; });
  EXPECT_EQ(came_, 3) << "only where it is missing";
  refused_ = 0;
  run_until([this] { return presence_->want(kSecond) == Answer::kHere; });
  presence_->let_go();
  run_until([this] { return went_ == 2; });
  EXPECT_EQ(presence_->want(4711), Answer::kFailed);
}

TEST_F(PresenceTest, WhatCannotBeTakenOffIsStillThere) {
  bring();
  kept_ = kFirst;
  run_until([this] { return went_ == 2; });
  run_until([this] { return presence_->want(kFirst) == Answer::kHere; });
  run_until([this] { return presence_->want(kSecond) == Answer::kHere; });
  EXPECT_EQ(came_, 3) << "only what was taken off";
}

TEST_F(PresenceTest, StoppingWaitsForWhatIsOnAndBeginsNothing) {
  ASSERT_EQ(presence_->want(kFirst), Answer::kComing);
  presence_->stop();
  EXPECT_EQ(came_, 2);
  EXPECT_EQ(presence_->want(kFirst), Answer::kFailed);
  run_for(3 * kLinger);
  EXPECT_EQ(went_, 0);
}

}  // namespace
}  // namespace snp::daemon
