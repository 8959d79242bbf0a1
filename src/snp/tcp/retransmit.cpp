// Loss detection and recovery: RFC 6675 and 8985 with SACK, RFC 6582 without; RFC 6937 for how much
// may be sent meanwhile. Mistakes are taken back in undo.cpp.
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kDupThresh = 3;
constexpr std::uint32_t kInitialSegments = 10;  // RFC 6928
constexpr std::uint8_t kMaxBackoff = 16;
constexpr std::uint8_t kReorderingMemory = 16;  // RFC 8985 6.2 step 4: recoveries

constexpr bool is_before(std::uint32_t a_us, std::uint32_t b_us) noexcept {
  return static_cast<std::int32_t>(a_us - b_us) < 0;
}

}  // namespace

// RFC 6675 4. Without SACK each duplicate ACK stands for one segment that has left.
std::uint32_t Connection::pipe() const noexcept {
  const std::uint32_t in_flight = board_.in_flight();
  return in_flight - std::min(in_flight, duplicate_bytes_);
}

void Connection::process_recovery(const Segment& seg, Delivery& delivery, bool advanced,
                                  bool window_changed, Instant now) noexcept {
  if (constant_.ecn && seg.has(TcpFlags::kEce)) bytes_marked_ += delivery.bytes;
  if (has_tail_probe_) end_tail_probe(seg, delivery, advanced, now);
  if (!undo_spurious(seg, delivery, advanced) && recovery_ != Recovery::kOpen && advanced &&
      snd_una_ >= recover_)
    leave_recovery();

  bool is_loss_found = false;
  std::uint32_t delivered = delivery.bytes;
  if (sack_) {
    detect_losses(seg, delivery, now);
    if (advanced && board_.is_first_sacked()) forget_sacks(seg);
    is_loss_found = board_.lost_bytes() != 0;
  } else {
    const bool is_duplicate = !advanced && seg.payload.empty() && !window_changed &&
                              !seg.has(TcpFlags::kFin) && board_.outstanding() != 0;
    // RFC 6937 3: without SACK a duplicate ACK delivers a segment, and what is acknowledged later
    // has been counted by them.
    const std::uint32_t counted = duplicate_bytes_;
    is_loss_found = count_duplicate_ack(is_duplicate, advanced, delivery);
    delivered += duplicate_bytes_ - std::min(counted, delivered + duplicate_bytes_);
  }
  const bool is_probe_lost = is_loss_found && mtu_probe_ != 0 && is_mtu_probe_lost(now);
  if (is_loss_found && recovery_ != Recovery::kFast && recovery_ != Recovery::kTimeout) {
    enter_recovery(Recovery::kFast, now);
    keeps_window_ = is_probe_lost;  // RFC 4821 7.6.2: it was too large; that is no congestion
    if (keeps_window_) cc_ = undo_cc_;
    kept_at_lost_ = board_.total_lost();
  } else if (keeps_window_ && board_.total_lost() != kept_at_lost_) {  // now more is lost
    keeps_window_ = false;
    cc_algorithm_->on_congestion(cc_, Congestion::kLoss, used_window(), now);
  }
  const bool owns_window = cc_algorithm_->owns_window;
  const bool is_marked = constant_.ecn && seg.has(TcpFlags::kEce) && advanced;
  if (is_marked && recovery_ == Recovery::kOpen && !owns_window)
    enter_recovery(Recovery::kReduction, now);

  const bool is_reducing = recovery_ == Recovery::kFast || recovery_ == Recovery::kReduction;
  // Where order tells little, a SACK is as good an ACK (as Linux's tcp_may_raise_cwnd).
  tell_algorithm(seg, delivery.bytes, (advanced || has_reordering_) && !is_reducing, now);
  if (is_reducing && !owns_window && !keeps_window_) reduce_proportionally(delivered);
}

