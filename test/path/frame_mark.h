// The little that the relay must know of a frame: whether it is IP, whether it may be marked, and
// the mark itself (RFC 3168 5). Frames are Ethernet without VLAN tags, of any length.
#pragma once

#include <cstddef>
#include <span>

namespace snp::path {

bool is_ip(std::span<const std::byte> frame);
// ICMPv6 133 to 137: without it nothing moves, so the relay leaves it alone, as it does ARP.
bool is_neighbour_discovery(std::span<const std::byte> frame);
bool is_ecn_capable(std::span<const std::byte> frame);  // ECT(0) or ECT(1)
// Sets CE, and mends the checksum of an IPv4 header. Pre: is_ecn_capable.
void set_congestion_experienced(std::span<std::byte> frame);

}  // namespace snp::path
