// The segment that tells a refilled socket once more what the peer had already said.
#include <algorithm>

#include <linux/tcp.h>
#include <netinet/in.h>

#include "snp/base/assert.h"
#include "snp/host/parking.h"
#include "snp/host/socket_calls.h"
#include "snp/wire/header_template.h"

namespace snp::host {
namespace {

// The kernel times what was refilled by the age of the echo alone (RFC 7323 4.1), so that is the
// round trip. Rounded down: the clock goes on until the segment is there.
std::uint32_t echo_of(const ConnectionState& state, int fd) noexcept {
  const auto clock = get_option(fd, IPPROTO_TCP, TCP_TIMESTAMP);
  const std::uint32_t now = clock ? static_cast<std::uint32_t>(*clock) : state.delegated.ts_val;
  return now - state.delegated.srtt_us / 1000;
}

}  // namespace

std::size_t make_forged_segment(const ConnectionState& state, int fd, std::span<std::byte> out) {
  SNP_ASSERT(out.size() >= HeaderTemplate::kMaxBytes);
  const DelegatedState& d = state.delegated;
  HeaderFields fields;
  fields.source_mac = state.cached.next_hop_mac;
  fields.destination_mac = state.cached.local_mac;
  fields.tuple = mirrored(state.constant.tuple);

  SegmentFields segment;
  const bool fin = has_received_fin(d.state);
  const bool is_dead = d.state == TcpState::kClosed;
  segment.flags = static_cast<std::uint8_t>(TcpFlags::kAck | (fin ? TcpFlags::kFin : 0) |
                                            (is_dead ? TcpFlags::kRst : 0));
  segment.seq = fin ? d.rcv_nxt - 1 : d.rcv_nxt;
  // FIN_WAIT_2, TIME_WAIT: all that we sent, our FIN with it. Else what the peer has long
  // acknowledged.
  segment.ack = d.snd_una;
  segment.wnd = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(d.snd_wnd >> state.constant.snd_wind_shift, 65535));

  TcpOptions options;
  if (state.constant.timestamps) {
    options.has_timestamps = true;
    options.ts_val = d.ts_recent;  // the same again passes PAWS (RFC 7323 5.3)
    options.ts_ecr = echo_of(state, fd);
  }
  const HeaderTemplate headers(fields);
  const std::size_t length = headers.write(segment, options, out.data());
  finish_tcp_checksum(out.first(length), headers.l4_offset(), {});
  return length;
}

}  // namespace snp::host