// RFC 9438 4.6: a reduction starts from what was used. What waits here only until the device can
// take more at once was used, too.
std::uint32_t Connection::used_window() const noexcept {
  return was_cwnd_limited_ ? std::max(cc_.cwnd, flight_size_) : flight_size_;
}

// RFC 8985 6.2, steps 1 to 3.
void Connection::detect_losses(const Segment& seg, const Delivery& delivery, Instant now) noexcept {
  if (delivery.saw_reordering) {
    has_reordering_ = true;
    ++reorderings_;
  }
  if (delivery.saw_duplicate && snd_una_ > reo_round_end_) {  // step 4, once per round trip
    reo_round_end_ = snd_nxt_;
    reo_wnd_mult_ = static_cast<std::uint8_t>(std::min(reo_wnd_mult_ + 1, 64));
    reo_wnd_persist_ = kReorderingMemory;
  }
  const NewestDelivered& newest = delivery.newest;
  if (newest.is_set) {
    const std::uint32_t rtt_us = us(now) - newest.sent_us;
    // Of a resent segment it is not known which copy arrived: too early an answer is for the first.
    // What an earlier owner sent stands as such on the board, with the time of the hand-over, but
    // nobody has sent it twice yet.
    const bool is_ambiguous =
        newest.is_retransmitted && total_retransmits_ != 0 &&
        (rtt_us < rtt_.min_rtt_us() ||
         (timestamps_ && seg.options.has_timestamps &&
          static_cast<std::int32_t>(seg.options.ts_ecr - (ts_now(now) - rtt_us / 1000 - 1)) < 0));
    const bool is_newer = !rack_.is_set || is_before(rack_.sent_us, newest.sent_us) ||
                          (rack_.sent_us == newest.sent_us && rack_.end < newest.end);
    if (!is_ambiguous && is_newer) {
      rack_ = newest;
      rack_rtt_us_ = rtt_us;
    }
  }
  if (board_.sacked_bytes() != 0 || recovery_ != Recovery::kOpen)
    mark_losses(now);
  else
    timers_.stop(Timer::kReordering);
}

// RFC 8985 6.2, steps 4 and 5.
void Connection::mark_losses(Instant now) noexcept {
  timers_.stop(Timer::kReordering);
  if (!rack_.is_set) return;
  std::uint32_t reo_wnd_us = 0;
  const bool is_certain = recovery_ == Recovery::kFast || recovery_ == Recovery::kTimeout ||
                          board_.sacked_bytes() >= kDupThresh * snd_mss_;
  if (has_reordering_ || !is_certain)
    reo_wnd_us = std::min(rtt_.min_rtt_us() / 4 * reo_wnd_mult_, rtt_.srtt_us());
  const std::uint32_t wait_us = rack_rtt_us_ + reo_wnd_us;
  const auto losses = board_.mark_lost_before(rack_, us(now) - wait_us);
  if (losses.must_wait)
    timers_.set(Timer::kReordering, now + microseconds(losses.earliest_us + wait_us - us(now)));
}

// RFC 6582 3.2, for peers without SACK. True: a segment is lost.
bool Connection::count_duplicate_ack(bool is_duplicate, bool advanced,
                                     const Delivery& delivery) noexcept {
  if (is_duplicate) {
    ++duplicate_acks_;
    duplicate_bytes_ = std::min(duplicate_bytes_ + snd_mss_, board_.in_flight());
    // Step 2: not for what a timeout, or an earlier recovery, has sent again already. A reduction
    // for a mark repairs nothing, and what is lost meanwhile must not wait for the timeout.
    const bool is_repaired =
        recovery_ == Recovery::kOpen ? snd_una_ <= recover_ : recovery_ != Recovery::kReduction;
    if (duplicate_acks_ < kDupThresh || is_repaired) return false;
    board_.mark_first_lost(snd_mss_);
    return true;
  }
  if (!advanced) return false;
  if (recovery_ == Recovery::kFast) {  // a partial ACK: the next segment is lost too
    const std::uint32_t beyond = delivery.bytes > snd_mss_ ? delivery.bytes - snd_mss_ : 0;
    duplicate_bytes_ -= std::min(duplicate_bytes_, beyond);
    board_.mark_first_lost(snd_mss_);
    return true;
  }
  duplicate_acks_ = duplicate_bytes_ = 0;
  return false;
}

