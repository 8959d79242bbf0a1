// Questions about a connected socket that survey() and park() both ask.
#pragma once

#include <cstdint>

#include "snp/host/socket_calls.h"

namespace snp::host {

// ESTABLISHED and half-closed; the rest is handshake or nearly over, which the host finishes
// itself.
bool is_movable(const tcp_info& info) noexcept;

// Whether segments wait behind a hole. Emptying the socket drops them, and the peer, which has been
// told that they are here, sends them again only after a timeout.
bool has_segments_out_of_order(int fd, const tcp_info& info, std::uint32_t unread_bytes) noexcept;

}  // namespace snp::host
