// What leaves, and in which order: reset, retransmissions, new data and FIN, probes, a bare ACK.
// RFC 9293 3.8.6.2.1 (silly window), 3.7.4 (Nagle), RFC 5681 3.1, RFC 6675 5.
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {

std::optional<SegmentPlan> Connection::poll_segment(Instant now) noexcept {
  if (is_reset_pending_) return make_reset(now);
  if (state_ == TcpState::kClosed || leaves_to_host()) return std::nullopt;
  if (is_earlier_ack_due_) return make_earlier_ack(now);
  if (is_frozen_) {
    if (!ack_now_) return std::nullopt;
    return make_ack(snd_nxt_, now);
  }
  if (board_.lost_bytes() != 0 && !(sends_new_first_ && unsent() != 0))
    if (auto plan = poll_retransmission(now)) return plan;
  if (unsent() != 0 || is_fin_due())
    if (auto plan = poll_new_data(now)) return plan;
  if (unsent() == 0 && board_.outstanding() != 0 && board_.lost_bytes() == 0 && pipe() < cc_.cwnd)
    rate_.note_app_limited(pipe());
  if (probe_ != Probe::kNone)
    if (auto plan = poll_probe(now)) return plan;
  if (ack_now_) return make_ack(snd_nxt_, now);
  return std::nullopt;
}

std::uint32_t Connection::unsent() const noexcept {
  if (is_fin_sent_) return 0;
  return static_cast<std::uint32_t>(streams_.tx_range.length()) - (snd_nxt_ - snd_una_);
}

bool Connection::is_fin_due() const noexcept {
  return is_fin_queued_ && !is_fin_sent_ && unsent() == 0;
}

// Of a segment that ends where everything sent so far ends, the second time, too: the reader at the
// other end waits for the push (RFC 9293 3.9.1.2 MUST-61).
std::uint8_t Connection::flags_of_end(std::uint32_t payload) const noexcept {
  const std::uint8_t push = payload != 0 && unsent() == 0 ? TcpFlags::kPsh : 0;
  return is_fin_sent_ ? push | TcpFlags::kFin : push;
}

std::uint32_t Connection::effective_mss() const noexcept {
  const std::uint8_t blocks = sack_blocks_due();
  return blocks == 0 ? snd_mss_ : snd_mss_ - (4 + 8u * blocks);
}

// The user's limit (SO_MAX_PACING_RATE) bounds what the algorithm wants.
std::uint64_t Connection::pacing_rate() const noexcept {
  const std::uint64_t limit = cached_.max_pacing_rate;
  const bool is_short = rtt_.min_rtt_us() != 0 && rtt_.min_rtt_us() < kLeastPacedRttUs;
  if (cc_.pacing_rate == 0 || is_short) return limit;
  return limit == 0 ? cc_.pacing_rate : std::min(limit, cc_.pacing_rate);
}

std::uint32_t Connection::most_at_once(std::uint32_t mss) const noexcept {
  const std::uint32_t most = std::max(max_segment_payload_, mss);
  const std::uint64_t rate = pacing_rate();
  if (rate == 0) return most;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(
      most, std::max<std::uint64_t>(rate / (1'000'000 / kPacedBurstUs), 2 * mss)));
}

// `bytes` leave now. Each takes its time; up to kPacingBurst of that may be owed before the next
// must wait, and kPacingCredit that nobody used, or that the timer came late, is not lost.
void Connection::pace(std::uint32_t bytes, Instant now) noexcept {
  constexpr Duration kPacingCredit = 2 * kPacingBurst;
  const std::uint64_t rate = pacing_rate();
  if (rate == 0) return;
  const std::uint64_t takes_ns = std::uint64_t{bytes} * 1'000'000'000 / rate;
  const auto most = static_cast<std::uint64_t>(kLongestPause / Duration(1));
  pacing_at_ = std::max(pacing_at_, now - kPacingCredit) + Duration(std::min(takes_ns, most));
  if (pacing_at_ > now + kPacingBurst) timers_.set(Timer::kPacing, pacing_at_);
}

