// Host to target: steps 2 to 6 of "park" in the design. Order matters; each step says why.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include <linux/inet_diag.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "snp/host/parking.h"
#include "snp/host/repair.h"
#include "snp/host/socket_calls.h"
#include "snp/host/socket_state.h"

namespace snp::host {
namespace {

constexpr std::uint32_t kKernelInfiniteSsthresh = 0x7fffffff;
constexpr int kDumpAttempts = 4;
// Most that the oldest segment of the send queue can hold below snd_una.
constexpr std::size_t kMostStaleBytes = 65536;

std::uint32_t option_u32(int fd, int level, int name) {
  return static_cast<std::uint32_t>(get_option(fd, level, name).value_or(0));
}

bool option_on(int fd, int level, int name) {
  return get_option(fd, level, name).value_or(0) != 0;
}

// SHUT_RD leaves no other trace than this. A peer's FIN gives the same, see read_state().
bool is_receive_shut(int fd) {
  pollfd state{fd, POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & POLLRDHUP) != 0;
}

HostSocketMemo read_memo(int fd) {
  HostSocketMemo memo;
  memo.reuse_address = option_on(fd, SOL_SOCKET, SO_REUSEADDR) ? 1 : 0;
  memo.keepalive = option_on(fd, SOL_SOCKET, SO_KEEPALIVE) ? 1 : 0;
  memo.window_clamp = option_u32(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
  memo.send_buffer = option_u32(fd, SOL_SOCKET, SO_SNDBUF);
  memo.receive_buffer = option_u32(fd, SOL_SOCKET, SO_RCVBUF);
  memo.buffer_locks = option_u32(fd, SOL_SOCKET, SO_BUF_LOCK);
  memo.rto_min_us = option_u32(fd, IPPROTO_TCP, kTcpRtoMinUs);
  memo.delack_max_us = option_u32(fd, IPPROTO_TCP, kTcpDelackMaxUs);
  memo.drops = drops_of(fd);
  return memo;
}

CachedState read_cached(int fd, bool is_v4, const HostSocketMemo& memo) {
  CachedState cached;
  cached.ttl = static_cast<std::uint8_t>(is_v4 ? option_u32(fd, IPPROTO_IP, IP_TTL)
                                               : option_u32(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
  cached.tos = static_cast<std::uint8_t>(is_v4 ? option_u32(fd, IPPROTO_IP, IP_TOS)
                                               : option_u32(fd, IPPROTO_IPV6, IPV6_TCLASS));
  if ((memo.buffer_locks & SOCK_RCVBUF_LOCK) != 0) cached.receive_buffer = memo.receive_buffer / 2;
  if ((memo.buffer_locks & SOCK_SNDBUF_LOCK) != 0) cached.send_buffer = memo.send_buffer / 2;
  cached.keepalive.enabled = memo.keepalive != 0;
  cached.keepalive.idle_s = option_u32(fd, IPPROTO_TCP, TCP_KEEPIDLE);
  cached.keepalive.interval_s = option_u32(fd, IPPROTO_TCP, TCP_KEEPINTVL);
  cached.keepalive.probes = option_u32(fd, IPPROTO_TCP, TCP_KEEPCNT);
  cached.user_timeout_ms = option_u32(fd, IPPROTO_TCP, TCP_USER_TIMEOUT);
  linger lingering{};
  if (read_option(fd, SOL_SOCKET, SO_LINGER, lingering)) {
    cached.linger_on = lingering.l_onoff != 0;
    cached.linger_s = static_cast<std::uint32_t>(std::max(0, lingering.l_linger));
  }
  cached.no_delay = option_on(fd, IPPROTO_TCP, TCP_NODELAY);
  cached.cork = option_on(fd, IPPROTO_TCP, TCP_CORK);
  // Not TCP_QUICKACK: it tells the kernel's mode of the moment, on for every fresh socket.
  cached.notsent_lowat = option_u32(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT);
  socklen_t length = static_cast<socklen_t>(cached.congestion_control.size());
  ::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cached.congestion_control.data(), &length);
  cached.congestion_control.back() = '\0';
  std::uint64_t rate = ~0ull;  // what the kernel answers for no limit
  if (read_option(fd, SOL_SOCKET, SO_MAX_PACING_RATE, rate) && rate != ~0ull)
    cached.max_pacing_rate = rate;
  return cached;
}

void fill_constant(const tcp_info& info, ConstState& constant) {
  constant.window_scaling = (info.tcpi_options & TCPI_OPT_WSCALE) != 0;
  constant.snd_wind_shift = constant.window_scaling ? info.tcpi_snd_wscale : std::uint8_t{0};
  constant.rcv_wind_shift = constant.window_scaling ? info.tcpi_rcv_wscale : std::uint8_t{0};
  constant.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
  constant.sack = (info.tcpi_options & TCPI_OPT_SACK) != 0;
  constant.ecn = (info.tcpi_options & TCPI_OPT_ECN) != 0;
}

// Segments to bytes; the kernel counts both windows in segments.
std::uint32_t to_bytes(std::uint32_t segments, std::uint32_t mss) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{segments} * mss, 0xffffffff));
}

void fill_congestion(const tcp_info& info, DelegatedState& to) {
  to.srtt_us = info.tcpi_rtt;
  to.rttvar_us = info.tcpi_rtt == 0 ? 0 : info.tcpi_rttvar;
  to.min_rtt_us = info.tcpi_rtt == 0 ? 0 : info.tcpi_min_rtt;
  to.rto_ms = info.tcpi_rto / 1000;
  to.cwnd_bytes = to_bytes(info.tcpi_snd_cwnd, info.tcpi_snd_mss);
  to.ssthresh_bytes = info.tcpi_snd_ssthresh >= kKernelInfiniteSsthresh
                          ? 0xffffffff
                          : to_bytes(info.tcpi_snd_ssthresh, info.tcpi_snd_mss);
  to.retransmits = info.tcpi_retransmits;
  to.reordering_seen = info.tcpi_reord_seen != 0;
  to.silence_ms = std::min(info.tcpi_last_data_recv, info.tcpi_last_ack_recv);
  (to.snd_wnd == 0 ? to.persist_probes : to.keepalive_probes) = info.tcpi_probes;
}

// Of a BBR host: rates are bytes per second, gains in 1/256. In its STARTUP it has seen less than
// there is.
void take_model(const tcp_bbr_info& bbr, PathModel& to) {
  constexpr std::uint32_t kMostProbingGain = 320;  // 5/4
  if (bbr.bbr_pacing_gain > kMostProbingGain) return;
  to.bandwidth = std::uint64_t{bbr.bbr_bw_hi} << 32 | bbr.bbr_bw_lo;
  to.min_rtt_us = bbr.bbr_min_rtt == ~0u ? 0 : bbr.bbr_min_rtt;
}

void take_model(const tcp_dctcp_info& dctcp, PathModel& to) {
  constexpr std::uint32_t kMostAlpha = 1024;
  if (dctcp.dctcp_enabled == 0 || dctcp.dctcp_alpha >= kMostAlpha) return;
  to.marked_share = static_cast<std::uint16_t>(dctcp.dctcp_alpha * 64);
}

// What the answer means is told by the algorithm's name only.
void read_path(int fd, std::string_view congestion_control, PathModel& to) {
  tcp_cc_info info{};
  if (!read_option(fd, IPPROTO_TCP, TCP_CC_INFO, info)) return;
  if (congestion_control == "bbr") take_model(info.bbr, to);
  if (congestion_control == "dctcp") take_model(info.dctcp, to);
}

// What the socket holds, read in repair mode.
struct Dump {
  tcp_info info{};
  SeqNum write_seq;  // after everything written, and after our FIN
  SeqNum rcv_nxt;
  std::uint32_t unread = 0;   // bytes
  std::uint32_t unacked = 0;  // sequence numbers from snd_una on, our FIN among them
  std::uint32_t unsent = 0;   // of those, never sent
  std::uint32_t peer_mss = 0;
  std::uint32_t timestamp = 0;
  tcp_repair_window window{};

