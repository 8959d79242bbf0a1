// Who carries an offloaded connection (reference 4.6, design section 7). Control thread side: calls
// return at once, answers come later through TargetEvents on the control thread, each exactly once.
#pragma once

#include <cstdint>

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
};

class Target {
 public:
  virtual ~Target() = default;
  virtual void initiate(const Handoff& handoff) = 0;
  virtual void terminate(ConnectionId id) = 0;  // gives the delegated state back
  virtual void update(ConnectionId id, const CachedState& cached) = 0;
  // The tuple's held frames: given to the host in order, together with those that still come.
  virtual void release_frames(ConnectionId id, const FourTuple& tuple) = 0;
};

class TargetEvents {
 public:
  virtual ~TargetEvents() = default;
  virtual void initiated(ConnectionId id) = 0;
  virtual void terminated(ConnectionId id, const Handoff& handoff) = 0;
  virtual void upload_requested(ConnectionId id, Reason reason) = 0;
  virtual void finished(ConnectionId id) = 0;  // CLOSED: bury the socket, free the record
};

}  // namespace snp::chimney