std::optional<SegmentPlan> Connection::poll_retransmission(Instant now) noexcept {
  SeqNum from, to;
  if (timers_.is_running(Timer::kPacing)) return std::nullopt;
  if (!board_.first_lost(from, to)) return std::nullopt;
  const std::uint32_t mss = effective_mss();
  const std::uint32_t in_flight = pipe();
  std::uint32_t room = cc_.cwnd > in_flight ? cc_.cwnd - in_flight : 0;
  // RFC 5681 3.2 step 3: the first one goes whatever the window; and nothing in flight means that
  // no ACK will ever open it.
  if (is_first_of_recovery_ || in_flight == 0) room = std::max(room, mss);
  std::uint32_t length = to - from;
  if (room < std::min(length, mss)) return std::nullopt;
  // The peer may have shrunk its window (RFC 9293 3.8.6): only the first segment tries it.
  const SeqNum edge = snd_una_ + snd_wnd_;
  if (from + length > edge) {
    if (from == snd_una_)
      length = std::min(length, std::max(mss, snd_wnd_ / mss * mss));
    else if (from < edge)
      length = edge - from;
    else
      return std::nullopt;
  }
  if (length > mss) {
    const std::uint32_t most = std::min(room, most_at_once(mss));
    if (length > most) length = most - most % mss;
  }

  const SeqNum end = from + length;
  const bool with_fin = is_fin_sent_ && end == snd_nxt_;
  SegmentPlan plan = make_plan(from, with_fin ? length - 1 : length, mss, now);
  if (end == snd_nxt_) plan.flags |= flags_of_end(plan.payload_len);
  plan.is_retransmission = true;
  board_.on_retransmitted(from, end, us(now));
  if (recovery_ == Recovery::kTimeout)
    rate_.on_sent(end, in_flight == 0, us(now), rtt_.srtt_us() / 8, pipe(), board_.total_lost());
  last_sent_ = now;
  prr_out_ += length;
  note_resent(from, end);
  pace(length, now);
  ++total_retransmits_;
  bytes_resent_ += length;
  is_first_of_recovery_ = false;
  if (from == snd_una_ || !timers_.is_running(Timer::kRetransmission)) arm_retransmission(now);
  return plan;
}

// RFC 5681 4.1, as Linux does it: after a pause longer than the RTO the window is halved for each.
void Connection::restart_after_idle(Instant now) noexcept {
  const Duration rto = rtt_.rto(0);
  Duration idle = now - last_sent_;
  if (idle <= rto) return;
  max_in_flight_ = 0;
  was_cwnd_limited_ = false;
  cc_algorithm_->on_idle(cc_);
  if (cc_algorithm_->owns_window) return;
  const std::uint32_t restart = std::min(cc_.cwnd, 10 * snd_mss_);
  cc_.ssthresh = std::max(cc_.ssthresh, cc_.cwnd - cc_.cwnd / 4);
  for (; idle > rto && cc_.cwnd > restart; idle -= rto)
    cc_.cwnd /= 2;
  cc_.cwnd = std::max(cc_.cwnd, restart);
}

// Nagle with Minshall's change, as Linux: a small segment waits while another small one is out.
bool Connection::may_send_small(bool is_last) const noexcept {
  if (is_push_forced_ || (is_last && is_fin_queued_)) return true;
  if (cached_.cork) return false;
  if (cached_.no_delay) return true;
  return small_end_ <= snd_una_;
}

// What is worth waiting for: about a millisecond's worth at twice the present rate, as Linux's
// tcp_tso_autosize; on a short path, where the bursts of a round trip follow each other closely,
// all that the device takes. Longer bursts at a low rate only fill the path's queues.
std::uint32_t Connection::burst_size(std::uint32_t mss) const noexcept {
  const std::uint32_t most = most_at_once(mss) - most_at_once(mss) % mss;
  if (rtt_.srtt_us() == 0 || most < 2 * mss) return most;
  const std::uint64_t per_ms = 2000ull * cc_.cwnd / rtt_.srtt_us();
  const std::uint64_t bytes = per_ms + (most >> std::min(rtt_.min_rtt_us() / 512, 31u));
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(bytes, 2 * mss, most));
}

// A burst for the device's segmentation is worth waiting for, while enough is in flight to bring
// ACKs without delay (as Linux's tcp_tso_should_defer).
bool Connection::defers_burst(std::uint32_t room, std::uint32_t unsent_bytes,
                              std::uint32_t mss) const noexcept {
  const std::uint32_t burst = burst_size(mss);
  if (burst <= mss || room >= unsent_bytes) return false;
  if (recovery_ != Recovery::kOpen || board_.in_flight() < 4 * mss) return false;
  return room < std::min(burst, std::min(cc_.cwnd, snd_wnd_) / 3);
}

