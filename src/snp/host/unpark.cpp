// Target to host: the same object is emptied, built again at the engine's sequence numbers and
// refilled.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "snp/host/footprint.h"
#include "snp/host/parking.h"
#include "snp/host/repair.h"
#include "snp/host/socket_calls.h"

namespace snp::host {
namespace {

// Room beside the bytes themselves: segment descriptors count as buffer, too.
constexpr std::uint64_t kBufferSlack = 128 * 1024;
// Fits the congestion window that a rebuilt socket starts with (10, RFC 6928) with room to spare.
constexpr std::uint32_t kMostProbedSegments = 8;
constexpr std::uint32_t kMostProbedBytes = 512;
constexpr std::uint16_t kMinMss = 88;
constexpr int kWriteRetries = 50;
constexpr int kWriteRetryMs = 2;

Failure failed_step(const char* step, int error = errno) {
  return fail_errno(std::string("unpark, ") + step, error);
}

struct Plan {
  bool fin_received = false;  // told again by a forged segment
  bool fin_repaired = false;  // our FIN goes in as sent already
  bool shut_after = false;    // our FIN leaves once repair is off
  bool repeats_fin = false;   // and had left before
  std::uint32_t sent = 0;     // bytes of tx_range that count as sent
  bool measures = false;      // one byte that the peer has goes in ahead, for a forged answer
  bool asks_peer = false;     // too much in flight, or no window, for that: a window probe goes out
  std::uint32_t probed = 0;   // bytes that had been sent and go out once more
  SeqNum snd_seq;             // of the first byte that goes in
  SeqNum rcv_seq;             // of the first byte of rx_range
  SeqNum rcv_end;             // after the last
};

constexpr bool is_fin_acknowledged(TcpState state) {
  return state == TcpState::kFinWait2 || state == TcpState::kTimeWait;
}

// A rebuilt socket knows no round-trip time, so its first timer comes a second or more later. When
// little is in flight and nothing follows, its last bytes go out once more at once: the answer
// tells what is missing and measures the round trip (a tail loss probe, RFC 8985 7). With much in
// flight, or a closed window, a window probe makes the peer say what it has and takes.
void plan_probe(const ConnectionState& state, std::uint32_t unsent, Plan& plan) {
  const DelegatedState& d = state.delegated;
  // A lower bound of the segment size that the kernel will use.
  const std::uint32_t headers = 120;
  const std::uint32_t path = std::max<std::uint32_t>(state.cached.path_mtu, 2 * headers) - headers;
  const std::uint32_t mss =
      std::min<std::uint32_t>(std::max(state.constant.remote_mss, kMinMss), path);
  const bool fits_window = d.snd_max <= d.snd_una + d.snd_wnd;
  const bool is_large = plan.sent > kMostProbedSegments * mss;
  plan.asks_peer = plan.sent + unsent > 0 && (is_large || !fits_window || plan.sent >= d.snd_wnd);
  if (unsent != 0 || !fits_window || is_large) return;
  if (plan.fin_repaired && !is_fin_acknowledged(d.state)) {
    plan.fin_repaired = false;  // the FIN is the tail
    plan.shut_after = plan.repeats_fin = true;
  } else {
    plan.probed = std::min({plan.sent, mss / 2, kMostProbedBytes});
    plan.sent -= plan.probed;
  }
}

Result<Plan> make_plan(const ConnectionState& state, const StreamRing& rx,
                       const StreamRange& rx_range, const StreamRing& tx,
                       const StreamRange& tx_range) {
  const DelegatedState& d = state.delegated;
  if (rx_range.end < rx_range.begin || rx_range.length() > rx.size ||
      tx_range.end < tx_range.begin || tx_range.length() > tx.size)
    return fail(Errc::kInvalid, "unpark: the ranges do not fit the rings");

  Plan plan;
  plan.rcv_end = has_received_fin(d.state) ? d.rcv_nxt - 1 : d.rcv_nxt;
  plan.rcv_seq = plan.rcv_end - static_cast<std::uint32_t>(rx_range.length());
  plan.snd_seq = d.snd_una;
  if (d.state == TcpState::kClosed) return plan;  // what was not sent never will be
  plan.fin_received = has_received_fin(d.state);
  plan.fin_repaired = has_sent_fin(d.state);
  plan.shut_after = d.fin_pending && !plan.fin_repaired;
  const bool fin_acked = is_fin_acknowledged(d.state);
  const std::uint32_t in_flight = d.snd_max - d.snd_una;
  const std::uint32_t fin_in_flight = plan.fin_repaired && !fin_acked ? 1 : 0;
  // Without a sample the kernel's first retransmission timeout is 3 s (RFC 6298 5.7). It takes one
  // from the answer to a byte that was acknowledged long ago, by the echo in it: what was filled in
  // has no time of its own (Linux, TCPCB_REPAIRED).
  plan.measures = !fin_acked && state.constant.timestamps && d.srtt_us != 0;
  plan.snd_seq = fin_acked || plan.measures ? d.snd_una - 1 : d.snd_una;
  if (d.snd_max < d.snd_una + fin_in_flight || in_flight - fin_in_flight > tx_range.length())
    return fail(Errc::kInvalid, "unpark: the send sequence numbers do not fit the ring");
  plan.sent = in_flight - fin_in_flight;
  const auto unsent = static_cast<std::uint32_t>(tx_range.length() - plan.sent);
  if (plan.fin_repaired && unsent != 0)
    return fail(Errc::kInvalid, "unpark: unsent bytes behind a FIN");
  if (!plan.shut_after) plan_probe(state, unsent, plan);
  return plan;
}

int to_buffer_value(std::uint64_t bytes) {
  return static_cast<int>(std::min<std::uint64_t>(bytes, std::numeric_limits<int>::max() / 2));
}

// SO_SNDBUF and SO_RCVBUF double the value for the kernel's own overhead.
bool set_buffer(int fd, int option, std::uint64_t bytes) {
  return set_option(fd, SOL_SOCKET, option, to_buffer_value(bytes / 2));
}

// What goes in must fit.
bool raise_buffers(int fd, const HostSocketMemo& memo, const StreamRange& rx_range,
                   const StreamRange& tx_range) {
  const std::uint64_t receive = 2 * (rx_range.length() + kBufferSlack);
  const std::uint64_t send = 2 * (tx_range.length() + kBufferSlack);
  return (rx_range.length() <= memo.receive_buffer / 2 ||
          set_buffer(fd, SO_RCVBUFFORCE, receive)) &&
         (send <= memo.send_buffer || set_buffer(fd, SO_SNDBUFFORCE, send));
}

bool keep_buffer(int fd, int get, int set, std::uint64_t bytes) {
  return get_option(fd, SOL_SOCKET, get) == static_cast<int>(bytes) || set_buffer(fd, set, bytes);
}

// The right edge of what the peer may send. A window field is rounded up (RFC 7323 2.2), so it may
// have read an edge that lies less than a unit further on; Linux drops a segment that ends a byte
// beyond its window.
SeqNum promised_edge(const ConnectionState& state) {
  const std::uint32_t unit = 1u << state.constant.rcv_wind_shift;
  return state.delegated.rcv_wup + state.delegated.rcv_wnd + (unit - 1);
}

// Before anything is sent, or a window would be offered that only the refilling needed. The buffer
// is as large as it was, or as what is in it and what the peer has been promised beyond: the kernel
// itself never promises more than the buffer's size, so its own promises raise nothing, hand-over
// after hand-over.
bool restore_receive_buffer(int fd, const ConnectionState& state, const HostSocketMemo& memo,
                            const StreamRange& rx_range) {
  const SeqNum promised = promised_edge(state);
  const SeqNum rcv_nxt = state.delegated.rcv_nxt;
  const std::uint64_t needed = rx_range.length() + (promised > rcv_nxt ? promised - rcv_nxt : 0);
  return keep_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE,
                     needed > memo.receive_buffer ? 2 * needed : memo.receive_buffer);
}

// And back to auto-tuning of both.
bool restore_send_buffer(int fd, const HostSocketMemo& memo) {
  return keep_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, memo.send_buffer) &&
         set_option(fd, SOL_SOCKET, SO_BUF_LOCK, static_cast<int>(memo.buffer_locks));
}

