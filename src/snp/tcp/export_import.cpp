// The connection's beginning and end here: from the host's state, and back (reference 4.3, 4.9).
#include <algorithm>
#include <limits>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kInitialSegments = 10;   // RFC 6928
constexpr std::uint8_t kMaxWindShift = 14;       // RFC 7323 2.3
constexpr std::uint32_t kMostWindow = 1u << 30;  // RFC 7323 2.3: no peer can offer more

std::int32_t to_us(Duration time) noexcept {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(
      (time + microseconds(1) - Duration(1)) / microseconds(1), -kMost, kMost));
}

std::uint32_t elapsed_ms(Instant since, Instant now) noexcept {
  const auto ms = (now - since + milliseconds(1) - Duration(1)) / milliseconds(1);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 0, 0xffffffff));
}

}  // namespace

Connection::Connection(const ConnectionState& state, const Streams& streams, const Limits& limits,
                       Instant now) noexcept
    : state_(state.delegated.state),
      timestamps_(state.constant.timestamps),
      sack_(state.constant.sack),
      snd_wind_shift_(std::min(state.constant.snd_wind_shift, kMaxWindShift)),
      rcv_wind_shift_(std::min(state.constant.rcv_wind_shift, kMaxWindShift)),
      retransmits_(state.delegated.retransmits),
      persist_probes_(state.delegated.persist_probes),
      keepalive_probes_(state.delegated.keepalive_probes),
      rcv_nxt_(state.delegated.rcv_nxt),
      rcv_adv_(state.delegated.rcv_wup + state.delegated.rcv_wnd),
      last_ack_sent_(seq_min(state.delegated.rcv_wup, state.delegated.rcv_nxt)),
      snd_una_(state.delegated.snd_una),
      snd_nxt_(seq_max(state.delegated.snd_max, state.delegated.snd_una)),
      snd_wl1_(state.delegated.snd_wl1),
      snd_wl2_(state.delegated.snd_wl2),
      snd_wnd_(state.delegated.snd_wnd),
      max_snd_wnd_(std::max(state.delegated.max_snd_wnd, state.delegated.snd_wnd)),
      ts_recent_(state.delegated.ts_recent),
      ts_recent_time_(now - milliseconds(state.delegated.ts_recent_age_ms)),
      last_received_(now - milliseconds(state.delegated.silence_ms)),
      last_data_received_(now),
      last_sent_(now),
      rcv_mss_(536),
      streams_(streams),
      small_end_(snd_una_),
      round_end_(snd_nxt_),
      limited_end_(snd_una_),
      rtt_({state.delegated.srtt_us, state.delegated.rttvar_us, state.delegated.min_rtt_us,
            state.delegated.rto_ms * 1000}),
      last_progress_(now - milliseconds(state.delegated.stall_ms)),
      cc_algorithm_(&congestion_algorithm_or_default(state.cached.congestion_control.data())),
      recover_(snd_una_ - 1),
      max_segment_payload_(limits.max_segment_payload),
      ts_base_(state.delegated.ts_val + 1),  // never the value that was sent last
      start_(now),
      last_challenge_(now - seconds(1)),
      last_syn_challenge_(now - seconds(3)),
      time_wait_(limits.time_wait),
      max_ack_delay_(limits.max_ack_delay),
      constant_(state.constant),
      cached_(state.cached) {
  start_mtu_search(state.mtu_search, now);
  apply_cached();
  start_buffers(state.delegated, limits, now);
  start_sending(state.delegated, state.path, now);
  start_receiving(state.delegated, now);
  predict();
}