// How much new data may leave now in one plan. With nothing in flight only the peer's window and
// the rules for small segments hold any back.
std::uint32_t Connection::sendable(std::uint32_t mss) noexcept {
  const std::uint32_t queued = unsent();
  const std::uint32_t in_flight = pipe();
  std::uint32_t room = cc_.cwnd > in_flight ? cc_.cwnd - in_flight : 0;
  if (in_flight == 0) room = std::max(room, mss);
  if (room < std::min(mss, queued)) {
    was_cwnd_limited_ = true;
    return 0;
  }
  const SeqNum edge = snd_una_ + snd_wnd_;
  const std::uint32_t window = edge > snd_nxt_ ? edge - snd_nxt_ : 0;
  const std::uint32_t usable = std::min(queued, window);
  if (usable >= mss) {
    std::uint32_t length = std::min({usable, room, most_at_once(mss)});
    if (length < queued && room < usable) was_cwnd_limited_ = true;
    if (defers_burst(std::min(room, usable), queued, mss)) return 0;
    const std::uint32_t tail = length % mss;
    if (tail != 0 && (length != queued || (length > mss && !may_send_small(true)))) length -= tail;
    return length;
  }
  // RFC 9293 3.8.6.2.1: less than a segment.
  if (usable == 0) return 0;
  const bool is_all = usable == queued;
  const bool may = is_all ? may_send_small(true) : usable >= max_snd_wnd_ / 2 || is_push_forced_;
  return may ? usable : 0;
}

std::optional<SegmentPlan> Connection::poll_new_data(Instant now) noexcept {
  const std::uint32_t mss = effective_mss();
  std::uint32_t length = 0;
  if (unsent() != 0) {
    if (timers_.is_running(Timer::kPacing)) return std::nullopt;
    if (board_.outstanding() == 0) restart_after_idle(now);
    if (const std::uint32_t size = mtu_probe_due(now); size != 0) {
      const std::uint32_t in_flight = pipe();
      if (in_flight != 0 && cc_.cwnd < in_flight + size) return std::nullopt;  // ACKs make room
      return make_mtu_probe(size, now);
    }
    length = sendable(mss);
    if (length == 0) {
      if (board_.outstanding() == 0) arm_persist(now);
      return std::nullopt;
    }
  }
  const bool with_fin = is_fin_queued_ && length == unsent();
  const bool is_end = length == unsent();
  SegmentPlan plan = make_plan(snd_nxt_, length, mss, now);
  if (is_end && length != 0) plan.flags |= TcpFlags::kPsh;
  if (with_fin) plan.flags |= TcpFlags::kFin;
  if (length % mss != 0) small_end_ = snd_nxt_ + length;
  on_data_sent(plan, now);
  if (with_fin) enter_fin_sent();
  return plan;
}

// Bookkeeping of new sequence numbers.
void Connection::on_data_sent(SegmentPlan& plan, Instant now) noexcept {
  const std::uint32_t length = plan.payload_len + ((plan.flags & TcpFlags::kFin) != 0 ? 1 : 0);
  const bool was_idle = board_.outstanding() == 0;
  if (constant_.ecn && plan.payload_len != 0) {
    plan.is_ect = true;
    if (is_cwr_due_) plan.flags |= TcpFlags::kCwr;
    is_cwr_due_ = false;
  }
  snd_nxt_ += length;
  board_.on_sent(snd_nxt_, us(now));
  rate_.on_sent(snd_nxt_, was_idle, us(now), rtt_.srtt_us() / 8, board_.in_flight(),
                board_.total_lost());
  pace(length, now);
  prr_out_ += length;
  const std::uint32_t in_flight = board_.in_flight();
  if (snd_una_ >= limited_end_ || in_flight > max_in_flight_) {  // a new round
    if (snd_una_ >= limited_end_) was_cwnd_limited_ = false;
    max_in_flight_ = in_flight;
    limited_end_ = snd_nxt_;
  }
  last_sent_ = now;
  is_push_forced_ = false;
  is_persisting_ = false;
  if (was_idle) {
    last_progress_ = now;
    rack_.is_set = false;
    arm_retransmission(now);
  } else {
    set_retransmission_timer(now);
  }
}