  // The kernel is in FIN_WAIT_1 as soon as the application has shut down, sent or not.
  [[nodiscard]] bool has_fin_queued() const { return info.tcpi_state == kKernelFinWait1; }
  [[nodiscard]] bool has_fin_sent() const { return has_fin_queued() && unsent == 0; }
  [[nodiscard]] std::uint32_t bytes_to_send() const { return unacked - (has_fin_queued() ? 1 : 0); }
};

bool read_dump(int fd, Dump& dump) {
  const auto unread = ioctl_count(fd, SIOCINQ);
  const auto unacked = ioctl_count(fd, SIOCOUTQ);
  const auto unsent = ioctl_count(fd, SIOCOUTQNSD);
  const auto peer_mss = get_option(fd, IPPROTO_TCP, TCP_MAXSEG);  // in repair mode the peer's
  const auto timestamp = get_option(fd, IPPROTO_TCP, TCP_TIMESTAMP);
  if (!unread || !unacked || !unsent || !peer_mss || !timestamp) return false;
  if (!read_option(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, dump.window)) return false;
  dump.unread = *unread;
  dump.unacked = *unacked;
  dump.unsent = *unsent;
  dump.peer_mss = static_cast<std::uint32_t>(*peer_mss);
  dump.timestamp = static_cast<std::uint32_t>(*timestamp);
  return true;
}

enum class Copied { kWhole, kMoved, kFailed };

std::array<iovec, 2> to_iovec(const StreamRing& ring, const StreamRange& range) {
  const auto [a, b] = ring.pieces(range.begin, static_cast<std::uint32_t>(range.length()));
  return {{{a.data(), a.size()}, {b.data(), b.size()}}};
}

Copied copy_receive_queue(int fd, const StreamRing& ring, const StreamRange& range) {
  if (range.length() == 0) return Copied::kWhole;
  auto pieces = to_iovec(ring, range);
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  const ssize_t got = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) return Copied::kFailed;
  return static_cast<std::uint64_t>(got) == range.length() ? Copied::kWhole : Copied::kMoved;
}

