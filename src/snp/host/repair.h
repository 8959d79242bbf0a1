// Steps that park() and unpark() share: to make a socket silent, to empty it and build it again at
// given sequence numbers, to wake it. Each says in `step` what failed.
#pragma once

#include <cstdint>

#include "snp/base/result.h"
#include "snp/state/connection_state.h"
#include "snp/state/host_socket.h"

namespace snp::host {

// Keepalive off, a filter that drops everything, repair mode on, in this order: with keepalive on,
// a parked socket probes and then resets the connection.
Result<> silence(int fd);

// In repair mode this sends nothing and drops both queues.
bool disconnect(int fd);

// Undoes silence(): out of repair mode, filter off, and what repair mode lost (SO_REUSEADDR).
struct Waking {
  bool keepalive = false;
  bool asks_peer = false;  // a window probe goes out: the peer answers with what it has
};
Result<> wake(int fd, const HostSocketMemo& memo, const Waking& how);

// Empties the socket and makes it ESTABLISHED again, both queues empty, the next byte to send at
// `snd_seq`, the next to receive at `rcv_seq`, with the options of the handshake. Silent. Pre:
// silence(). May be called whatever is left of an earlier attempt. Leaves queue none selected.
Result<> rebuild(int fd, const ConstState& constant, SeqNum snd_seq, SeqNum rcv_seq);

}  // namespace snp::host