void Connection::enter_recovery(Recovery recovery, Instant now) noexcept {
  if (recovery_ == Recovery::kOpen) {  // once per window
    remember_for_undo(now);
    cc_algorithm_->on_congestion(
        cc_, recovery == Recovery::kReduction ? Congestion::kMark : Congestion::kLoss,
        used_window(), now);
    recover_ = snd_nxt_;
    prr_delivered_ = prr_out_ = 0;
    recover_fs_ = std::max(flight_size_, 1u);
    is_cwr_due_ = constant_.ecn;
  }
  if (recovery_ == Recovery::kReduction) {  // a loss after a mark: only the loss can be taken back
    remember_for_undo(now);
    undo_cc_.cwnd = cc_.ssthresh;
  }
  can_undo_ = recovery == Recovery::kFast;
  undo_ts_ = ts_now(now);
  is_first_of_recovery_ = recovery == Recovery::kFast;
  recovery_ = recovery;
  has_tail_probe_ = false;
  may_predict_ = false;
  arm_retransmission(now);
}

// RFC 6582 3.2 step 3, full acknowledgment: when the flight has shrunk below ssthresh, slow start
// brings it back; the difference in one burst would overflow the queue again.
void Connection::leave_recovery() noexcept {
  if (recovery_ != Recovery::kTimeout && !cc_algorithm_->owns_window && !keeps_window_) {
    const std::uint32_t flight = std::max(board_.outstanding(), kInitialSegments * snd_mss_);
    cc_.cwnd = std::max(std::min(cc_.ssthresh, flight + snd_mss_), 2 * snd_mss_);
  }
  // RFC 8985 6.2 step 4: so many recoveries from a loss without a DSACK.
  const bool was_loss = recovery_ != Recovery::kReduction;
  if (was_loss && reo_wnd_persist_ != 0 && --reo_wnd_persist_ == 0) reo_wnd_mult_ = 1;
  recovery_ = Recovery::kOpen;
  can_undo_ = is_frto_ = sends_new_first_ = keeps_window_ = false;
  duplicate_acks_ = duplicate_bytes_ = 0;
  was_cwnd_limited_ = false;
}

// The path's MTU fell (RFC 1191 6.5, as Linux's tcp_simple_retransmit): what is under way will not
// arrive. That is no congestion: the window stays.
void Connection::repeat_in_smaller_segments(Instant now) noexcept {
  if (board_.outstanding() == 0 || is_frozen_) return;
  board_.mark_all_lost();
  rate_.forget();
  duplicate_acks_ = duplicate_bytes_ = 0;
  if (recovery_ != Recovery::kTimeout) cc_.ssthresh = std::min(cc_.ssthresh, cc_.cwnd);
  recovery_ = Recovery::kTimeout;
  recover_ = snd_nxt_;
  can_undo_ = has_tail_probe_ = is_first_of_recovery_ = may_predict_ = false;
  is_frto_ = sends_new_first_ = false;
  arm_retransmission(now);
}

// RFC 6937 3.
void Connection::reduce_proportionally(std::uint32_t delivered) noexcept {
  if (delivered == 0 && !is_first_of_recovery_) return;
  prr_delivered_ += delivered;
  const std::uint32_t in_flight = pipe();
  std::uint32_t budget = 0;
  if (in_flight > cc_.ssthresh) {
    const auto allowed = static_cast<std::uint32_t>(
        (static_cast<std::uint64_t>(prr_delivered_) * cc_.ssthresh + recover_fs_ - 1) /
        recover_fs_);
    budget = allowed > prr_out_ ? allowed - prr_out_ : 0;
  } else {
    const std::uint32_t unsaid = prr_delivered_ > prr_out_ ? prr_delivered_ - prr_out_ : 0;
    budget = std::min(cc_.ssthresh - in_flight, std::max(unsaid, delivered) + snd_mss_);
  }
  if (is_first_of_recovery_) budget = std::max(budget, snd_mss_);
  cc_.cwnd = in_flight + budget;
}