// A peek at the send queue gives whole segments, so the oldest may begin below snd_una: read once
// with room to spare, and when there was more, once more with the surplus put aside in front.
Copied copy_send_queue(int fd, const StreamRing& ring, const StreamRange& range) {
  if (range.length() == 0) return Copied::kWhole;
  const auto pieces = to_iovec(ring, range);
  const auto aside = std::make_unique_for_overwrite<std::byte[]>(kMostStaleBytes);
  std::array<iovec, 3> parts{pieces[0], pieces[1], iovec{aside.get(), kMostStaleBytes}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const ssize_t got = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) return Copied::kFailed;
  const auto length = static_cast<std::uint64_t>(got);
  if (length < range.length()) return Copied::kMoved;
  if (length == range.length()) return Copied::kWhole;
  parts = {iovec{aside.get(), length - range.length()}, pieces[0], pieces[1]};
  const ssize_t again = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
  if (again < 0) return Copied::kFailed;
  return again == got ? Copied::kWhole : Copied::kMoved;
}

struct Rings {
  const StreamRing& rx;
  std::uint64_t rx_begin;
  const StreamRing& tx;
  std::uint64_t tx_end;
};

// Sizes, sequence numbers and bytes of both queues that belong together. A segment that had passed
// the filter before it was there may still be processed meanwhile; then it is done again.
Result<Dump> dump_queues(int fd, const Rings& rings, StreamRange& rx_range, StreamRange& tx_range) {
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    Dump dump;
    // With the send queue selected a timer of the socket (TSQ, pacing) lets pass for sent what
    // never leaves: that of an attempt before must not be.
    if (!select_queue(fd, RepairQueue::kNone) || !read_tcp_info(fd, dump.info) ||
        !read_dump(fd, dump))
      return fail_errno("park, dump");
    if (dump.unread > rings.rx.size || dump.bytes_to_send() > rings.tx.size)
      return fail(Errc::kFull, "park: the socket's queues hold more than the rings");
    rx_range = {rings.rx_begin, rings.rx_begin + dump.unread};
    tx_range = {rings.tx_end - dump.bytes_to_send(), rings.tx_end};

    if (!select_queue(fd, RepairQueue::kReceive)) return fail_errno("park, receive queue");
    const auto rcv_nxt = queue_seq(fd);
    const Copied received = copy_receive_queue(fd, rings.rx, rx_range);
    if (!rcv_nxt || received == Copied::kFailed) return fail_errno("park, receive queue");
    if (!select_queue(fd, RepairQueue::kSend)) return fail_errno("park, send queue");
    const auto write_seq = queue_seq(fd);
    const Copied sent = copy_send_queue(fd, rings.tx, tx_range);
    if (!write_seq || sent == Copied::kFailed) return fail_errno("park, send queue");

    tcp_info after{};
    if (!read_tcp_info(fd, after)) return fail_errno("park, TCP_INFO");
    const bool is_still = after.tcpi_bytes_acked == dump.info.tcpi_bytes_acked &&
                          after.tcpi_bytes_received == dump.info.tcpi_bytes_received &&
                          after.tcpi_bytes_sent == dump.info.tcpi_bytes_sent &&
                          after.tcpi_state == dump.info.tcpi_state;
    if (is_still && received == Copied::kWhole && sent == Copied::kWhole) {
      dump.rcv_nxt = SeqNum(*rcv_nxt);
      dump.write_seq = SeqNum(*write_seq);
      return dump;
    }
  }
  return fail(Errc::kBusy, "park: the socket's queues did not stay as they were");
}

