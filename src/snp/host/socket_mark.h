// Where the kernel's counters of one socket stand (TCP_INFO, which a disconnect sets to zero). The
// difference of two marks is what the host has carried in between.
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>

#include "snp/state/tcp_counters.h"

struct tcp_info;  // <linux/tcp.h>, which does not go with <netinet/tcp.h>

namespace snp::host {

struct SocketMark {
  std::uint32_t segments_in = 0, segments_out = 0, retransmits = 0;
  bool has_fin = false;  // the peer's, which bytes_received counts as one
  std::uint64_t bytes_received = 0, bytes_sent = 0, bytes_resent = 0;
  // Bytes acknowledged and in flight, where a dump or a refill knows the sequence numbers. What the
  // egress fence drops in the moment before a park the kernel counts as sent, does not hold for
  // sent, and sends as new another time.
  std::optional<std::uint64_t> bytes_out;
  // All that TCP_INFO counts. Where a stay begins: what is going to be counted and is nothing new
  // (a byte that the peer has, a forged segment) is in it already.
  TcpCounters tcp;
};
static_assert(std::is_trivially_copyable_v<SocketMark>);

SocketMark mark_of(const tcp_info& info) noexcept;
std::optional<SocketMark> mark_of(int fd) noexcept;  // nothing: it is no TCP socket

// Segments that the socket has dropped: all that its filter refused among them (SK_MEMINFO_DROPS).
std::uint32_t drops_of(int fd) noexcept;

// What was carried between two marks of the same connection. Bytes: in order, and each once.
struct Carried {
  std::uint64_t segments_in = 0, segments_out = 0, retransmits = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;

  Carried& operator+=(const Carried& other) noexcept;
};
Carried between(const SocketMark& from, const SocketMark& to) noexcept;
// Bytes that the kernel counted as sent in between and the egress fence dropped.
std::uint64_t fenced_bytes(const SocketMark& from, const SocketMark& to) noexcept;

}  // namespace snp::host