// RFC 8985 7.4: did the probe repair a loss that nobody else will notice?
void Connection::end_tail_probe(const Segment& seg, const Delivery& delivery, bool advanced,
                                Instant now) noexcept {
  if (seg.seg_ack < tail_probe_end_) return;
  const bool is_explained = !is_tail_probe_again_ || delivery.saw_duplicate;
  // Both copies have arrived; not every peer says so with a DSACK.
  const bool is_repeated = !advanced && seg.payload.empty() && seg.options.sack_count == 0;
  const bool is_past = advanced && seg.seg_ack > tail_probe_end_;
  if (!is_explained && !is_repeated && !is_past) return;
  has_tail_probe_ = false;
  const bool has_repaired = is_past && !is_explained;
  if (!has_repaired || recovery_ != Recovery::kOpen) return;
  cc_algorithm_->on_congestion(cc_, Congestion::kLoss, used_window(), now);
  if (!cc_algorithm_->owns_window) cc_.cwnd = std::min(cc_.cwnd, cc_.ssthresh);
}

// RFC 8985 7.2.
Duration Connection::probe_timeout() const noexcept {
  if (rtt_.srtt_us() == 0) return rtt_.rto(0);
  // A lone segment may wait for the peer's delayed ACK: Linux's is 40 ms as a rule.
  const Duration peer = board_.outstanding() <= snd_mss_ ? milliseconds(45) : milliseconds(2);
  return microseconds(2ull * rtt_.srtt_us()) + peer;
}

void Connection::arm_retransmission(Instant now) noexcept {
  if (board_.outstanding() == 0) {
    retransmission_deadline_ = kNever;
    if (!is_persisting_) timers_.stop(Timer::kRetransmission);
    return;
  }
  is_persisting_ = false;
  retransmission_deadline_ = now + rtt_.rto(rto_backoff_);
  if (cached_.user_timeout_ms != 0)  // RFC 5482: not later than the user's limit
    retransmission_deadline_ = std::min(
        retransmission_deadline_,
        std::max(last_progress_ + milliseconds(cached_.user_timeout_ms), now + milliseconds(1)));
  set_retransmission_timer(now);
}

// The loss probe comes before the timeout when there is one to be sent.
void Connection::set_retransmission_timer(Instant since) noexcept {
  const bool may_probe = sack_ && recovery_ == Recovery::kOpen && !has_tail_probe_ &&
                         has_rtt_since_probe_ && retransmits_ == 0 && board_.sacked_bytes() == 0;
  timers_.set(Timer::kRetransmission,
              may_probe ? std::min(since + probe_timeout(), retransmission_deadline_)
                        : retransmission_deadline_);
}

void Connection::arm_persist(Instant now) noexcept {
  if (is_persisting_) return;
  is_persisting_ = true;
  timers_.set(Timer::kRetransmission, now + rtt_.rto(persist_backoff_));
}

void Connection::on_retransmission_timer(Instant now) noexcept {
  timers_.stop(Timer::kRetransmission);
  if (is_persisting_) {
    on_persist_timer(now);
  } else if (board_.outstanding() == 0) {
    return;
  } else if (now < retransmission_deadline_) {
    on_tail_probe_timer(now);
  } else {
    on_retransmission_timeout(now);
  }
}