// A size that the application set while the engine had the connection: the kernel bounds it, as it
// would have done then.
bool apply_users_buffers(int fd, const CachedState& cached, const HostSocketMemo& memo) {
  const auto apply = [fd](int option, std::uint32_t bytes, std::uint32_t before) {
    return bytes == 0 || bytes == before / 2 ||
           set_option(fd, SOL_SOCKET, option, to_buffer_value(bytes));
  };
  return apply(SO_RCVBUF, cached.receive_buffer, memo.receive_buffer) &&
         apply(SO_SNDBUF, cached.send_buffer, memo.send_buffer);
}

// Writes [range) with as many calls as the kernel wants. Never blocks for long: the buffers were
// raised, only a host without memory makes us wait.
Result<> write_range(int fd, const StreamRing& ring, StreamRange range, const char* what) {
  int retries = 0;
  while (range.length() > 0) {
    const auto [a, b] = ring.pieces(range.begin, static_cast<std::uint32_t>(range.length()));
    std::array<iovec, 2> parts{{{a.data(), a.size()}, {b.data(), b.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t sent = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      range.begin += static_cast<std::uint64_t>(sent);
      continue;
    }
    const bool may_pass = sent < 0 && (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS);
    if (!may_pass || ++retries > kWriteRetries) return failed_step(what);
    ::poll(nullptr, 0, kWriteRetryMs);
  }
  return {};
}

// The receive queue first: the window is checked against it.
bool set_window(int fd, const ConnectionState& state, const Plan& plan) {
  const DelegatedState& d = state.delegated;
  const SeqNum edge = promised_edge(state);
  tcp_repair_window window{};
  window.snd_wnd = d.snd_wnd;
  window.max_window = std::max(d.max_snd_wnd, d.snd_wnd);
  window.rcv_wup = seq_min(d.rcv_wup, plan.rcv_end).value();
  window.rcv_wnd = edge > SeqNum(window.rcv_wup) ? edge - SeqNum(window.rcv_wup) : 0;
  // A FIN that is told again must lie in the window; the peer sends nothing else any more.
  if (plan.fin_received)
    window.rcv_wnd = std::max(window.rcv_wnd, plan.rcv_end - SeqNum(window.rcv_wup) + 2);
  // The segment that told the send window last may have been beyond a gap, and its text be dropped;
  // the kernel wants it inside the window.
  window.snd_wl1 = seq_min(d.snd_wl1, plan.rcv_end + window.rcv_wnd).value();
  return ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof window) == 0;
}

// The low bit of the value names the unit (microseconds when set); never behind what was sent.
bool set_timestamp(int fd, const ConnectionState& state) {
  if (!state.constant.timestamps) return true;
  const std::uint32_t value = (state.delegated.ts_val + 1) & ~1u;
  return set_option(fd, IPPROTO_TCP, TCP_TIMESTAMP, static_cast<int>(value));
}

Result<> fill_queues(int fd, const ConnectionState& state, const Plan& plan, const StreamRing& rx,
                     const StreamRange& rx_range, const StreamRing& tx,
                     const StreamRange& tx_range) {
  if (!select_queue(fd, RepairQueue::kReceive)) return failed_step("receive queue");
  if (auto filled = write_range(fd, rx, rx_range, "receive queue"); !filled) return filled;
  if (!set_window(fd, state, plan)) return failed_step("TCP_REPAIR_WINDOW");
  if (!select_queue(fd, RepairQueue::kSend)) return failed_step("send queue");
  // The kernel stamps it now, and the answer comes with the end of the hand-over. Its content never
  // matters: a peer that got it again would find it below what it has.
  const char stale = 0;
  if (plan.measures && ::send(fd, &stale, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
    return failed_step("acknowledged byte");
  if (auto filled = write_range(fd, tx, {tx_range.begin, tx_range.begin + plan.sent}, "send queue");
      !filled)
    return filled;
  if (plan.fin_repaired && ::shutdown(fd, SHUT_WR) != 0) return failed_step("FIN");
  return {};
}

bool restore_linger(int fd, const CachedState& cached) {
  const linger wanted{cached.linger_on ? 1 : 0, static_cast<int>(cached.linger_s)};
  linger now{};
  if (read_option(fd, SOL_SOCKET, SO_LINGER, now) && now.l_onoff == wanted.l_onoff &&
      now.l_linger == wanted.l_linger)
    return true;
  return ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &wanted, sizeof wanted) == 0;
}

// What the disconnect lost, and what the application changed while the engine had the connection.
bool restore_options(int fd, const CachedState& cached, const HostSocketMemo& memo) {
  const auto keep = [fd](int name, std::uint32_t value) {
    return keep_option(fd, IPPROTO_TCP, name, static_cast<int>(value));
  };
  bool ok = keep(TCP_NODELAY, cached.no_delay ? 1 : 0) && keep(TCP_CORK, cached.cork ? 1 : 0) &&
            keep(TCP_KEEPIDLE, cached.keepalive.idle_s) &&
            keep(TCP_KEEPINTVL, cached.keepalive.interval_s) &&
            keep(TCP_KEEPCNT, cached.keepalive.probes) &&
            keep(TCP_USER_TIMEOUT, cached.user_timeout_ms) &&
            keep(TCP_NOTSENT_LOWAT, cached.notsent_lowat) &&
            (!cached.quick_ack || keep(TCP_QUICKACK, 1)) && restore_linger(fd, cached);
  ok = ok && (memo.rto_min_us == 0 || keep(kTcpRtoMinUs, memo.rto_min_us)) &&
       (memo.delack_max_us == 0 || keep(kTcpDelackMaxUs, memo.delack_max_us));
  ok = ok && set_option(fd, IPPROTO_TCP, TCP_MAXSEG, static_cast<int>(memo.user_mss));
  // Also opens the window again as far as the peer was promised.
  if (memo.window_clamp != 0)
    ok = ok && set_option(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, static_cast<int>(memo.window_clamp));
  return ok;
}

}  // namespace

// Of the stay in the host. What is probed will be sent, and is nothing new: it is sent again. The
// peer's ACK of a byte that it has had for long is none either, nor is a segment that we forge.
SocketMark mark_where_it_begins(int fd, const ConnectionState& state, const Plan& plan,
                                bool needs_forged) {
  tcp_info info{};
  const auto unacked = ioctl_count(fd, SIOCOUTQ);
  const auto unsent = ioctl_count(fd, SIOCOUTQNSD);
  if (!unacked || !unsent || !read_tcp_info(fd, info)) return {};
  SocketMark mark = mark_of(info);
  mark.bytes_sent += plan.probed;
  mark.tcp.bytes_retrans -= plan.probed;
  mark.tcp.total_retrans -= plan.probed != 0 || plan.repeats_fin ? 1 : 0;
  mark.tcp.bytes_acked += plan.measures ? 1 : 0;
  mark.tcp.delivered += plan.measures ? 1 : 0;
  mark.tcp.segs_in += needs_forged ? 1 : 0;
  const TcpState is = state.delegated.state;
  if (is == TcpState::kEstablished || is == TcpState::kCloseWait)  // without a FIN of ours
    mark.bytes_out = info.tcpi_bytes_acked + *unacked - *unsent + plan.probed;
  return mark;
}

// Linux does not search for what a path carries whose ICMP never comes unless it is told to
// (tcp_mtu_probing): it gets no larger segments than those that were found to get through.
std::uint16_t mss_for_host(const ConnectionState& state) {
  constexpr std::uint32_t kTimestampOption = 12;
  const std::uint32_t limit = state.mtu_search.mss_limit;
  if (limit == 0) return state.constant.remote_mss;
  const std::uint32_t before_options = limit + (state.constant.timestamps ? kTimestampOption : 0);
  return static_cast<std::uint16_t>(
      std::min<std::uint32_t>(state.constant.remote_mss, before_options));
}

Result<Refilled> refill(int fd, const ConnectionState& given, const HostSocketMemo& memo,
                        const StreamRing& rx, const StreamRange& rx_range, const StreamRing& tx,
                        const StreamRange& tx_range) {
  ConnectionState state = given;
  state.constant.remote_mss = mss_for_host(given);
  const auto plan = make_plan(state, rx, rx_range, tx, tx_range);
  if (!plan) return Failure(plan.error());
  // It is silent already, unless an earlier attempt got further.
  if (auto silent = silence(fd); !silent) return Failure(silent.error());
  if (!raise_buffers(fd, memo, rx_range, tx_range))
    return failed_step("SO_RCVBUFFORCE, SO_SNDBUFFORCE");
  if (auto built = rebuild(fd, state.constant, plan->snd_seq, plan->rcv_seq); !built)
    return Failure(built.error());
  if (!set_timestamp(fd, state)) return failed_step("TCP_TIMESTAMP");
  if (auto filled = fill_queues(fd, state, *plan, rx, rx_range, tx, tx_range); !filled)
    return Failure(filled.error());
  if (!restore_receive_buffer(fd, state, memo, rx_range)) return failed_step("SO_RCVBUFFORCE back");
  // With the send queue left selected a stray write would go out on the wire.
  if (!select_queue(fd, RepairQueue::kNone)) return failed_step("TCP_REPAIR_QUEUE none");

  Refilled refilled;
  refilled.sent = plan->sent;
  refilled.probed = plan->probed;
  refilled.asks_peer = plan->asks_peer;
  refilled.shut_after = plan->shut_after;
  refilled.repeats_fin = plan->repeats_fin;
  refilled.needs_forged = plan->measures || plan->fin_received ||
                          state.delegated.state == TcpState::kClosed ||
                          state.delegated.state == TcpState::kFinWait2;
  refilled.mark = mark_where_it_begins(fd, state, *plan, refilled.needs_forged);
  refilled.filtered = drops_of(fd) - memo.drops;
  return refilled;
}

Result<> resume(int fd, const CachedState& cached, const HostSocketMemo& memo,
                const Refilled& refilled) {
  if (!restore_options(fd, cached, memo)) return failed_step("socket options");
  if (auto woken =
          wake(fd, memo, {.keepalive = cached.keepalive.enabled, .asks_peer = refilled.asks_peer});
      !woken)
    return woken;
  if (memo.shutdown_read != 0 && ::shutdown(fd, SHUT_RD) != 0) return failed_step("SHUT_RD");
  return {};
}

// Repair is off: what leaves now leaves on the wire.
Result<> send_rest(int fd, const CachedState& cached, const HostSocketMemo& memo,
                   const Refilled& refilled, const StreamRing& tx, const StreamRange& tx_range) {
  if (auto sent =
          write_range(fd, tx, {tx_range.begin + refilled.sent, tx_range.end}, "unsent bytes");
      !sent)
    return sent;
  // A probe is no new write: neither Nagle nor a cork may hold it.
  if (refilled.probed > 0 && (!set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) ||
                              !keep_option(fd, IPPROTO_TCP, TCP_NODELAY, cached.no_delay ? 1 : 0)))
    return failed_step("TCP_NODELAY");
  if (refilled.shut_after && ::shutdown(fd, SHUT_WR) != 0) return failed_step("shutdown");
  if (refilled.probed > 0 || refilled.repeats_fin) footprint().repeats.fetch_add(1);
  if (!restore_send_buffer(fd, memo)) return failed_step("SO_BUF_LOCK");
  if (!apply_users_buffers(fd, cached, memo)) return failed_step("SO_RCVBUF, SO_SNDBUF");
  return {};
}

Result<Unparked> unpark(int fd, const ConnectionState& state, const HostSocketMemo& memo,
                        const StreamRing& rx, const StreamRange& rx_range, const StreamRing& tx,
                        const StreamRange& written) {
  const bool is_dead = state.delegated.state == TcpState::kClosed;
  const StreamRange tx_range{is_dead ? written.end : written.begin, written.end};
  const auto refilled = refill(fd, state, memo, rx, rx_range, tx, tx_range);
  if (!refilled) return Failure(refilled.error());
  if (auto resumed = resume(fd, state.cached, memo, *refilled); !resumed)
    return Failure(resumed.error());
  if (auto sent = send_rest(fd, state.cached, memo, *refilled, tx, tx_range); !sent)
    return Failure(sent.error());
  return Unparked{refilled->needs_forged, refilled->mark, refilled->filtered};
}

void bury(int fd) {
  // Repair mode makes disconnect and close silent, and keeps the port from blocking a new listener.
  set_option(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
  (void)disconnect(fd);  // the descriptor is closed next anyway
}

void reset(int fd) {
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  (void)::connect(fd, &unspecified, sizeof unspecified);  // over already: then the peer knows
}

}  // namespace snp::host