void Connection::start_sending(const DelegatedState& delegated, const PathModel& path,
                               Instant now) noexcept {
  reo_round_end_ = snd_una_;
  has_reordering_ = delegated.reordering_seen;
  is_cwr_due_ = constant_.ecn && delegated.cwr_due;
  cc_.cwnd = delegated.cwnd_bytes != 0 ? std::clamp(delegated.cwnd_bytes, snd_mss_, kMostWindow)
                                       : kInitialSegments * snd_mss_;
  cc_.ssthresh = std::max(delegated.ssthresh_bytes, 2 * snd_mss_);
  cc_algorithm_->start(cc_, rtt_.srtt_us(), path, now);
  pacing_at_ = now + std::min<Duration>(microseconds(delegated.pacing_delta_us), kLongestPause);
  if (pacing_at_ > now + kPacingBurst) timers_.set(Timer::kPacing, pacing_at_);
  start_fin(delegated);
  board_.start(snd_una_, snd_nxt_, us(now));
  // What is under way says how much of the window is used (RFC 7661): else the window would not
  // grow again before it is all acknowledged.
  if (retransmits_ != 0 && board_.outstanding() != 0) start_after_timeout(now);
  max_in_flight_ = board_.outstanding();
  limited_end_ = snd_nxt_;
  was_cwnd_limited_ = max_in_flight_ + snd_mss_ > cc_.cwnd;
  // RFC 9293 3.7.4: whether a small segment is out is told by what is outstanding.
  if (board_.outstanding() % snd_mss_ != 0) small_end_ = snd_nxt_;
  // Nothing was sent since an answer came: RFC 5681 4.1 counts the pause from there.
  if (board_.outstanding() == 0) last_sent_ = last_received_;
  persist_backoff_ = std::max(delegated.persist_backoff, persist_probes_);
  arm_retransmission(now);
  // What was running goes on: hand-overs in quick succession must not keep a timer from expiring.
  // The host does not say how long its timer has been running: a timeout that it had backed off
  // begins with one that is not, or the waiting would count twice.
  const bool is_known = delegated.retransmit_delta_ms >= 0;
  if (!is_known && retransmits_ == 0) return;
  const Instant due = now + (is_known ? milliseconds(delegated.retransmit_delta_ms) : rtt_.rto(0));
  if (board_.outstanding() != 0) {
    retransmission_deadline_ = std::min(retransmission_deadline_, due);
    has_tail_probe_ = delegated.loss_probe_sent;
    tail_probe_end_ = snd_nxt_;
    set_retransmission_timer(retransmission_deadline_ - rtt_.rto(retransmits_));
  } else if (is_known && unsent() != 0) {
    is_persisting_ = true;
    timers_.set(Timer::kRetransmission, std::min(due, now + rtt_.rto(persist_backoff_)));
  }
}

// RFC 6298 5.4, RFC 5681 3.1: what is outstanding after a timeout counts as lost, but for the first
// window, which was sent again. Else each hand-over on the way would cost another timeout.
void Connection::start_after_timeout(Instant now) noexcept {
  board_.mark_all_lost();
  board_.on_retransmitted(snd_una_, seq_min(snd_una_ + loss_window(), snd_nxt_), us(now));
  recovery_ = Recovery::kTimeout;
  recover_ = snd_nxt_;
}

// Whether our FIN is out is told by the numbers, not by the state: Linux says FIN_WAIT_1 as soon as
// the application has closed, and a flow record may be a moment older than its highest number sent.
void Connection::start_fin(const DelegatedState& delegated) noexcept {
  const auto written = static_cast<std::uint32_t>(streams_.tx_range.length());
  const bool is_acknowledged = state_ == TcpState::kFinWait2 || state_ == TcpState::kTimeWait;
  const bool is_over = state_ == TcpState::kClosed;
  is_fin_queued_ = delegated.fin_pending || has_sent_fin(state_);
  is_fin_sent_ =
      is_acknowledged || is_over || (is_fin_queued_ && snd_nxt_ - snd_una_ == written + 1);
  if (!is_fin_sent_ && snd_nxt_ - snd_una_ > written) snd_nxt_ = snd_una_ + written;
  if (is_acknowledged || is_over) {
    snd_nxt_ = snd_una_;  // nothing can be under way
    return;
  }
  const bool is_peer_done = has_received_fin(state_);
  if (!is_fin_sent_)
    state_ = is_peer_done ? TcpState::kCloseWait : TcpState::kEstablished;
  else if (state_ == TcpState::kEstablished)
    state_ = TcpState::kFinWait1;
  else if (state_ == TcpState::kCloseWait)
    state_ = TcpState::kLastAck;
}