// RFC 8985 7.3.
void Connection::on_tail_probe_timer(Instant now) noexcept {
  has_tail_probe_ = true;
  has_rtt_since_probe_ = false;
  is_tail_probe_again_ = false;
  may_predict_ = false;
  tail_probe_end_ = snd_nxt_;
  probe_ = unsent() != 0 ? Probe::kTailNew : Probe::kTailAgain;
  retransmission_deadline_ = now + rtt_.rto(rto_backoff_);
  timers_.set(Timer::kRetransmission, retransmission_deadline_);
}

// RFC 6298 5.4 to 5.6, RFC 5681 3.1, RFC 8985 6.3.
void Connection::on_retransmission_timeout(Instant now) noexcept {
  // RFC 9293 3.8.6 SHLD-17: a peer that took its window back, and answers, is not given up.
  const bool is_answered_probe = snd_wnd_ == 0 && cached_.user_timeout_ms == 0 &&
                                 !is_closed_by_application_ &&
                                 now - last_received_ < rtt_.rto(rto_backoff_);
  if (retransmits_ != 0xff) ++retransmits_;
  if (rto_backoff_ != 0xff) ++rto_backoff_;
  if (!is_answered_probe && gives_up(retransmits_, now)) return;
  if (!is_answered_probe) suspect_black_hole(now);
  if (recovery_ != Recovery::kTimeout || snd_una_ >= recover_) {
    if (recovery_ == Recovery::kOpen) remember_for_undo(now);
    // As Linux's tcp_enter_loss: what fast recovery has answered already is the same congestion.
    // Its window is what PRR lets go at the moment, no measure of what the path carries.
    const bool is_reduced = recovery_ == Recovery::kFast && snd_una_ < recover_ && !keeps_window_;
    if (!is_reduced || cc_algorithm_->owns_window)
      cc_algorithm_->on_congestion(cc_, Congestion::kTimeout, board_.outstanding(), now);
    undo_ts_ = ts_now(now);
    can_undo_ = true;
    is_cwr_due_ = constant_.ecn;
  }
  // RFC 5682 2.1 step 1, and as Linux again when the repetition times out, too. A peer that has
  // thrown its queue away proves nothing by what it acknowledges.
  is_frto_ = !board_.is_first_sacked() && (recovery_ == Recovery::kOpen ||
                                           recovery_ == Recovery::kReduction || retransmits_ > 1);
  sends_new_first_ = false;
  if (board_.is_first_sacked()) board_.lose_sacked();
  board_.mark_all_lost();
  rate_.forget();
  duplicate_acks_ = duplicate_bytes_ = 0;
  recovery_ = Recovery::kTimeout;
  keeps_window_ = false;
  recover_ = snd_nxt_;
  cc_.cwnd = loss_window();
  has_tail_probe_ = is_first_of_recovery_ = may_predict_ = false;
  timers_.stop(Timer::kReordering);
  // As Linux's tcp_retransmit_timer: what repeats after a timeout owes nothing to the pace of what
  // was lost. Else a pause that is longer than the timeout lets nothing leave but counts attempts.
  timers_.stop(Timer::kPacing);
  pacing_at_ = now;
  arm_retransmission(now);
}

// RFC 9293 3.8.6.1, and 3.8.6.2.1: the override timer of the silly window rule.
void Connection::on_persist_timer(Instant now) noexcept {
  is_persisting_ = false;
  if (unsent() == 0 || board_.outstanding() != 0) return;
  if (snd_wnd_ != 0) {
    is_push_forced_ = true;
    return;
  }
  if (gives_up(persist_probes_, now)) return;
  // A peer that answers but never opens its window may keep an application waiting, not an orphan
  // (as Linux's tcp_probe_timer).
  if (is_closed_by_application_ && rtt_.rto(persist_backoff_) >= rtt_.rto(kMaxBackoff)) {
    become_closed(kTimedOut);
    return;
  }
  ++persist_probes_;
  if (persist_backoff_ < kMaxBackoff) ++persist_backoff_;
  probe_ = Probe::kWindow;
  arm_persist(now);
}

}  // namespace snp::tcp
