// What park() changed on the kernel socket and unpark() puts back. Plain data, kept in the flow
// record.
#pragma once

#include <cstdint>
#include <type_traits>

namespace snp {

struct HostSocketMemo {
  std::uint8_t reuse_address = 0;  // SO_REUSEADDR, lost by repair
  std::uint8_t keepalive = 0;      // SO_KEEPALIVE, switched off while parked
  std::uint8_t shutdown_read = 0;  // shutdown(SHUT_RD) was in force
  std::uint8_t ts_microseconds =
      0;                       // the socket used microsecond timestamps (low bit of TCP_TIMESTAMP)
  std::uint32_t user_mss = 0;  // TCP_MAXSEG set by the user; 0: none
  std::uint32_t window_clamp = 0;  // TCP_WINDOW_CLAMP
  std::uint32_t send_buffer = 0;   // SO_SNDBUF as read, for a locked size
  std::uint32_t receive_buffer = 0;
  std::uint32_t buffer_locks = 0;   // SO_BUF_LOCK
  std::uint32_t rto_min_us = 0;     // TCP_RTO_MIN_US, lost by the disconnect; 0: older kernel
  std::uint32_t delack_max_us = 0;  // TCP_DELACK_MAX_US, the same
  std::uint32_t drops = 0;          // SK_MEMINFO_DROPS before the filter was there
};

static_assert(std::is_trivially_copyable_v<HostSocketMemo>);

}  // namespace snp
