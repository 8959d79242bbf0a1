// What is different when a connection is local (doc/decisions/0005): how it ends follows from the
// other side's flags, and the other side is told through its lanes. The rest of the switch works on
// RingEnds. Inside the gate, with the ends loaded, except where it says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "snp/ipc/tcp_info.h"
#include "snp/switch/connection.h"

namespace snp::switch_ {

inline bool is_local(const Connection& c) noexcept {
  return c.ends.pair != nullptr;
}

// The connection has come to the seat that its ends name: nobody is told, nothing has happened yet.
// `before`: its words where it was last. When the gate was only closed for a moment, all goes on.
void begin_local(Connection& c, const ipc::PairEnd* before) noexcept;

// As slot_status: what snpd says of the slot, and what follows from the other side's flags. Also
// outside the gate, as advice.
std::uint32_t local_status(const Connection& c) noexcept;
// The errno of a failed local connection, else 0. RFC 9293 3.10.7.4, as Linux names it: EPIPE when
// the other side had sent its FIN, ECONNRESET else.
int local_error(const Connection& c) noexcept;

// The words say something impossible: the connection is as good as reset.
void fail_local(Connection& c) noexcept;
// A word could not be changed: true when that is because the connection moves. Else the gate still
// stands open: then the other side has scribbled over our words, and the connection has failed.
bool must_pass_again(Connection& c) noexcept;

// Wakes whom the other side has named. After the stores that they shall see.
void tell_peer(Connection& c) noexcept;
// Before we write: would the other side answer with a reset, because it has closed, or shut down
// both ways (RFC 1122 4.2.2.13)? Then the connection is reset, and the bytes go nowhere.
bool draws_reset(Connection& c) noexcept;
// We have written.
void after_local_write(Connection& c) noexcept;
// We have read, and `unread` bytes are left: the writer may wait for room.
void after_local_read(Connection& c, std::uint32_t unread) noexcept;

// False: frozen; back to the gate.
[[nodiscard]] bool shut_down_local(Connection& c, std::uint32_t slot_flags) noexcept;
[[nodiscard]] bool close_local(Connection& c, bool abort) noexcept;
// Both directions have ended: the kernel's socket would be closed by now.
bool has_ended_both_ways(const Connection& c) noexcept;

// For TCP_INFO: all that either side has written has arrived, each FIN with it.
ipc::StreamsNow local_streams(const Connection& c) noexcept;
// In the kernel's numbering (TCP_INFO).
std::uint8_t local_tcp_state(const Connection& c) noexcept;

// Outside the gate, while snpd is away: if the other side's process has ended, so does the
// connection, as the kernel would close its socket.
void look_at_peer(Connection& c, std::uint32_t word) noexcept;

// How many bytes the other side may leave unread before a writer waits: the ring, or what the
// kernel's queues would hold when both users chose their sizes.
std::uint32_t local_limit(const Connection& c) noexcept;

// A writer wants room that is not there. When the reader reads nothing for as long as this, the
// connection goes home: the host's queues are larger, and the two may rely on that. Look again
// after at most kStallPatience.
inline constexpr Duration kStallPatience = milliseconds(500);
void note_stall(Connection& c) noexcept;
// Outside the gate: is it so for a waiter of the connection, which wants to write? Notes it then.
bool is_stalled(Connection& c) noexcept;

// Names a lane of ours, which the other side tells from now on. False: its places are taken.
bool watch_lane(Connection& c, ipc::LaneId id) noexcept;
// Outside the gate. `word`: the mode word under which the lane was named.
void unwatch_lane(Connection& c, std::uint32_t word, ipc::LaneId id, Keep keep) noexcept;

}  // namespace snp::switch_