DelegatedState to_delegated(const Dump& dump) {
  DelegatedState to;
  const bool half_closed = dump.has_fin_sent();
  switch (dump.info.tcpi_state) {
    case kKernelFinWait2:
      to.state = TcpState::kFinWait2;
      break;
    case kKernelCloseWait:
      to.state = TcpState::kCloseWait;
      break;
    default:
      to.state = half_closed ? TcpState::kFinWait1 : TcpState::kEstablished;
  }
  to.fin_pending = dump.has_fin_queued() && !half_closed;
  to.snd_una = dump.write_seq - dump.unacked;
  to.snd_nxt = to.snd_max = dump.write_seq - dump.unsent;
  to.rcv_nxt = dump.rcv_nxt;
  to.snd_wnd = dump.window.snd_wnd;
  to.snd_wl1 = SeqNum(dump.window.snd_wl1);
  to.snd_wl2 = to.snd_una;
  to.max_snd_wnd = dump.window.max_window;
  to.rcv_wnd = dump.window.rcv_wnd;
  to.rcv_wup = SeqNum(dump.window.rcv_wup);
  // The dump clears the low bit (it names the unit); never behind what was sent.
  to.ts_val = dump.timestamp | 1;
  fill_congestion(dump.info, to);
  return to;
}

// A host that paces stamps a segment with the time at which it may leave (Linux, tcp_wstamp_ns): up
// to one burst ahead of the clock that it tells. Going on behind that would be PAWS's to drop.
std::uint32_t stamps_ahead_ms(const tcp_info& info, const CachedState& cached) {
  constexpr std::uint64_t kMostAtOnce = 65536;
  constexpr std::uint64_t kMostAhead = 1000;
  const bool is_pacing = std::string_view(cached.congestion_control.data()).starts_with("bbr") ||
                         cached.max_pacing_rate != 0;
  if (!is_pacing || info.tcpi_pacing_rate == 0) return 0;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(kMostAtOnce * 1000 / info.tcpi_pacing_rate + 1, kMostAhead));
}

Result<FourTuple> read_tuple(int fd) {
  const auto local = local_address(fd);
  const auto remote = remote_address(fd);
  if (!local || !remote) return fail_errno("park, the socket's addresses");
  const auto local_end = to_endpoint(*local);
  const auto remote_end = to_endpoint(*remote);
  if (!local_end || !remote_end) return fail(Errc::kInvalid, "park: the socket is not IP");
  return FourTuple{*local_end, *remote_end};
}

// After everything written, our FIN among it.
SeqNum write_end(const Parked& parked) {
  const DelegatedState& d = parked.state.delegated;
  const bool fin_queued = d.fin_pending || d.state == TcpState::kFinWait1;
  return d.snd_una + static_cast<std::uint32_t>(parked.tx_range.length()) + (fin_queued ? 1 : 0);
}

}  // namespace

