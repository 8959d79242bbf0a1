#include "snp/host/socket_mark.h"

#include <algorithm>
#include <array>

#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "snp/host/socket_calls.h"

namespace snp::host {
namespace {

std::uint64_t past(std::uint64_t value, std::uint64_t base) noexcept {
  return value > base ? value - base : 0;
}

std::uint64_t sent_between(const SocketMark& from, const SocketMark& to) noexcept {
  return past(to.bytes_sent - to.bytes_resent, from.bytes_sent - from.bytes_resent);
}

}  // namespace

SocketMark mark_of(const tcp_info& info) noexcept {
  SocketMark mark;
  mark.segments_in = info.tcpi_segs_in;
  mark.segments_out = info.tcpi_segs_out;
  mark.retransmits = info.tcpi_total_retrans;
  mark.has_fin = info.tcpi_state == kKernelCloseWait || info.tcpi_state == kKernelLastAck ||
                 info.tcpi_state == kKernelClosing || info.tcpi_state == kKernelTimeWait;
  mark.bytes_received = info.tcpi_bytes_received;
  mark.bytes_sent = info.tcpi_bytes_sent;
  mark.bytes_resent = info.tcpi_bytes_retrans;
  mark.tcp = counters_in(info);
  return mark;
}

std::optional<SocketMark> mark_of(int fd) noexcept {
  tcp_info info{};
  if (!read_tcp_info(fd, info)) return std::nullopt;
  return mark_of(info);
}

std::uint32_t drops_of(int fd) noexcept {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  return read_option(fd, SOL_SOCKET, SO_MEMINFO, memory) ? memory[SK_MEMINFO_DROPS] : 0;
}

Carried& Carried::operator+=(const Carried& other) noexcept {
  segments_in += other.segments_in;
  segments_out += other.segments_out;
  retransmits += other.retransmits;
  bytes_in += other.bytes_in;
  bytes_out += other.bytes_out;
  return *this;
}

Carried between(const SocketMark& from, const SocketMark& to) noexcept {
  Carried carried;
  // The kernel's are 32 bits wide and wrap.
  carried.segments_in = to.segments_in - from.segments_in;
  carried.segments_out = to.segments_out - from.segments_out;
  carried.retransmits = to.retransmits - from.retransmits;
  carried.bytes_in =
      past(to.bytes_received - (to.has_fin ? 1 : 0), from.bytes_received - (from.has_fin ? 1 : 0));
  carried.bytes_out = sent_between(from, to);
  if (to.bytes_out && from.bytes_out) {
    carried.bytes_out = past(*to.bytes_out, *from.bytes_out);
  } else if (to.bytes_out && from.segments_in + from.segments_out == 0) {
    // From the handshake on; the SYN of a connection that was opened here is acknowledged, too.
    carried.bytes_out = std::min(carried.bytes_out, *to.bytes_out);
  }
  return carried;
}

std::uint64_t fenced_bytes(const SocketMark& from, const SocketMark& to) noexcept {
  return past(sent_between(from, to), between(from, to).bytes_out);
}

}  // namespace snp::host
