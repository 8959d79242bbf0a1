// One call that receives or sends on a tracked connection: routed to the kernel or the rings, with
// the waiting, the flags and the errors of the kernel's own. Results: bytes or a negative errno.
#pragma once

#include <span>

#include <sys/socket.h>
#include <sys/uio.h>

#include "snp/switch/connection.h"

namespace snp::switch_ {

// `message`: the caller's own, of which ancillary data and flags are used; may be nullptr.
long receive(Connection& c, int fd, std::span<const iovec> pieces, int flags,
             msghdr* message) noexcept;
long send(Connection& c, int fd, std::span<const iovec> pieces, int flags,
          const msghdr* message) noexcept;
// One buffer, as most calls have.
long receive(Connection& c, int fd, void* buffer, std::size_t length, int flags) noexcept;
long send(Connection& c, int fd, const void* buffer, std::size_t length, int flags) noexcept;
long send_file(Connection& c, int fd, int file, long long* offset, std::size_t count) noexcept;

// SO_RCVTIMEO and SO_SNDTIMEO are asked from the kernel once; setsockopt calls this with `known`
// false.
void load_timeouts(Connection& c, int fd) noexcept;
// Some socket that is no tracked connection yet may have one: until then none is asked.
void expect_timeouts() noexcept;

}  // namespace snp::switch_
