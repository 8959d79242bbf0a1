// Where the connections of this process come from (OriginRow in ipc/arena.h): numbered once a
// process, described in the arena of whichever session needs it. Any thread.
#pragma once

#include <sys/socket.h>

#include "snp/ipc/arena.h"
#include "snp/switch/session.h"

namespace snp::switch_ {

// Of a connection that was accepted from this listener, or that goes to this address; 0 when all
// rows are taken. The row stays as it is until leave_origin().
ipc::OriginId join_listener_origin(Session& session, int listener) noexcept;
ipc::OriginId join_outgoing_origin(Session& session, const sockaddr* address,
                                   socklen_t length) noexcept;
void leave_origin(ipc::OriginId id) noexcept;

// Whether snpd wants to be asked at once for a connection of this origin: because earlier ones were
// worth it, or because it has not said anything yet (then this caller is the one who asks).
bool is_eager_origin(Session& session, ipc::OriginId id) noexcept;

// In a forked child: the parent's connections are none of ours.
void forget_origins() noexcept;

}  // namespace snp::switch_
