// Two sockets of this host that are each other's peer come home together (host/parking.h). Control
// thread or keeper.
#pragma once

#include <array>

#include "snp/base/result.h"
#include "snp/chimney/target.h"
#include "snp/host/parking.h"
#include "snp/state/host_socket.h"

namespace snp::daemon {

struct EndToRefill {
  int fd = -1;
  const HostSocketMemo& memo;
  const chimney::Handoff& handoff;  // settled (chimney/local_pair.h)
  bool resets = false;              // its last word is a reset
};
// What each socket is now, or why it could not be refilled.
std::array<Result<host::Refilled>, 2> refill_pair(const std::array<EndToRefill, 2>& ends);

}  // namespace snp::daemon
