// The state of one connection in the original's three classes (reference 4.2, 4.3): what moves at a
// hand-over, what the flow record keeps, what TCP starts from. Plain data, fixed size, no pointers.
// The bytes of the two queues are not here: they stand in the rings (ipc/arena.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "snp/wire/address.h"
#include "snp/wire/seq_num.h"

namespace snp {

// RFC 9293 3.3.2. The engine begins at ESTABLISHED; earlier states never move.
enum class TcpState : std::uint8_t {
  kEstablished,
  kFinWait1,
  kFinWait2,
  kCloseWait,
  kClosing,
  kLastAck,
  kTimeWait,
  kClosed,
};

const char* to_string(TcpState) noexcept;

// Agreed in the handshake; nobody changes it.
struct ConstState {
  FourTuple tuple;
  std::uint32_t ifindex = 0;  // device that the route to the peer leaves by
  std::uint16_t remote_mss =
      536;  // largest payload the peer takes, before options (RFC 9293 3.7.1)
  std::uint8_t snd_wind_shift = 0;  // RFC 7323 2: shift of the peer's window field
  std::uint8_t rcv_wind_shift = 0;  // shift of ours
  bool timestamps = false;
  bool sack = false;
  bool window_scaling = false;
  bool ecn = false;
};

struct Keepalive {
  bool enabled = false;
  std::uint32_t idle_s = 7200;
  std::uint32_t interval_s = 75;
  std::uint32_t probes = 9;
};

// The host's; the engine follows updates.
struct CachedState {
  std::array<std::uint8_t, 6> local_mac{};
  std::array<std::uint8_t, 6> next_hop_mac{};
  std::uint16_t path_mtu = 1500;  // bytes of IP
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint32_t flow_label = 0;  // IPv6, 20 bits
  Keepalive keepalive;
  std::uint32_t user_timeout_ms = 0;  // TCP_USER_TIMEOUT, 0: the system's
  std::uint32_t linger_s = 0;
  bool linger_on = false;
  bool no_delay = false;                      // TCP_NODELAY
  bool cork = false;                          // TCP_CORK
  bool quick_ack = false;                     // TCP_QUICKACK
  std::uint32_t notsent_lowat = 0;            // TCP_NOTSENT_LOWAT, 0: none
  std::uint32_t receive_buffer = 0;           // SO_RCVBUF in bytes of data, 0: tuned
  std::uint32_t send_buffer = 0;              // SO_SNDBUF
  std::uint64_t max_pacing_rate = 0;          // SO_MAX_PACING_RATE, bytes per second; 0: none
  std::array<char, 16> congestion_control{};  // TCP_CONGESTION of the host, nul-terminated
};

// What a congestion control knows of the path beside the window. It is found by sending too fast,
// so it moves along: found anew after each hand-over it would cost that again.
struct PathModel {
  static constexpr std::uint16_t kAllMarked = 0xffff;

  // draft-ietf-ccwg-bbr-06, section 2.
  std::uint64_t bandwidth = 0;                   // bytes per second; 0: nothing is known
  std::uint32_t inflight_longterm = 0xffffffff;  // bytes; more was too much. All ones: no limit
  std::uint32_t min_rtt_us = 0;                  // 0: not measured
  // Both ages, as everything here that ends by itself, saturate.
  std::uint16_t min_rtt_age_ms = 0;    // since that was measured
  std::uint16_t probe_rtt_age_ms = 0;  // since it was last probed for, or seen again
  std::uint16_t probe_bw_wait_ms = 0;  // until more bandwidth is probed for
  // RFC 8257 3.3, DCTCP.Alpha: the share of bytes that were marked, in 1/kAllMarked.
  std::uint16_t marked_share = kAllMarked;  // all, which is where it begins: nothing is known

  [[nodiscard]] constexpr bool is_known() const noexcept {
    return bandwidth != 0 || marked_share != kAllMarked;
  }

  // It was `ms` ago.
  constexpr void age(std::uint64_t ms) noexcept {
    const auto older = [ms](std::uint16_t by) {
      return static_cast<std::uint16_t>(std::min<std::uint64_t>(by + ms, 0xffff));
    };
    min_rtt_age_ms = older(min_rtt_age_ms);
    probe_rtt_age_ms = older(probe_rtt_age_ms);
    probe_bw_wait_ms -= static_cast<std::uint16_t>(std::min<std::uint64_t>(probe_bw_wait_ms, ms));
  }
};

// The search for what a path carries whose ICMP never comes (RFC 4821, 8899). Bytes of payload.
struct MtuSearch {
  std::uint16_t mss_limit = 0;  // has got through, or is to be tried; 0: there is no search
  std::uint16_t mss_high = 0;   // has not, or nobody has tried
  std::uint16_t probe = 0;      // is out, up to probe_end; 0: none is
  SeqNum probe_end{};
  bool tries_high = false;                // the next probe has all of it
  std::uint8_t probes_lost = 0;           // of the present size
  std::int32_t next_probe_delta_ms = -1;  // from the hand-over; -1: once something gets through

