// What getsockopt(TCP_INFO) counts of a connection goes on across its hand-overs: what snpd writes
// into its slot for that (ipc/arena.h, SlotLife). Control thread, or the keeper while there is no
// engine. Pre: the gate of the slot is closed. What an application scribbles over these words is
// told to nobody else.
#pragma once

#include <cstdint>

#include "snp/chimney/target.h"
#include "snp/host/parking.h"
#include "snp/ipc/arena.h"

namespace snp::daemon {

// Where the streams of a connection stand as its stay at a target begins or ends, in positions.
// Bytes only; FINs apart.
struct LifePositions {
  std::uint64_t received = 0;  // after the last byte that has arrived in order
  std::uint64_t acked = 0;  // of the oldest byte that the host counts, or will, as unacknowledged
  std::uint64_t sent = 0;   // after the last byte ever sent
  bool has_peers_fin = false, is_fin_acknowledged = false;  // and the host counts it, or will not
};
LifePositions life_positions(const chimney::Handoff& handoff) noexcept;
// What park() or dump() found, as far as it tells where the streams stand.
chimney::Handoff handoff_of(const host::Parked& parked) noexcept;

// The host gives it away, `mark` is where its socket stands. When nothing comes of it, the socket
// counts on from there. `fenced`: bytes that it has counted as sent and steering has dropped.
void leave_host(ipc::SlotLife& life, std::uint32_t in_use, const host::SocketMark& mark,
                std::uint64_t fenced, const LifePositions& at) noexcept;

// The host has it again. `mark`: where its socket stands; `at`: what that is; `told`: as far as the
// target has told, which the engine and the host agree about. The way home of a local connection
// gives bytes back to who wrote them.
void come_home(ipc::SlotLife& life, const host::SocketMark& mark, const LifePositions& at,
               const LifePositions& told) noexcept;
inline void come_home(ipc::SlotLife& life, const host::SocketMark& mark,
                      const LifePositions& at) noexcept {
  come_home(life, mark, at, at);
}

// What the target of a local connection has told of this end: all that either has written has
// arrived, and each FIN with it. Pre: both as they are refilled.
LifePositions told_when_local(const chimney::Handoff& mine, const chimney::Handoff& peers) noexcept;

}  // namespace snp::daemon
