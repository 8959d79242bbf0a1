// Who carries an offloaded connection (reference 4.6, design section 7). Control thread side: calls
// return at once, answers come later through TargetEvents on the control thread, each exactly once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "snp/base/time.h"
#include "snp/chimney/reason.h"
#include "snp/state/connection_state.h"
#include "snp/state/stream_ring.h"

namespace snp::chimney {

using ConnectionId = std::uint32_t;  // the flow record's index

struct Handoff {
  ConnectionId id = 0;
  ConnectionState state;
  StreamRing rx, tx;
  StreamRange rx_range, tx_range;
  std::uint32_t buffer_bytes = 0;  // of each ring, at first; more by measurement. 0: all
};

class Target {
 public:
  virtual ~Target() = default;
  virtual void initiate(const Handoff& handoff) = 0;
  // Gives the delegated state back: terminated(), or refused() when only the target can finish it.
  // Text behind a gap is dropped then, although it was SACKed (reference 4.11), and some peers take
  // seconds to find that out: for so long at most it may wait for a moment without a gap.
  virtual void terminate(ConnectionId id, Duration patience) = 0;
  // The path changed: link addresses and path MTU count. Options come through the slot.
  virtual void update(ConnectionId id, const CachedState& cached) = 0;
  // The tuple's held frames: given to the host in order, then the forged segment (may be empty;
  // host/parking.h), then frames that still come. For a connection that is not initiated.
  virtual void release_frames(ConnectionId id, const FourTuple& tuple,
                              std::span<const std::byte> forged_segment) = 0;
};

class TargetEvents {
 public:
  virtual ~TargetEvents() = default;
  virtual void initiated(ConnectionId id) = 0;
  virtual void terminated(ConnectionId id, const Handoff& handoff) = 0;
  // Answer to terminate() in CLOSING, LAST_ACK, TIME_WAIT or CLOSED: the connection stays with the
  // target, which reports finished() in its time.
  virtual void refused(ConnectionId id, TcpState state) = 0;
  virtual void upload_requested(ConnectionId id, Reason reason) = 0;
  // Answers of Engine::expect() and Engine::move_out(), which may be refused(), too.
  virtual void expected(ConnectionId id) = 0;
  virtual void moved_out(ConnectionId id) = 0;
  // CLOSED, and the application needs the rings no more: bury the socket, free record and rings.
  virtual void finished(ConnectionId id) = 0;
};

}  // namespace snp::chimney