  // It was `ms` ago.
  constexpr void age(std::uint32_t ms) noexcept {
    if (next_probe_delta_ms > 0)
      next_probe_delta_ms = static_cast<std::int32_t>(
          std::max<std::int64_t>(std::int64_t{next_probe_delta_ms} - ms, 0));
  }
};

// The target's while the connection is offloaded; comes back at upload.
struct DelegatedState {
  TcpState state = TcpState::kEstablished;
  // Send sequence space (RFC 9293 3.3.1). snd_max: highest sent. A FIN we sent counts in snd_max.
  SeqNum snd_una;
  SeqNum snd_nxt;
  SeqNum snd_max;
  std::uint32_t snd_wnd = 0;  // bytes, scaled
  SeqNum snd_wl1;
  SeqNum snd_wl2;
  std::uint32_t max_snd_wnd = 0;
  // Receive sequence space. A FIN we received counts in rcv_nxt.
  SeqNum rcv_nxt;
  std::uint32_t rcv_wnd = 0;  // bytes, what we last advertised beyond rcv_wup
  SeqNum rcv_wup;             // rcv_nxt when rcv_wnd was advertised; before rcv_nxt: an ACK is owed
  // Timestamps (RFC 7323, reference 4.9): what we send is ts_offset + clock in ms.
  std::uint32_t ts_val = 0;     // our clock's value at the moment of the hand-over, in ms ticks
  std::uint32_t ts_recent = 0;  // 0: not known (the host cannot be asked): echo 0, no PAWS yet
  std::uint32_t ts_recent_age_ms = 0;
  // Round trip and congestion (RFC 6298, 5681).
  std::uint32_t srtt_us = 0;  // 0: not measured
  std::uint32_t rttvar_us = 0;
  std::uint32_t min_rtt_us = 0;  // least of late; 0: not measured
  std::uint32_t rto_ms = 0;
  std::uint32_t cwnd_bytes = 0;  // 0: initial window
  std::uint32_t ssthresh_bytes = 0xffffffff;
  std::uint8_t retransmits = 0;  // of the segment at snd_una
  std::uint8_t keepalive_probes = 0;
  std::uint8_t persist_probes = 0;   // unanswered
  std::uint8_t persist_backoff = 0;  // doublings of the persist timer: an answer does not end them
  // Timers, in ms from the hand-over (reference 4.3): -1 not running, 0 expires at once.
  std::int32_t retransmit_delta_ms = -1;  // retransmission or persist
  std::int32_t keepalive_delta_ms = -1;
  std::int32_t end_delta_ms = -1;  // FIN_WAIT_2 after close, TIME_WAIT
  // In us: when what has left is paid for, at the pace that is kept; before the hand-over: credit.
  std::int32_t pacing_delta_us = std::numeric_limits<std::int32_t>::min();
  // How long ago, in ms, rounded up: what counts from there is not put off (reference 4.3,
  // TotalRT).
  std::uint32_t silence_ms = 0;  // since a segment came
  std::uint32_t stall_ms = 0;    // since snd_una moved, or sending began
  bool loss_probe_sent = false;  // RFC 8985 7: one for what is outstanding, then the timeout
  bool reordering_seen = false;  // RFC 8985 6.2: the path does not keep the order; once, for good
  bool ecn_echo_due = false;     // RFC 3168 6.1.3: our ACKs carry ECE until CWR comes
  bool cwr_due = false;          // RFC 3168 6.1.2: our next new segment carries CWR
  bool peer_doubted = false;     // it is probed although keepalive is off (reference 4.11)
  bool fin_pending = false;      // the application has shut down writing; its FIN is not sent yet
};

// The kernel's number of a state, as TCP_INFO tells it (tcp_states.h).
constexpr std::uint8_t linux_number(TcpState state) noexcept {
  constexpr std::array<std::uint8_t, 8> kNumbers{1, 4, 5, 8, 11, 9, 6, 7};
  return kNumbers[static_cast<std::size_t>(state)];
}

struct ConnectionState {
  ConstState constant;
  CachedState cached;
  DelegatedState delegated;
  // What was found out about the path.
  PathModel path{};
  MtuSearch mtu_search{};
};

static_assert(std::is_trivially_copyable_v<ConnectionState>);

constexpr bool has_sent_fin(TcpState state) noexcept {
  return state != TcpState::kEstablished && state != TcpState::kCloseWait;
}

constexpr bool has_received_fin(TcpState state) noexcept {
  return state == TcpState::kCloseWait || state == TcpState::kClosing ||
         state == TcpState::kLastAck || state == TcpState::kTimeWait;
}

}  // namespace snp