Result<HostSocketMemo> silence(int fd, ParkJournal* journal) {
  HostSocketMemo memo = read_memo(fd);
  memo.shutdown_read = is_receive_shut(fd) ? 1 : 0;
  if (journal != nullptr) journal->before_silencing(memo);
  if (auto silent = silence(fd); !silent) {
    if (memo.keepalive != 0) set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    return Failure(silent.error());
  }
  return memo;
}

Result<Parked> dump(int fd, const HostSocketMemo& memo, const StreamRing& rx,
                    std::uint64_t rx_begin, const StreamRing& tx, std::uint64_t tx_end) {
  Parked parked;
  const auto tuple = read_tuple(fd);
  if (!tuple) return Failure(tuple.error());
  parked.state.constant.tuple = *tuple;
  parked.memo = memo;
  const auto dump = dump_queues(fd, {rx, rx_begin, tx, tx_end}, parked.rx_range, parked.tx_range);
  if (!dump) return Failure(dump.error());
  if (!is_movable(dump->info))
    return fail(Errc::kBusy, "park: the connection's state changed and cannot move now");
  if (has_segments_out_of_order(fd, dump->info, dump->unread))
    return fail(Errc::kBusy, "park: segments wait out of order");
  fill_constant(dump->info, parked.state.constant);
  parked.state.constant.remote_mss =
      static_cast<std::uint16_t>(std::min<std::uint32_t>(dump->peer_mss, 65535));
  parked.state.cached = read_cached(fd, tuple->local.address.is_v4(), memo);
  parked.state.cached.path_mtu =
      static_cast<std::uint16_t>(std::min<std::uint32_t>(dump->info.tcpi_pmtu, 65535));
  parked.state.delegated = to_delegated(*dump);
  parked.state.delegated.ts_val += stamps_ahead_ms(dump->info, parked.state.cached);
  read_path(fd, parked.state.cached.congestion_control.data(), parked.state.path);
  if (dump->info.tcpi_state == kKernelCloseWait) parked.memo.shutdown_read = 0;  // it was the FIN
  // Bytes as they were dumped. Segments as late as can be: what was due leaves in repair mode, too,
  // and the fence counts it.
  parked.mark = mark_of(dump->info);
  if (dump->info.tcpi_state == kKernelEstablished || dump->info.tcpi_state == kKernelCloseWait)
    parked.mark.bytes_out = dump->info.tcpi_bytes_acked + dump->unacked - dump->unsent;
  if (const auto late = mark_of(fd)) parked.mark.segments_out = late->segments_out;
  return parked;
}

Result<> empty(int fd, const Parked& parked) {
  return rebuild(fd, parked.state.constant, write_end(parked), parked.state.delegated.rcv_nxt);
}

Result<Parked> park(int fd, const StreamRing& rx, std::uint64_t rx_begin, const StreamRing& tx,
                    std::uint64_t tx_end, ParkJournal* journal) {
  const auto memo = silence(fd, journal);
  if (!memo) return Failure(memo.error());
  auto parked = dump(fd, *memo, rx, rx_begin, tx, tx_end);
  if (!parked) {
    if (auto woken = wake(fd, *memo, {.keepalive = memo->keepalive != 0}); !woken)
      return with_context(parked.error().message, woken.error());
    return parked;
  }
  if (journal != nullptr) journal->before_emptying(*parked);
  if (auto emptied = empty(fd, *parked); !emptied) {
    const auto back =
        unpark(fd, parked->state, parked->memo, rx, parked->rx_range, tx, parked->tx_range);
    if (!back)
      return with_context("the connection is lost, " + emptied.error().message, back.error());
    return Failure(emptied.error());
  }
  return parked;
}

Result<> release(int fd, const HostSocketMemo& memo) {
  // Only a socket in repair mode can be led out of it.
  if (auto silent = silence(fd); !silent) return silent;
  return wake(fd, memo, {.keepalive = memo.keepalive != 0});
}

}  // namespace snp::host
