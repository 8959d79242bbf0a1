// The arithmetic of a local connection: two parked sockets of this host that are each other's peer,
// and the two streams between them, in shared memory meanwhile (doc/decisions/0005). Pure.
//
// Because both ends are in our hands at the same time, nothing of what is in flight matters: what
// one end had sent and the other has counts as acknowledged, all else as never sent. So both ends
// come home ESTABLISHED, with a FIN to send where one had been sent: the host says it again, and
// half-closed states follow by themselves.
#pragma once

#include <cstdint>

#include "snp/chimney/target.h"

namespace snp::chimney {

// One end. As dump() gives it, or as refill() is to get it.
struct LocalEnd {
  Handoff handoff;
  std::uint32_t receive_room = 0;  // bytes that the host's receive queue takes
};

// Do two parked ends continue each other's sequence numbers? The tuples mirror each other, what was
// negotiated is the same, and the next byte that each expects is one that the other has sent or is
// about to (a FIN counts as in RFC 9293 3.4).
[[nodiscard]] bool are_each_other(const Handoff& a, const Handoff& b) noexcept;

// Pre: are_each_other(). Post: both are ESTABLISHED, unread bytes in the readers' rx_range,
// everything that a reader does not have in the writer's tx_range as never sent, windows that fit.
void settle(LocalEnd& a, LocalEnd& b) noexcept;

// A stream between the ends when neither can move it: the bytes [begin, end) are written and not
// read.
struct LocalStream {
  std::uint64_t begin = 0, end = 0;  // positions
  bool has_ended = false;            // the writer has shut down, closed, or died
  SeqNum first;                      // sequence number of the byte at position `origin`
  std::uint64_t origin = 0;
};

// The streams of a settled pair, their first unread byte at `origin`.
[[nodiscard]] LocalStream stream_between(const Handoff& writer, const Handoff& reader,
                                         std::uint64_t origin) noexcept;

// The way back: ranges and states of both as after settle(). Unread bytes go to the reader as far
// as its queue takes them, the rest to the writer. Rings are the caller's to name.
void take_apart(LocalEnd& a, LocalEnd& b, const LocalStream& from_a,
                const LocalStream& from_b) noexcept;

}  // namespace snp::chimney
