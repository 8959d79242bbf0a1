// One TCP connection from ESTABLISHED on: time and segments in, segments and events out. No system
// call, clock, thread, lock or allocation here; its data stands in rings lent by the owner.
// Read first: RFC 9293 3.3.1 (names), 3.10.7.4 (arrival), RFC 5681, 6298, 2018, 7323, 5961.
//
// Contract. Shard-local. Time never goes backwards. After any input drain poll_segment() until it
// is empty, then take_events(), then read next_timeout(). Extra on_timeout() calls are harmless.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "snp/base/time.h"
#include "snp/state/connection_state.h"
#include "snp/state/stream_ring.h"
#include "snp/wire/segment.h"

namespace snp::tcp {

// Where the two streams stand. tx_range: [position of snd_una, end of what the application wrote).
// rx_range: [what the application has consumed, position of rcv_nxt). A FIN occupies no position.
struct Streams {
  StreamRing tx;
  StreamRange tx_range;
  StreamRing rx;
  StreamRange rx_range;
};

// A segment to send. The payload is [payload_pos, +payload_len) of the transmit ring; when it is
// longer than gso_size, the device cuts it (or the shard does where the device cannot).
struct SegmentPlan {
  SeqNum seq;
  SeqNum ack;
  std::uint16_t wnd = 0;
  std::uint8_t flags = 0;
  bool is_ect = false;  // set ECT(0) in the IP header (RFC 3168 6.1.2)
  bool is_retransmission = false;
  TcpOptions options;
  std::uint64_t payload_pos = 0;
  std::uint32_t payload_len = 0;
  std::uint32_t gso_size =
      0;  // payload bytes of each packet on the wire; >= payload_len: one packet
};

// What happened since the last take_events().
enum Event : std::uint32_t {
  kReadable = 1u << 0,      // rcv_nxt advanced over payload
  kWritable = 1u << 1,      // snd_una advanced: room in the transmit ring
  kPeerClosed = 1u << 2,    // FIN received, all before it is readable
  kReset = 1u << 3,         // the peer reset the connection: ECONNRESET
  kTimedOut = 1u << 4,      // retransmission or keepalive gave up: ETIMEDOUT
  kClosed = 1u << 5,        // state is CLOSED (LAST_ACK acknowledged, TIME_WAIT over, aborted)
  kStateChanged = 1u << 6,  // any change of TcpState
  kUrgent = 1u << 7,  // an URG segment came; not accepted, not acknowledged: upload (reference 4.4)
};

struct Limits {
  std::uint32_t max_segment_payload =
      1448;                          // most one SegmentPlan may carry; above the MSS with TSO
  Duration time_wait = seconds(60);  // as Linux's TCP_TIMEWAIT_LEN; RFC 9293 wants 2 MSL
  Duration max_ack_delay = milliseconds(40);
};

// Everything getsockopt(TCP_INFO) and `snp connections` show.
struct Info {
  TcpState state = TcpState::kEstablished;
  std::uint32_t srtt_us = 0, rttvar_us = 0, rto_us = 0;
  std::uint32_t snd_mss = 0, rcv_mss = 0;
  std::uint32_t cwnd_bytes = 0, ssthresh_bytes = 0, snd_wnd = 0, rcv_wnd = 0;
  std::uint32_t unacked_bytes = 0, retransmits = 0, total_retransmits = 0;
  std::uint64_t bytes_acked = 0, bytes_received = 0, segments_in = 0, segments_out = 0;
};

class Connection {
 public:
  // Starts from the state that the host (or an earlier engine) left. Pre: streams fit the state:
  // tx_range holds snd_una..snd_max and what follows; rx_range ends at rcv_nxt.
  Connection(const ConnectionState& state, const Streams& streams, const Limits& limits,
             Instant now) noexcept;

  // Inputs from the network and the clock. Returns false when the segment was not acceptable (a
  // duplicate, out of window, failed PAWS): counted by the owner, answered as the RFC says.
  bool on_segment(const Segment& segment, Instant now) noexcept;
  void on_timeout(Instant now) noexcept;

  // Inputs from the application.
  void on_written(std::uint32_t bytes, Instant now) noexcept;   // appended to the transmit ring
  void on_consumed(std::uint32_t bytes, Instant now) noexcept;  // taken from the receive ring
  void shutdown_write(Instant now) noexcept;                    // FIN after what was written
  // The application closed both directions: data that still arrives is answered with a reset
  // (RFC 9293 3.6.1), and FIN_WAIT_2 is bounded as Linux bounds it.
  void close(Instant now) noexcept;
  void abort(Instant now) noexcept;  // RST now, state CLOSED

  // Input from the host: options, path MTU. Takes effect with the next segment.
  void update(const CachedState& cached, Instant now) noexcept;

  // Outputs, in the order of the contract.
  std::optional<SegmentPlan> poll_segment(Instant now) noexcept;
  std::uint32_t take_events() noexcept;
  [[nodiscard]] Instant next_timeout() const noexcept;  // kNever: none

  // Hand-over. Sends nothing more after freeze(), except the ACK it owes, which poll_segment()
  // gives.
  void freeze(Instant now) noexcept;
  [[nodiscard]] ConnectionState export_state(Instant now) const noexcept;

  // Questions.
  [[nodiscard]] TcpState state() const noexcept;
  [[nodiscard]] const Streams& streams() const noexcept;  // ranges as they are now
  [[nodiscard]] Info info() const noexcept;
};

}  // namespace snp::tcp