void Connection::enter_fin_sent() noexcept {
  is_fin_sent_ = true;
  set_state(state_ == TcpState::kEstablished ? TcpState::kFinWait1 : TcpState::kLastAck);
}

std::optional<SegmentPlan> Connection::poll_probe(Instant now) noexcept {
  const Probe probe = probe_;
  probe_ = Probe::kNone;
  const std::uint32_t mss = effective_mss();
  if (probe == Probe::kTailNew && unsent() != 0) {
    const SeqNum edge = snd_una_ + snd_wnd_;
    const std::uint32_t window = edge > snd_nxt_ ? edge - snd_nxt_ : 0;
    const std::uint32_t length = std::min({unsent(), window, mss});
    if (length != 0) {
      SegmentPlan plan = make_plan(snd_nxt_, length, mss, now);
      on_data_sent(plan, now);
      tail_probe_end_ = snd_nxt_;
      return plan;
    }
  }
  if (probe == Probe::kTailNew || probe == Probe::kTailAgain) {
    if (board_.outstanding() == 0) return std::nullopt;
    const std::uint32_t length = std::min(board_.outstanding(), mss);
    const SeqNum from = snd_nxt_ - length;
    SegmentPlan plan = make_plan(from, is_fin_sent_ ? length - 1 : length, mss, now);
    plan.flags |= flags_of_end(plan.payload_len);
    plan.is_retransmission = true;
    board_.on_retransmitted(from, snd_nxt_, us(now));
    resent_unreported_ += length;
    is_tail_probe_again_ = true;
    ++total_retransmits_;
    bytes_resent_ += length;
    return plan;
  }
  return make_ack(snd_una_ - 1, now);  // an old number: the peer must answer
}

SegmentPlan Connection::make_plan(SeqNum seq, std::uint32_t length, std::uint32_t mss,
                                  Instant now) noexcept {
  SegmentPlan plan;
  plan.seq = seq;
  plan.payload_pos = position_of(seq);
  plan.payload_len = length;
  plan.gso_size = mss;
  // Data that goes out while the peer's is fresh: from now on our answers carry the ACKs.
  if (length != 0 && unacked_bytes_ != 0 && now - last_data_received_ < max_ack_delay_) {
    is_interactive_ = true;
    quick_acks_ = 0;
  }
  const std::uint32_t segments = length <= mss ? 1 : (length + mss - 1) / mss;
  segments_out_ += segments;
  if (length != 0) data_segments_out_ += segments;
  plan.ack = rcv_nxt_;
  plan.flags = TcpFlags::kAck;
  if (is_echo_due_) plan.flags |= TcpFlags::kEce;
  plan.wnd = select_window();
  fill_options(plan.options, now);
  on_ack_sent();
  return plan;
}

SegmentPlan Connection::make_ack(SeqNum seq, Instant now) noexcept {
  // RFC 9293 3.8.6: a peer that shrank its window must still find the number acceptable. Less than
  // a unit of the window field is no shrinking (RFC 7323 2.4).
  const SeqNum edge = snd_una_ + snd_wnd_;
  const bool is_beyond = seq >= edge + (1u << std::max(snd_wind_shift_, rcv_wind_shift_));
  SegmentPlan plan = make_plan(is_beyond ? edge : seq, 0, snd_mss_, now);
  plan.payload_pos = streams_.tx_range.begin;
  return plan;
}

// RFC 8257 3.2: it speaks for what came before the marks changed, with the bit of that time.
SegmentPlan Connection::make_earlier_ack(Instant now) noexcept {
  is_earlier_ack_due_ = false;
  const std::uint32_t since = rcv_nxt_ - seq_min(earlier_ack_, rcv_nxt_);
  SegmentPlan plan = make_ack(snd_nxt_, now);
  ack_now_ = true;  // the rest follows
  plan.ack = rcv_nxt_ - since;
  plan.flags ^= TcpFlags::kEce;
  plan.wnd = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(plan.wnd + (since >> rcv_wind_shift_), 0xffff));
  return plan;
}

SegmentPlan Connection::make_reset(Instant now) noexcept {
  is_reset_pending_ = false;
  SegmentPlan plan = make_ack(reset_seq_, now);
  plan.seq = reset_seq_;
  plan.flags = TcpFlags::kRst | TcpFlags::kAck;
  return plan;
}

}  // namespace snp::tcp
