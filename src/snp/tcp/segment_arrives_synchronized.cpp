// A segment arrives in a synchronized state: RFC 9293 3.10.7.4, with RFC 7323 5 (PAWS) and RFC
// 5961.
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

// Linux's tcp_invalid_ratelimit: what could be one half of an ACK loop is answered twice a second.
constexpr Duration kChallengeInterval = milliseconds(500);
constexpr Duration kSynChallengeInterval = seconds(3);  // reference 4.11
constexpr Duration kDoubtTime = seconds(5 * 60);        // reference 4.11, until the first probe
// RFC 7323 5.5: a timestamp older than this has no meaning any more.
constexpr Duration kPawsHorizon = seconds(24 * 24 * 3600);

constexpr bool is_older(std::uint32_t a, std::uint32_t b) noexcept {
  return static_cast<std::int32_t>(a - b) < 0;
}

}  // namespace

bool Connection::on_segment(const Segment& seg, Instant now) noexcept {
  if (state_ == TcpState::kClosed || is_frozen_) return false;
  const auto length = static_cast<std::uint32_t>(seg.payload.size());
  const std::uint32_t segments =
      seg.gso_size == 0 || length <= seg.gso_size ? 1 : (length + seg.gso_size - 1) / seg.gso_size;
  segments_in_ += segments;
  if (length != 0) data_segments_in_ += segments;
  if (is_predicted(seg)) {
    accept_predicted(seg, now);
    return true;
  }
  return segment_arrives_synchronized(seg, now);
}

void Connection::predict() noexcept {
  may_predict_ = state_ == TcpState::kEstablished && recovery_ == Recovery::kOpen &&
                 reassembly_.is_empty() && !is_fin_known_ && !is_closed_by_application_ &&
                 !has_urgent_ && !is_peer_doubted_ && !has_tail_probe_ &&
                 board_.sacked_bytes() == 0 && duplicate_acks_ == 0 && !is_echo_due_;
}

// Header prediction: in-order data, or an ACK of new data, with nothing unusual about it.
bool Connection::is_predicted(const Segment& seg) const noexcept {
  return may_predict_ && (seg.flags & ~TcpFlags::kPsh) == TcpFlags::kAck &&
         seg.seg_seq == rcv_nxt_ && !seg.is_ce && seg.options.sack_count == 0 &&
         seg.seg_ack >= snd_una_ && seg.seg_ack <= snd_nxt_ &&
         (!seg.payload.empty() || seg.seg_ack != snd_una_) &&
         // Not a difference: rcv_nxt may be past the edge by less than a unit of the window field.
         rcv_nxt_ + static_cast<std::uint32_t>(seg.payload.size()) <= rcv_adv_ &&
         seg.options.has_timestamps == timestamps_ &&
         (!timestamps_ || !is_before_ts_recent(seg.options.ts_val));
}

void Connection::accept_predicted(const Segment& seg, Instant now) noexcept {
  last_received_ = now;
  keepalive_probes_ = 0;
  if (timestamps_) update_ts_recent(seg, now);
  bool window_changed = false;
  update_send_window(seg, window_changed);
  if (seg.seg_ack != snd_una_) {
    Delivery delivery;
    advance_una(seg.seg_ack, delivery, now);
    rack_.is_set = false;  // its 32 bits of time must not grow old; recovery begins with a new one
    take_rtt(seg, delivery, true, now);
    rate_sample_ = rate_.on_delivered(delivery.bytes, snd_una_, us(now), rtt_.min_rtt_us());
    tell_algorithm(seg, delivery.bytes, true, now);
    arm_retransmission(now);
  }
  if (!seg.payload.empty()) {
    measure_peer(seg, now);
    accept_in_order(seg.payload, seg.placed, now);
  }
}

bool Connection::segment_arrives_synchronized(const Segment& seg, Instant now) noexcept {
  if (leaves_to_host()) return true;
  if (is_successor(seg)) {
    has_successor_ = true;
    events_ |= kSuccessor;
    return true;
  }
  if (!check_paws(seg, now)) return false;
  if (!check_sequence(seg, now)) return false;  // first
  if (seg.has(TcpFlags::kRst)) {                // second
    check_reset(seg, now);
    return true;
  }
  if (seg.has(TcpFlags::kSyn)) {  // fourth, as RFC 5961 4.2 wants it, at RCV.NXT, too
    challenge_syn(now);
    return false;
  }
  if (!check_ack(seg, now)) return false;  // fifth
  if (!check_urgent(seg)) return true;     // sixth
  last_received_ = now;
  keepalive_probes_ = 0;
  if (is_peer_doubted_) trust_peer(now);
  if (timestamps_ && seg.options.has_timestamps) update_ts_recent(seg, now);
  process_ack(seg, now);
  process_text(seg, now);  // seventh
  process_fin(now);        // eighth
  predict();
  return true;
}

// TS.Recent 0 is not known yet (state/connection_state.h): nothing is older than that.
bool Connection::is_before_ts_recent(std::uint32_t ts_val) const noexcept {
  return ts_recent_ != 0 && is_older(ts_val, ts_recent_);
}

// RFC 7323 5.3 R1. A reset is not subject to it.
bool Connection::check_paws(const Segment& seg, Instant now) noexcept {
  if (!timestamps_ || !seg.options.has_timestamps || seg.has(TcpFlags::kRst)) return true;
  if (!is_before_ts_recent(seg.options.ts_val)) return true;
  if (now - ts_recent_time_ > kPawsHorizon) {  // RFC 7323 5.5: it says nothing any more
    ts_recent_ = 0;
    return true;
  }
  answer_unacceptable(seg, now);
  return false;
}

