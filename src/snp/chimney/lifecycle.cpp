#include "snp/chimney/lifecycle.h"

#include <array>
#include <cstddef>

namespace snp::chimney {
namespace {

using enum Action;

// Which rules count when the application has gone.
enum class When : std::uint8_t { kAlways, kAttended, kOrphan };

constexpr std::size_t kMaxActions = 6;

struct Rule {
  Step step;
  Input input;
  When when;
  Step next;
  std::array<Action, kMaxActions> actions;
  std::size_t count;
};

template <class... Actions>
constexpr Rule rule(Step step, Input input, When when, Step next, Actions... actions) {
  static_assert(sizeof...(actions) <= kMaxActions);
  return {step, input, when, next, {actions...}, sizeof...(actions)};
}

// The first rule that fits counts.
constexpr std::array kRules{
    // --- host to target ---
    rule(Step::kInHost, Input::kOffloadRequested, When::kAttended, Step::kClosingGate, kCloseGate),
    rule(Step::kInHost, Input::kResumeRequested, When::kAttended, Step::kInitiating, kInitiate),
    rule(Step::kInHost, Input::kAppClosed, When::kAlways, Step::kOver),
    rule(Step::kInHost, Input::kAppDied, When::kAlways, Step::kOver),

    rule(Step::kClosingGate, Input::kGateClosed, When::kAttended, Step::kParking, kHold, kPark),
    rule(Step::kClosingGate, Input::kGateBusy, When::kAttended, Step::kInHost, kOpenGateToHost,
         kFree),
    // The kernel has the connection still, and our descriptor keeps its close waiting.
    rule(Step::kClosingGate, Input::kAppClosed, When::kAlways, Step::kOver, kOpenGateToHost, kFree),
    rule(Step::kClosingGate, Input::kAppDied, When::kAlways, Step::kOver, kFree),

    rule(Step::kParking, Input::kParked, When::kAlways, Step::kInitiating, kInitiate),
    rule(Step::kParking, Input::kParkFailed, When::kAttended, Step::kInHost, kLetFollow,
         kGiveFrames, kOpenGateToHost, kFree),
    rule(Step::kParking, Input::kParkFailed, When::kOrphan, Step::kOver, kLetFollow, kGiveFrames,
         kFree),

    rule(Step::kInitiating, Input::kInitiated, When::kAttended, Step::kOffloaded, kActivate,
         kOpenGateToTarget),
    rule(Step::kInitiating, Input::kInitiated, When::kOrphan, Step::kFinishing, kActivate,
         kOpenGateToTarget),

    // --- at the target ---
    rule(Step::kOffloaded, Input::kUploadRequested, When::kAlways, Step::kClosingGateToUpload,
         kCloseGate),
    rule(Step::kOffloaded, Input::kAppClosed, When::kAlways, Step::kFinishing),
    rule(Step::kOffloaded, Input::kAppDied, When::kAlways, Step::kFinishing),

    rule(Step::kFinishing, Input::kFinished, When::kAlways, Step::kOver, kBury, kUnsteer, kFree),
    // The host can finish it as well; nobody is left to pass a gate.
    rule(Step::kFinishing, Input::kUploadRequested, When::kAlways, Step::kTerminating, kHold,
         kTerminate),

    // --- target to host ---
    rule(Step::kClosingGateToUpload, Input::kGateClosed, When::kAlways, Step::kTerminating, kHold,
         kTerminate),
    rule(Step::kClosingGateToUpload, Input::kGateBusy, When::kAlways, Step::kOffloaded,
         kOpenGateToTarget, kRetryUpload),
    // Nobody is left who needs the host's calls.
    rule(Step::kClosingGateToUpload, Input::kAppClosed, When::kAlways, Step::kFinishing,
         kOpenGateToTarget, kReportStuck),
    rule(Step::kClosingGateToUpload, Input::kAppDied, When::kAlways, Step::kFinishing,
         kOpenGateToTarget, kReportStuck),

    rule(Step::kTerminating, Input::kTerminated, When::kAlways, Step::kUnparking, kReturn, kUnpark),
    rule(Step::kTerminating, Input::kRefused, When::kAttended, Step::kOffloaded, kActivate,
         kOpenGateToTarget, kReportStuck),
    rule(Step::kTerminating, Input::kRefused, When::kOrphan, Step::kFinishing, kActivate,
         kReportStuck),
    // It was over before the target heard of the upload.
    rule(Step::kTerminating, Input::kFinished, When::kAlways, Step::kOver, kReportStuck, kBury,
         kUnsteer, kFree),

    rule(Step::kUnparking, Input::kUnparked, When::kAttended, Step::kInHost, kLetFollow,
         kGiveFrames, kOpenGateToHost, kFree),
    // Our descriptor is the last: closing it makes the kernel do what it does at process exit.
    rule(Step::kUnparking, Input::kUnparked, When::kOrphan, Step::kOver, kLetFollow, kGiveFrames,
         kFree),
    // The host answers the frames of a socket that is no more with a reset: the peer knows.
    rule(Step::kUnparking, Input::kUnparkFailed, When::kAttended, Step::kOver, kBury, kUnsteer,
         kGiveFrames, kOpenGateToHost, kFree),
    rule(Step::kUnparking, Input::kUnparkFailed, When::kOrphan, Step::kOver, kBury, kUnsteer,
         kGiveFrames, kFree),
};

constexpr bool fits(const Rule& rule, Step step, Input input, bool is_orphan) {
  return rule.step == step && rule.input == input &&
         (rule.when == When::kAlways || (rule.when == When::kOrphan) == is_orphan);
}

// Between gate and answer the application's end changes only what comes after the step.
constexpr bool is_in_motion(Step step) {
  return step == Step::kParking || step == Step::kInitiating || step == Step::kTerminating ||
         step == Step::kUnparking;
}

}  // namespace

std::span<const Action> Lifecycle::on(Input input) noexcept {
  if (input == Input::kAppClosed || input == Input::kAppDied) {
    if (is_orphan_ || step_ == Step::kOver) return {};
    is_orphan_ = true;
    if (is_in_motion(step_)) return {};
  }
  for (const Rule& rule : kRules) {
    if (!fits(rule, step_, input, is_orphan_)) continue;
    step_ = rule.next;
    return {rule.actions.data(), rule.count};
  }
  return {};
}

OffloadState Lifecycle::state() const noexcept {
  switch (step_) {
    case Step::kInHost:
    case Step::kOver:
      return OffloadState::kInHost;
    case Step::kClosingGate:
    case Step::kParking:
    case Step::kInitiating:
      return OffloadState::kOffloading;
    case Step::kOffloaded:
    case Step::kFinishing:
      return OffloadState::kOffloaded;
    case Step::kClosingGateToUpload:
    case Step::kTerminating:
    case Step::kUnparking:
      return OffloadState::kUploading;
  }
  return OffloadState::kInHost;
}

const char* to_string(OffloadState state) noexcept {
  constexpr std::array kNames{"InHost", "Offloading", "Offloaded", "Uploading"};
  return kNames[static_cast<std::size_t>(state)];
}

}  // namespace snp::chimney
