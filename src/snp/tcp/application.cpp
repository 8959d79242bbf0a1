// What the application and the host ask for (RFC 9293 3.10.2 to 3.10.5), and changes of state.
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kTcpHeader = 20;
constexpr std::uint32_t kTimestampOption = 12;
constexpr std::uint32_t kMinMss = 88;  // Linux's TCP_MIN_SND_MSS leaves room for all options

}  // namespace

void Connection::on_written(std::uint32_t bytes, Instant /*now*/) noexcept {
  if (is_fin_queued_) return;
  const auto room = streams_.tx.size - streams_.tx_range.length();
  streams_.tx_range.end += std::min<std::uint64_t>(bytes, room);
}

void Connection::on_consumed(std::uint32_t bytes, Instant now) noexcept {
  bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, streams_.rx_range.length()));
  streams_.rx_range.begin += bytes;
  if (is_receive_buffer_tuned()) tune_receive_buffer(bytes, now);
  const bool receives = state_ == TcpState::kEstablished || state_ == TcpState::kFinWait1 ||
                        state_ == TcpState::kFinWait2;
  if (receives && should_offer_window()) ack_now_ = true;
}

void Connection::shutdown_write(Instant /*now*/) noexcept {
  if (state_ == TcpState::kEstablished || state_ == TcpState::kCloseWait) is_fin_queued_ = true;
}

void Connection::close(Instant now) noexcept {
  if (state_ == TcpState::kClosed) return;
  shutdown_write(now);
  is_closed_by_application_ = true;
  may_predict_ = false;
  if (state_ == TcpState::kFinWait2 && !timers_.is_running(Timer::kEnd))
    timers_.set(Timer::kEnd, now + time_wait_);
}

// RFC 9293 3.10.5.
void Connection::abort(Instant /*now*/) noexcept {
  switch (state_) {
    case TcpState::kClosed:
      return;
    case TcpState::kClosing:
    case TcpState::kLastAck:
    case TcpState::kTimeWait:
      become_closed(0);
      return;
    default:
      request_reset(snd_nxt_);
  }
}

void Connection::update(const CachedState& cached, Instant now) noexcept {
  const bool was_corked = cached_.cork;
  const bool had_no_delay = cached_.no_delay;
  const Keepalive before = cached_.keepalive;
  const bool new_algorithm = cached.congestion_control != cached_.congestion_control;
  const std::uint32_t old_mss = snd_mss_;
  if (cached.path_mtu != cached_.path_mtu) forget_mss_limit();
  cached_ = cached;
  apply_cached();
  apply_locked_buffers();
  if (snd_mss_ < old_mss) repeat_in_smaller_segments(now);
  if (new_algorithm) {
    cc_algorithm_ = &congestion_algorithm_or_default(cached_.congestion_control.data());
    cc_.pacing_rate = 0;
    cc_algorithm_->start(cc_, rtt_.srtt_us(), {}, now);
    // What an undo gives back must be the new one's, too.
    const std::uint32_t window = undo_cc_.cwnd;
    undo_cc_ = cc_;
    undo_cc_.cwnd = window;
  }
  // Linux: setting TCP_NODELAY or clearing TCP_CORK pushes what waits.
  if ((cached_.no_delay && !had_no_delay) || (was_corked && !cached_.cork))
    is_push_forced_ = unsent() != 0;
  if (cached_.quick_ack && unacked_bytes_ != 0) ack_now_ = true;
  const Keepalive& after = cached_.keepalive;
  if (before.enabled != after.enabled || before.idle_s != after.idle_s ||
      before.interval_s != after.interval_s) {
    keepalive_probes_ = 0;
    arm_keepalive(now);
  }
}

// RFC 9293 3.7.1, RFC 6691: the payload that fits path and peer.
std::uint32_t Connection::path_mss() const noexcept {
  const std::uint32_t ip_header = constant_.tuple.remote.address.is_v4() ? 20 : 40;
  const std::uint32_t headers = ip_header + kTcpHeader;
  const std::uint32_t path = cached_.path_mtu > headers ? cached_.path_mtu - headers : 0;
  const std::uint32_t mss = std::min<std::uint32_t>(constant_.remote_mss, path);
  return std::max(mss, kMinMss) - (timestamps_ ? kTimestampOption : 0);
}