void Connection::start_receiving(const DelegatedState& delegated, Instant now) noexcept {
  is_echo_due_ = constant_.ecn && delegated.ecn_echo_due;
  // The host may have offered more than this ring holds; what lies beyond cannot be kept, and an
  // honest smaller window lets the peer probe instead of sending in vain (RFC 9293 3.8.6). What the
  // ring holds stays promised, also where less of it is used now.
  const std::uint32_t slack = (1u << rcv_wind_shift_) - 1;
  const auto stored = static_cast<std::uint32_t>(streams_.rx_range.length());
  const std::uint32_t free = streams_.rx.size - std::min(stored, streams_.rx.size);
  rcv_adv_ = seq_max(seq_min(rcv_adv_, rcv_nxt_ + (free > slack ? free - slack : 0)), rcv_nxt_);
  if (rcv_nxt_ != last_ack_sent_) {
    // How long it has been owed is not known, and there is a limit (RFC 9293 3.8.6.3 MUST-40).
    unacked_bytes_ = rcv_nxt_ - last_ack_sent_;
    ack_now_ = true;
  }
  if (delegated.end_delta_ms >= 0)
    timers_.set(Timer::kEnd,
                now + std::min<Duration>(milliseconds(delegated.end_delta_ms), time_wait_));
  else if (state_ == TcpState::kTimeWait)
    timers_.set(Timer::kEnd, now + time_wait_);
  arm_keepalive(now);
  is_peer_doubted_ = delegated.peer_doubted && state_ != TcpState::kTimeWait;
  if (delegated.keepalive_delta_ms >= 0 &&
      (is_peer_doubted_ || timers_.is_running(Timer::kKeepalive)))
    timers_.set(Timer::kKeepalive, now + milliseconds(delegated.keepalive_delta_ms));
}

void Connection::freeze(Instant /*now*/) noexcept {
  if (is_frozen_) return;
  is_frozen_ = true;
  may_predict_ = false;
  if (unacked_bytes_ != 0) ack_now_ = true;
}

// Data that came out of order is dropped, although it was SACKed: the next owner has no place for
// it (reference 4.11); RFC 2018 8 allows that.
ConnectionState Connection::export_state(Instant now) const noexcept {
  return {constant_, cached_, export_delegated(now), export_path(now), export_mtu_search(now)};
}

PathModel Connection::export_path(Instant now) const noexcept {
  return cc_algorithm_->model == nullptr ? PathModel{} : cc_algorithm_->model(cc_, now);
}

DelegatedState Connection::export_delegated(Instant now) const noexcept {
  DelegatedState out;
  out.state = state_;
  out.snd_una = snd_una_;
  out.snd_nxt = out.snd_max = snd_nxt_;
  out.snd_wnd = snd_wnd_;
  out.snd_wl1 = snd_wl1_;
  out.snd_wl2 = snd_wl2_;
  out.max_snd_wnd = max_snd_wnd_;
  out.rcv_nxt = rcv_nxt_;
  out.rcv_wup = last_ack_sent_;
  out.rcv_wnd = rcv_adv_ > last_ack_sent_ ? rcv_adv_ - last_ack_sent_ : 0;
  out.ts_val = ts_now(now);
  out.ts_recent = ts_recent_;
  out.ts_recent_age_ms = static_cast<std::uint32_t>(
      std::min<std::int64_t>((now - ts_recent_time_) / milliseconds(1), 0xffffffff));
  out.srtt_us = rtt_.srtt_us();
  out.rttvar_us = rtt_.rttvar_us();
  out.min_rtt_us = rtt_.min_rtt_us();
  out.rto_ms = rtt_.rto_us() / 1000;
  // In recovery the window is a tool of the moment; where it was going to end is what counts. One
  // that the recovery leaves alone goes on as it is.
  const bool is_reducing = !cc_algorithm_->owns_window && !keeps_window_ &&
                           (recovery_ == Recovery::kFast || recovery_ == Recovery::kReduction);
  out.cwnd_bytes = is_reducing ? cc_.ssthresh : cc_.cwnd;
  out.ssthresh_bytes = cc_.ssthresh;
  out.retransmits = retransmits_;
  out.keepalive_probes = keepalive_probes_;
  out.persist_probes = persist_probes_;
  out.persist_backoff = persist_backoff_;
  out.retransmit_delta_ms = remaining_ms(
      is_persisting_ ? timers_.at(Timer::kRetransmission) : retransmission_deadline_, now);
  out.keepalive_delta_ms = remaining_ms(timers_.at(Timer::kKeepalive), now);
  out.end_delta_ms = remaining_ms(timers_.at(Timer::kEnd), now);
  out.pacing_delta_us = to_us(pacing_at_ - now);
  out.silence_ms = elapsed_ms(last_received_, now);
  out.stall_ms = elapsed_ms(last_progress_, now);
  out.ecn_echo_due = is_echo_due_;
  out.cwr_due = is_cwr_due_;
  out.loss_probe_sent = has_tail_probe_;
  out.reordering_seen = has_reordering_;
  out.peer_doubted = is_peer_doubted_;
  out.fin_pending = is_fin_queued_ && !is_fin_sent_;
  return out;
}

}  // namespace snp::tcp
