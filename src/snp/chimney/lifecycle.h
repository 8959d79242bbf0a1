// The hand-over of one connection, both ways, as a table: what happened and where we are give what
// to do, in order, and where we are then (design section 3, reference 4.6). Pure: no socket, no
// shard, no clock; who drives it carries the actions out and reports what came of them.
//
//            offload requested                    initiated
//   InHost ---------------------> Offloading ------------------> Offloaded
//     ^   <---------------------  (closing gate,                   |   |
//     |     busy, park failed,     parking, initiating)     upload |   | application closed
//     |     application died                             requested |   | or died
//     |                                                            v   v
//     +--------------------------------------------------- Uploading   Finishing
//        unparked                         (closing gate, terminating,      | finished
//                                          unparking)                      v
//                                                                        Over
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace snp::chimney {

// The glossary's offload states, as `snp connections` shows them.
enum class OffloadState : std::uint8_t { kInHost, kOffloading, kOffloaded, kUploading };
const char* to_string(OffloadState) noexcept;

enum class Step : std::uint8_t {
  kInHost,
  // Offloading
  kClosingGate,  // waiting until no call is inside
  kParking,      // the socket is being emptied
  kInitiating,   // the target is taking over
  // Offloaded
  kOffloaded,
  kFinishing,  // the application has gone; the target finishes alone
  // Uploading
  kClosingGateToUpload,
  kTerminating,  // the target is giving back
  kUnparking,    // the socket is being refilled
  kOver,         // nothing of the connection is left here
};
inline constexpr std::size_t kSteps = static_cast<std::size_t>(Step::kOver) + 1;

enum class Input : std::uint8_t {
  kOffloadRequested,
  // The target died, and the next one goes on with what it had: instead of an offload. The socket
  // is parked, steering active and the gate open towards the target, as they were.
  kResumeRequested,
  // By command, policy, the application's needs, or the target. During an offload it changes
  // nothing: whoever asks, asks again then.
  kUploadRequested,
  kGateClosed,
  kGateBusy,  // a call stayed inside for too long; or an offload found that it cannot be, after all
  kParked,
  kParkFailed,  // the socket is as it was before
  kInitiated,
  kTerminated,
  kRefused,  // the state is one that only the target can finish
  kUnparked,
  kUnparkFailed,
  kFinished,   // the target is done with a connection that the application has left
  kAppClosed,  // the last descriptor
  kAppDied,
};
inline constexpr std::size_t kInputs = static_cast<std::size_t>(Input::kAppDied) + 1;

enum class Action : std::uint8_t {
  kCloseGate,
  kOpenGateToHost,
  kOpenGateToTarget,
  kHold,         // steering: shadow, then hold
  kPark,         //
  kInitiate,     //
  kActivate,     // steering: active
  kTerminate,    //
  kReturn,       // steering: the host may send again
  kUnpark,       //
  kUnsteer,      // steering: gone
  kLetFollow,    // steering: the host receives again, behind what it is given; gone soon
  kGiveFrames,   // to the host, in order: held ones, the forged segment, stragglers
  kBury,         // the parked socket ends in silence
  kFree,         // record, rings, our descriptor of the socket; always the last action
  kRetryUpload,  // later
  kReportStuck,  // the upload has to wait until the target is finished
};

class Lifecycle {
 public:
  // What to do now, in order. An input that does not belong here gives nothing and changes nothing.
  // The actions stay valid until the next call; carry them out before it.
  std::span<const Action> on(Input input) noexcept;

  [[nodiscard]] Step step() const noexcept { return step_; }
  [[nodiscard]] OffloadState state() const noexcept;
  // The application has closed or died.
  [[nodiscard]] bool is_orphan() const noexcept { return is_orphan_; }

 private:
  Step step_ = Step::kInHost;
  bool is_orphan_ = false;
};

}  // namespace snp::chimney