void Connection::apply_cached() noexcept {
  snd_mss_ = path_mss();
  if (mss_limit_ != 0) snd_mss_ = std::min(snd_mss_, mss_limit_);
  cc_.mss = snd_mss_;
}

std::uint32_t Connection::take_events() noexcept {
  return std::exchange(events_, 0);
}

Instant Connection::next_timeout() const noexcept {
  return is_frozen_ ? kNever : timers_.next();
}

void Connection::set_state(TcpState state) noexcept {
  state_ = state;
  events_ |= kStateChanged;
  may_predict_ = false;
}

void Connection::enter_time_wait(Instant now) noexcept {
  set_state(TcpState::kTimeWait);
  timers_.stop_all();
  probe_ = Probe::kNone;
  timers_.set(Timer::kEnd, now + time_wait_);
}

void Connection::become_closed(std::uint32_t events) noexcept {
  set_state(TcpState::kClosed);
  timers_.stop_all();
  probe_ = Probe::kNone;
  ack_now_ = false;
  events_ |= events | kClosed;
}

void Connection::request_reset(SeqNum seq) noexcept {
  is_reset_pending_ = true;
  reset_seq_ = seq;
  become_closed(0);
}

Info Connection::info() const noexcept {
  Info info;
  info.state = state_;
  info.srtt_us = rtt_.srtt_us();
  info.rttvar_us = rtt_.rttvar_us();
  info.rto_us = static_cast<std::uint32_t>(rtt_.rto(rto_backoff_) / microseconds(1));
  info.snd_mss = snd_mss_;
  info.rcv_mss = rcv_mss_;
  info.cwnd_bytes = cc_.cwnd;
  info.ssthresh_bytes = cc_.ssthresh;
  info.snd_wnd = snd_wnd_;
  info.rcv_wnd = rcv_adv_ > rcv_nxt_ ? rcv_adv_ - rcv_nxt_ : 0;
  info.unacked_bytes = board_.outstanding();
  info.retransmits = retransmits_;
  info.total_retransmits = total_retransmits_;
  info.bytes_acked = bytes_acked_;
  info.bytes_received = bytes_received_;
  info.segments_in = segments_in_;
  info.segments_out = segments_out_;
  info.pacing_rate = pacing_rate();
  info.delivery_rate = rate_.last().bytes_per_s;
  info.is_delivery_app_limited = rate_.last().is_app_limited;
  info.min_rtt_us = rtt_.min_rtt_us();
  info.is_recovering = recovery_ == Recovery::kFast;
  info.is_reducing = recovery_ == Recovery::kReduction;
  info.has_timed_out = recovery_ == Recovery::kTimeout;
  info.probes = std::max(keepalive_probes_, persist_probes_);
  info.backoff = is_persisting_ ? persist_backoff_ : rto_backoff_;
  info.sacked_bytes = board_.sacked_bytes();
  info.lost_bytes = board_.lost_bytes();
  info.unsent_bytes = unsent();
  info.rcv_rtt_us = rcv_rtt_us_;
  info.receive_buffer = rx_limit_;
  info.bytes_sent = bytes_acked_ + board_.outstanding() + bytes_resent_;
  if (is_fin_sent_ && board_.outstanding() != 0) --info.bytes_sent;  // the FIN is none
  info.is_fin_acknowledged = is_fin_sent_ && snd_una_ == snd_nxt_;
  info.bytes_resent = bytes_resent_;
  info.data_segments_in = data_segments_in_;
  info.data_segments_out = data_segments_out_;
  info.resent_in_flight_bytes = board_.resent_in_flight();
  info.duplicates_reported = dsacks_;
  info.out_of_order = out_of_order_;
  info.reorderings = reorderings_;
  info.bytes_marked = bytes_marked_;
  info.last_data_sent = last_sent_;
  info.last_data_received = last_data_received_;
  info.last_received = last_received_;
  return info;
}

}  // namespace snp::tcp
