// What the clock brings, except retransmission.
#include "snp/tcp/timers.h"

#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

// Whatever a state says: a sum of times must not leave the clock's range.
Duration keepalive_time(std::uint32_t knob_s) noexcept {
  return seconds(std::clamp(knob_s, 1u, 10'000'000u));
}

constexpr std::uint32_t kMaxAttempts = 15;       // Linux's tcp_retries2 (RFC 9293 3.8.3 R2)
constexpr std::uint32_t kMaxOrphanAttempts = 8;  // Linux's tcp_orphan_retries

}  // namespace

void Connection::on_timeout(Instant now) noexcept {
  if (is_frozen_ || state_ == TcpState::kClosed) return;
  if (timers_.has_expired(Timer::kEnd, now)) {
    become_closed(0);
    return;
  }
  if (timers_.has_expired(Timer::kPacing, now)) timers_.stop(Timer::kPacing);
  if (timers_.has_expired(Timer::kDelayedAck, now)) {
    timers_.stop(Timer::kDelayedAck);
    if (unacked_bytes_ != 0) ack_now_ = true;
    is_interactive_ = false;  // nothing carried it
  }
  if (timers_.has_expired(Timer::kReordering, now)) {
    mark_losses(now);
    flight_size_ = board_.outstanding();
    if (board_.lost_bytes() != 0 && recovery_ != Recovery::kFast &&
        recovery_ != Recovery::kTimeout) {
      enter_recovery(Recovery::kFast, now);
      if (!cc_algorithm_->owns_window) reduce_proportionally(0);
    }
  }
  if (timers_.has_expired(Timer::kRetransmission, now)) on_retransmission_timer(now);
  if (timers_.has_expired(Timer::kKeepalive, now)) on_keepalive_timer(now);
}

// RFC 9293 3.8.3: R2, or TCP_USER_TIMEOUT (RFC 5482), or what Linux grants a socket nobody owns.
bool Connection::gives_up(std::uint32_t attempts, Instant now) noexcept {
  const Instant since = std::max(last_progress_, last_received_);
  const bool is_over =
      cached_.user_timeout_ms != 0
          ? now - (attempts == 0 ? since : last_progress_) >= milliseconds(cached_.user_timeout_ms)
          : attempts > (is_closed_by_application_ ? kMaxOrphanAttempts : kMaxAttempts);
  if (is_over) become_closed(kTimedOut);
  return is_over;
}

// RFC 9293 3.8.4. The deadline is not moved with each segment: what came meanwhile is looked at
// when it expires.
void Connection::arm_keepalive(Instant now) noexcept {
  if (is_peer_doubted_) return;
  if (!cached_.keepalive.enabled || state_ == TcpState::kTimeWait || state_ == TcpState::kClosed) {
    timers_.stop(Timer::kKeepalive);
    return;
  }
  const Instant due = last_received_ + keepalive_time(cached_.keepalive.idle_s);
  timers_.set(Timer::kKeepalive, std::max(due, now + milliseconds(1)));
}

void Connection::on_keepalive_timer(Instant now) noexcept {
  Keepalive knobs = cached_.keepalive;
  if (knobs.probes == 0) knobs.probes = 10;  // reference 4.11
  const Duration silence = now - last_received_;
  if (board_.outstanding() != 0 || unsent() != 0) {  // retransmission and persist watch the peer
    timers_.set(Timer::kKeepalive, now + keepalive_time(knobs.idle_s));
    return;
  }
  if (!is_peer_doubted_ && silence < keepalive_time(knobs.idle_s)) {
    arm_keepalive(now);
    return;
  }
  const bool is_over =
      cached_.user_timeout_ms != 0
          ? keepalive_probes_ > 0 && silence >= milliseconds(cached_.user_timeout_ms)
          : keepalive_probes_ >= knobs.probes;
  if (is_over) {
    request_reset(snd_nxt_);
    events_ |= kTimedOut;
    return;
  }
  ++keepalive_probes_;
  probe_ = Probe::kKeepalive;
  timers_.set(Timer::kKeepalive, now + keepalive_time(knobs.interval_s));
}

}  // namespace snp::tcp