// RFC 7323 4.3 (2): remember what the next ACK must echo.
void Connection::update_ts_recent(const Segment& seg, Instant now) noexcept {
  if (seg.seg_seq > last_ack_sent_ || is_before_ts_recent(seg.options.ts_val)) return;
  ts_recent_ = seg.options.ts_val;
  ts_recent_time_ = now;
}

// First: the acceptability test. Two departures, both Linux's: an ACK without data that was
// overtaken by data is still of use; and what begins exactly at the edge of the window may speak (a
// probe, a FIN) although its text is cut off.
bool Connection::check_sequence(const Segment& seg, Instant now) noexcept {
  const std::uint32_t slack = (1u << rcv_wind_shift_) - 1;
  const std::uint32_t seg_len = seg.seg_len();
  const SeqNum seg_end = seg.seg_seq + seg_len;
  const bool is_old = seg_len == 0 ? seg.seg_seq < last_ack_sent_ : seg_end <= rcv_nxt_;
  if (!is_old && seg.seg_seq <= seq_max(rcv_adv_ + slack, rcv_nxt_)) return true;
  answer_unacceptable(seg, now);
  return false;
}

void Connection::answer_unacceptable(const Segment& seg, Instant now) noexcept {
  if (seg.has(TcpFlags::kRst)) return;
  const auto length = static_cast<std::uint32_t>(seg.payload.size());
  if (seg.has(TcpFlags::kFin) && state_ == TcpState::kTimeWait && seg.seg_seq < rcv_nxt_)
    timers_.set(Timer::kEnd, now + time_wait_);  // RFC 9293 3.10.7.4, eighth, TIME-WAIT
  if (seg.seg_len() != 0 && !seg.has(TcpFlags::kSyn)) {
    // RFC 7323 5.3: R2 comes before R3, so TS.Recent stays: a repetition carries a new time, and
    // would make what it has overtaken look old. One departure: where nothing is missing, our ACK
    // got lost. The answer must echo this copy, or the peer would take the time since the first one
    // for a round trip, wait longer for the next, and lose more of our ACKs meanwhile.
    if (timestamps_ && seg.options.has_timestamps && !has_gap()) update_ts_recent(seg, now);
    if (length != 0 && seg.seg_seq < rcv_nxt_)
      note_duplicate(seg.seg_seq, seq_min(seg.seg_seq + length, rcv_nxt_));
    ack_now_ = true;
    return;
  }
  send_challenge_ack(now);
}

// Second: RFC 5961 3.2.
void Connection::check_reset(const Segment& seg, Instant now) noexcept {
  if (seg.seg_seq != rcv_nxt_) {
    // One, until the peer has shown that it is there, or that it is not.
    if (seg.seg_seq > rcv_nxt_ && !is_peer_doubted_ && send_challenge_ack(now)) doubt_peer(now);
    return;
  }
  become_closed(state_ == TcpState::kTimeWait || state_ == TcpState::kLastAck ||
                        state_ == TcpState::kClosing
                    ? 0
                    : static_cast<std::uint32_t>(kReset));
}

// RFC 9293 3.6.1, as Linux's tcp_timewait_state_process: newer than what this connection has had.
// Its peer waits for the host's answer, and TIME_WAIT may end for it.
bool Connection::is_successor(const Segment& seg) const noexcept {
  if (state_ != TcpState::kTimeWait || !seg.has(TcpFlags::kSyn) ||
      seg.has(TcpFlags::kRst | TcpFlags::kAck))
    return false;
  if (!timestamps_ || !seg.options.has_timestamps) return seg.seg_seq > rcv_nxt_;
  return !is_before_ts_recent(seg.options.ts_val) &&
         (seg.seg_seq > rcv_nxt_ || is_older(ts_recent_, seg.options.ts_val));
}

bool Connection::send_challenge_ack(Instant now) noexcept {
  if (now - last_challenge_ < kChallengeInterval) return false;
  last_challenge_ = now;
  ack_now_ = true;
  return true;
}

void Connection::challenge_syn(Instant now) noexcept {
  if (now - last_syn_challenge_ < kSynChallengeInterval || !send_challenge_ack(now)) return;
  last_syn_challenge_ = now;
  doubt_peer(now);
}

// Reference 4.11: somebody says inside the window that the connection is no more. If it was the
// peer, its answer to our challenge may be lost: it is probed in five minutes at the latest, also
// when the application has not asked for keepalive.
void Connection::doubt_peer(Instant now) noexcept {
  if (state_ == TcpState::kTimeWait) return;
  is_peer_doubted_ = true;
  may_predict_ = false;
  timers_.set(Timer::kKeepalive, std::min(timers_.at(Timer::kKeepalive), now + kDoubtTime));
}

void Connection::trust_peer(Instant now) noexcept {
  is_peer_doubted_ = false;
  arm_keepalive(now);
}

// Fifth, its beginning: RFC 5961 5.2.
bool Connection::check_ack(const Segment& seg, Instant now) noexcept {
  if (!seg.has(TcpFlags::kAck)) return false;
  if (seg.seg_ack <= snd_nxt_ && seg.seg_ack >= snd_una_ - max_snd_wnd_) return true;
  send_challenge_ack(now);
  return false;
}

// Sixth. Urgent data is the host's: nothing of this segment is taken or acknowledged
// (reference 4.4, 4.11).
bool Connection::check_urgent(const Segment& seg) noexcept {
  if (!seg.has(TcpFlags::kUrg) || is_closed_by_application_) return true;  // nobody would read it
  has_urgent_ = true;
  may_predict_ = false;
  events_ |= kUrgent;
  return false;
}

}  // namespace snp::tcp
