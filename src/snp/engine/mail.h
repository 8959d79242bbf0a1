// What control thread and shards tell each other. A message goes to a shard, and the same object
// comes back as the answer; who takes the answer out deletes it, unless it is part of a flow.
#pragma once

#include <cstddef>
#include <latch>
#include <memory>
#include <vector>

#include "snp/chimney/target.h"
#include "snp/device/packet_device.h"
#include "snp/engine/mailbox.h"
#include "snp/netdma/copier.h"

namespace snp::engine {

class ShardArena;
struct Flow;

enum class MailKind : std::uint8_t {
  // To a shard.
  kAttach,         // arena
  kDetach,         // arena
  kInitiate,       // flow, handoff
  kTerminate,      // id
  kUpdate,         // id, handoff.state.cached
  kReleaseFrames,  // handoff.state.constant, forged_segment
  kUntap,          // handoff.state.constant.ifindex, is_done
  kExpect,         // id, handoff.state.constant.tuple
  kMoveOut,        // id, shard
  kMoveIn,         // flow, arena, handoff.state.cached
  kPassOn,         // handoff.state.constant.tuple, shard
  kFrame,          // frame: of another shard
  kCopies,         // copies
  // Back.
  kInitiated,        // id
  kTerminated,       // id, flow, handoff
  kExpected,         // id
  kMovedOut,         // id
  kPassedFrame,      // frame, shard: to be given to it
  kRefused,          // id, handoff.state.delegated.state
  kUploadRequested,  // id, reason
  kFinished,         // id, flow
  kDetached,         // arena
  kDone,             // nothing to tell
};

// A frame on its way to the shard that has its connection.
struct PassedFrame {
  std::vector<std::byte> bytes;
  std::uint32_t port = 0;
  std::uint16_t gso_size = 0;
  device::Checksum checksum = device::Checksum::kUnknown;
};

struct Mail : MailNode {
  MailKind kind = MailKind::kDone;
  bool is_part_of_flow = false;
  chimney::Reason reason = chimney::Reason::kOffloaded;
  chimney::ConnectionId id = 0;
  Flow* flow = nullptr;
  ShardArena* arena = nullptr;
  chimney::Handoff handoff;
  std::vector<std::byte> forged_segment;
  std::uint32_t shard = 0;
  Duration patience = Duration::zero();  // kTerminate: with a gap in what was received
  std::uint32_t account = 0;             // kReleaseFrames: to which they count
  std::uint32_t recalls = 0;  // kReleaseFrames: stats::TargetAccount, as the frames are released
  PassedFrame frame;
  std::shared_ptr<std::latch> is_done;
  netdma::CopierSettings copies;
};

}  // namespace snp::engine
