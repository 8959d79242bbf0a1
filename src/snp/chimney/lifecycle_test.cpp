#include "snp/chimney/lifecycle.h"

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snp::chimney {
namespace {

using enum Input;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<Action> on(Lifecycle& lifecycle, Input input) {
  const auto actions = lifecycle.on(input);
  return {actions.begin(), actions.end()};
}

Lifecycle after(std::initializer_list<Input> inputs) {
  Lifecycle lifecycle;
  for (const Input input : inputs)
    lifecycle.on(input);
  return lifecycle;
}

TEST(Lifecycle, OffloadsInTheOrderOfTheDesign) {
  Lifecycle l;
  EXPECT_THAT(on(l, kOffloadRequested), ElementsAre(Action::kCloseGate));
  EXPECT_THAT(on(l, kGateClosed), ElementsAre(Action::kHold, Action::kPark));
  EXPECT_THAT(on(l, kParked), ElementsAre(Action::kInitiate));
  EXPECT_EQ(l.state(), OffloadState::kOffloading);
  EXPECT_THAT(on(l, kInitiated), ElementsAre(Action::kActivate, Action::kOpenGateToTarget));
  EXPECT_EQ(l.state(), OffloadState::kOffloaded);
}

TEST(Lifecycle, ResumesWhatAnotherTargetHad) {
  Lifecycle l;
  EXPECT_THAT(on(l, kResumeRequested), ElementsAre(Action::kInitiate));
  EXPECT_THAT(on(l, kInitiated), ElementsAre(Action::kActivate, Action::kOpenGateToTarget));
  EXPECT_EQ(l.state(), OffloadState::kOffloaded);
  EXPECT_THAT(on(l, kResumeRequested), IsEmpty());
}

TEST(Lifecycle, UploadsInTheOrderOfTheDesign) {
  Lifecycle l = after({kOffloadRequested, kGateClosed, kParked, kInitiated});
  EXPECT_THAT(on(l, kUploadRequested), ElementsAre(Action::kCloseGate));
  EXPECT_THAT(on(l, kGateClosed), ElementsAre(Action::kHold, Action::kTerminate));
  EXPECT_THAT(on(l, kTerminated), ElementsAre(Action::kReturn, Action::kUnpark));
  EXPECT_EQ(l.state(), OffloadState::kUploading);
  EXPECT_THAT(on(l, kUnparked), ElementsAre(Action::kLetFollow, Action::kGiveFrames,
                                            Action::kOpenGateToHost, Action::kFree));
  EXPECT_EQ(l.step(), Step::kInHost);
  EXPECT_THAT(on(l, kOffloadRequested), ElementsAre(Action::kCloseGate)) << "and again";
}

TEST(Lifecycle, AnUploadAskedForTooEarlyChangesNothing) {
  Lifecycle l = after({kOffloadRequested, kGateClosed});
  EXPECT_THAT(on(l, kUploadRequested), IsEmpty());
  EXPECT_THAT(on(l, kParked), ElementsAre(Action::kInitiate));
  EXPECT_THAT(on(l, kUploadRequested), IsEmpty());
  EXPECT_EQ(l.step(), Step::kInitiating);
}

TEST(Lifecycle, WhatTheApplicationHasLeftComesHomeWithoutAGate) {
  Lifecycle l = after({kOffloadRequested, kGateClosed, kParked, kInitiated, kAppClosed});
  EXPECT_THAT(on(l, kUploadRequested), ElementsAre(Action::kHold, Action::kTerminate));
  EXPECT_THAT(on(l, kRefused), ElementsAre(Action::kActivate, Action::kReportStuck));
  EXPECT_EQ(l.step(), Step::kFinishing);
}

// The world as the actions leave it, and what must hold in it at every moment.
struct World {
  enum class Gate { kHost, kClosed, kTarget } gate = Gate::kHost;
  enum class Steering { kNone, kHold, kActive, kReturn } steering = Steering::kNone;
  enum class Socket {
    kLive,
    kParking,
    kParked,
    kUnparking,
    kBuried,
    kReleased
  } socket = Socket::kLive;
  bool target_asked = false, target_has = false;

  void carry_out(Action action, const Lifecycle& l) {
    SCOPED_TRACE(static_cast<int>(action));
    switch (action) {
      case Action::kCloseGate:
        EXPECT_NE(gate, Gate::kClosed);
        gate = Gate::kClosed;
        break;
      case Action::kOpenGateToHost:
        EXPECT_TRUE(socket == Socket::kLive || socket == Socket::kBuried);
        EXPECT_EQ(steering, Steering::kNone);
        gate = Gate::kHost;
        break;
      case Action::kOpenGateToTarget:
        EXPECT_TRUE(target_has);
        EXPECT_EQ(steering, Steering::kActive);
        gate = Gate::kTarget;
        break;
      case Action::kHold:
        EXPECT_TRUE(gate == Gate::kClosed || l.is_orphan());
        steering = Steering::kHold;
        break;
      case Action::kPark:
        EXPECT_EQ(steering, Steering::kHold) << "or a frame slips into the half-empty socket";
        EXPECT_EQ(socket, Socket::kLive);
        socket = Socket::kParking;
        break;
      case Action::kInitiate:
        EXPECT_EQ(socket, Socket::kParked);
        target_asked = true;
        break;
      case Action::kActivate:
        EXPECT_TRUE(target_has);
        steering = Steering::kActive;
        break;
      case Action::kTerminate:
        EXPECT_TRUE(target_has);
        EXPECT_EQ(steering, Steering::kHold);
        break;
      case Action::kReturn:
        EXPECT_FALSE(target_has);
        steering = Steering::kReturn;
        break;
      case Action::kUnpark:
        EXPECT_EQ(steering, Steering::kReturn);
        EXPECT_EQ(socket, Socket::kParked);
        EXPECT_FALSE(target_has) << "two owners";
        socket = Socket::kUnparking;
        break;
      case Action::kUnsteer:
      case Action::kLetFollow:
        EXPECT_TRUE(socket == Socket::kLive || socket == Socket::kBuried) << "it would answer RST";
        steering = Steering::kNone;
        break;
      case Action::kGiveFrames:
        EXPECT_EQ(steering, Steering::kNone) << "or the host's would be held";
        EXPECT_TRUE(socket == Socket::kLive || socket == Socket::kBuried);
        break;
      case Action::kBury:
        EXPECT_FALSE(target_has);
        socket = Socket::kBuried;
        break;
      case Action::kFree:
        EXPECT_FALSE(target_has);
        EXPECT_EQ(steering, Steering::kNone);
        EXPECT_TRUE(socket == Socket::kLive || socket == Socket::kBuried);
        break;
      case Action::kRetryUpload:
      case Action::kReportStuck:
        break;
    }
  }

  // What may come of where we are now, besides requests and the application's end.
  [[nodiscard]] std::vector<Input> possible(const Lifecycle& l) const {
    switch (l.step()) {
      case Step::kClosingGate:
      case Step::kClosingGateToUpload:
        return {kGateClosed, kGateBusy};
      case Step::kParking:
        return {kParked, kParkFailed};
      case Step::kInitiating:
        return {kInitiated};
      case Step::kTerminating:
        if (l.is_orphan()) return {kTerminated, kRefused, kFinished};
        return {kTerminated, kRefused};
      case Step::kUnparking:
        return {kUnparked, kUnparkFailed};
      case Step::kFinishing:
        return {kFinished};
      default:
        return {};
    }
  }

  void happen(Input input) {
    if (input == kParked) socket = Socket::kParked;
    if (input == kParkFailed || input == kUnparked) socket = Socket::kLive;
    if (input == kUnparkFailed) socket = Socket::kParked;
    if (input == kInitiated) target_has = true;
    if (input == kTerminated || input == kFinished) target_has = false;
  }

  void check(const Lifecycle& l) const {
    const bool is_home = l.step() == Step::kInHost || l.step() == Step::kOver;
    if (is_home) {
      EXPECT_FALSE(target_has);
      EXPECT_EQ(steering, Steering::kNone);
      EXPECT_TRUE(socket == Socket::kLive || socket == Socket::kBuried);
      if (!l.is_orphan()) {
        EXPECT_EQ(gate, Gate::kHost);
      }
    }
    if (l.step() == Step::kOffloaded) {
      EXPECT_EQ(gate, Gate::kTarget);
      EXPECT_EQ(steering, Steering::kActive);
      EXPECT_EQ(socket, Socket::kParked);
    }
  }
};

void feed(World& world, Lifecycle& l, Input input) {
  SCOPED_TRACE("step " + std::to_string(static_cast<int>(l.step())) + ", input " +
               std::to_string(static_cast<int>(input)));
  world.happen(input);
  for (const Action action : on(l, input))
    world.carry_out(action, l);
  world.check(l);
}

// Every failure at every step, the application's end at every step: walks through everything that
// can happen, with the application's end at each position.
TEST(Lifecycle, AnythingThatCanHappenLeavesTheWorldInOrder) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::array<std::array<bool, kInputs>, kSteps> seen{};
  for (int walk = 0; walk < 3000; ++walk) {
    World world;
    Lifecycle l;
    if (random() % 4 == 0) {  // after the death of another target
      world.gate = World::Gate::kTarget;
      world.steering = World::Steering::kActive;
      world.socket = World::Socket::kParked;
      feed(world, l, kResumeRequested);
    }
    const auto ends_at = random() % 20;
    const Input end = random() % 2 == 0 ? kAppClosed : kAppDied;
    for (unsigned i = 0; i < 200 && l.step() != Step::kOver; ++i) {
      Input input = random() % 2 == 0 ? kOffloadRequested : kUploadRequested;
      auto possible = world.possible(l);
      if (i == ends_at)
        input = end;
      else if (!possible.empty() && random() % 4 != 0)
        input = possible[random() % possible.size()];
      seen[static_cast<std::size_t>(l.step())][static_cast<std::size_t>(input)] = true;
      feed(world, l, input);
      if (::testing::Test::HasFailure()) return;
    }
    ASSERT_EQ(l.step(), Step::kOver) << "an end of the application, and all is over at last";
  }
  for (std::size_t step = 0; step < kSteps; ++step) {
    // One comes after the application's end only, the other is the end.
    if (Step(step) == Step::kFinishing || Step(step) == Step::kOver) continue;
    EXPECT_TRUE(seen[step][static_cast<std::size_t>(kAppClosed)]) << step;
    EXPECT_TRUE(seen[step][static_cast<std::size_t>(kAppDied)]) << step;
  }
}

// Answers that come twice, late or from nowhere change nothing.
// What each answer on the way leads to, and what is done for it, in order.
struct Answer {
  std::initializer_list<Input> before;
  Input input;
  std::vector<Action> actions;
  Step step;
};

TEST(Lifecycle, EachAnswerOnTheWayToTheTargetIsDealtWith) {
  using enum Action;
  for (const Answer& answer : {
           Answer{{kOffloadRequested}, kGateBusy, {kOpenGateToHost, kFree}, Step::kInHost},
           Answer{{kOffloadRequested}, kAppClosed, {kOpenGateToHost, kFree}, Step::kOver},
           Answer{{kOffloadRequested}, kAppDied, {kFree}, Step::kOver},
           Answer{{kOffloadRequested, kGateClosed},
                  kParkFailed,
                  {kLetFollow, kGiveFrames, kOpenGateToHost, kFree},
                  Step::kInHost},
           Answer{{kOffloadRequested, kGateClosed, kAppDied},
                  kParkFailed,
                  {kLetFollow, kGiveFrames, kFree},
                  Step::kOver},
           Answer{{kOffloadRequested, kGateClosed, kParked, kAppClosed},
                  kInitiated,
                  {kActivate, kOpenGateToTarget},
                  Step::kFinishing},
       }) {
    Lifecycle l = after(answer.before);
    EXPECT_EQ(on(l, answer.input), answer.actions) << static_cast<int>(answer.input);
    EXPECT_EQ(l.step(), answer.step) << static_cast<int>(answer.input);
  }
}

TEST(Lifecycle, EachAnswerOnTheWayHomeIsDealtWith) {
  using enum Action;
  const auto uploading = [](std::initializer_list<Input> then) {
    Lifecycle l = after({kOffloadRequested, kGateClosed, kParked, kInitiated, kUploadRequested});
    for (const Input input : then)
      l.on(input);
    return l;
  };
  for (const Answer& answer : {
           Answer{{}, kAppClosed, {kOpenGateToTarget, kReportStuck}, Step::kFinishing},
           Answer{{}, kAppDied, {kOpenGateToTarget, kReportStuck}, Step::kFinishing},
           Answer{{kGateClosed},
                  kRefused,
                  {kActivate, kOpenGateToTarget, kReportStuck},
                  Step::kOffloaded},
           Answer{{kGateClosed, kAppDied}, kRefused, {kActivate, kReportStuck}, Step::kFinishing},
           Answer{{kGateClosed}, kFinished, {kReportStuck, kBury, kUnsteer, kFree}, Step::kOver},
           Answer{{kGateClosed, kTerminated},
                  kUnparkFailed,
                  {kBury, kUnsteer, kGiveFrames, kOpenGateToHost, kFree},
                  Step::kOver},
           Answer{{kGateClosed, kTerminated, kAppDied},
                  kUnparkFailed,
                  {kBury, kUnsteer, kGiveFrames, kFree},
                  Step::kOver},
       }) {
    Lifecycle l = uploading(answer.before);
    EXPECT_EQ(on(l, answer.input), answer.actions) << static_cast<int>(answer.input);
    EXPECT_EQ(l.step(), answer.step) << static_cast<int>(answer.input);
  }
}

TEST(Lifecycle, TheApplicationsEndCountsOnceAndWaitsForTheStep) {
  Lifecycle l = after({kOffloadRequested, kGateClosed});
  EXPECT_THAT(on(l, kAppClosed), IsEmpty());
  EXPECT_EQ(l.step(), Step::kParking);
  EXPECT_THAT(on(l, kAppDied), IsEmpty());
  l.on(kParked);
  l.on(kInitiated);
  EXPECT_EQ(l.step(), Step::kFinishing);
  EXPECT_THAT(on(l, kAppDied), IsEmpty());
  EXPECT_EQ(l.step(), Step::kFinishing);
}

TEST(Lifecycle, IgnoresWhatDoesNotBelong) {
  Lifecycle fresh;
  for (const Input input : {kGateClosed, kGateBusy, kParked, kParkFailed, kInitiated, kTerminated,
                            kRefused, kUnparked, kUnparkFailed, kFinished, kUploadRequested}) {
    EXPECT_THAT(on(fresh, input), IsEmpty());
    EXPECT_EQ(fresh.step(), Step::kInHost);
  }
  Lifecycle over = after({kAppDied});
  for (std::size_t input = 0; input < kInputs; ++input) {
    EXPECT_THAT(on(over, static_cast<Input>(input)), IsEmpty());
    EXPECT_EQ(over.step(), Step::kOver);
  }
}

TEST(Lifecycle, ADeadApplicationNeverHoldsAnUploadUp) {
  Lifecycle l = after({kOffloadRequested, kGateClosed, kParked, kInitiated, kUploadRequested});
  EXPECT_THAT(on(l, kAppDied), ElementsAre(Action::kOpenGateToTarget, Action::kReportStuck));
  EXPECT_THAT(on(l, kFinished), ElementsAre(Action::kBury, Action::kUnsteer, Action::kFree));
  EXPECT_EQ(l.step(), Step::kOver);
}

TEST(Lifecycle, DeathInTheMiddleOfAnUploadEndsAtHomeWhereTheKernelClosesIt) {
  Lifecycle l =
      after({kOffloadRequested, kGateClosed, kParked, kInitiated, kUploadRequested, kGateClosed});
  EXPECT_THAT(on(l, kAppDied), IsEmpty());
  EXPECT_THAT(on(l, kTerminated), ElementsAre(Action::kReturn, Action::kUnpark));
  EXPECT_THAT(on(l, kUnparked),
              ElementsAre(Action::kLetFollow, Action::kGiveFrames, Action::kFree));
  EXPECT_EQ(l.step(), Step::kOver);
}

}  // namespace
}  // namespace snp::chimney
