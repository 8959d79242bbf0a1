// Taking a recovery back for which nothing had been lost: by the echo of a first copy (Eifel, RFC
// 3522, 4015), by DSACKs for all that was sent again (RFC 3708), by ACKs for what was not (F-RTO,
// RFC 5682). What the congestion control was before comes back as a whole (RFC 9438 4.9).
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {

void Connection::remember_for_undo(Instant now) noexcept {
  undo_cc_ = cc_;
  undo_ts_ = ts_now(now);
  undo_resent_ = 0;
}

bool Connection::undo_spurious(const Segment& seg, const Delivery& delivery,
                               bool advanced) noexcept {
  // Each looks, whatever the others found: they keep books.
  const bool by_echo = delivery.saw_resent && is_echo_of_original(seg);
  const bool by_duplicates = delivery.saw_duplicate && are_all_repeats_duplicates(delivery);
  const bool by_progress = is_timeout_spurious(delivery, advanced);
  if (!by_echo && !by_duplicates && !by_progress) return false;
  undo();
  return true;
}

// RFC 3522 3.2 step 5: an echo older than our retransmission says that the first copy had arrived.
// Pre: something sent again is acknowledged by it; the echo of a late segment below says nothing of
// what this recovery has sent again.
bool Connection::is_echo_of_original(const Segment& seg) const noexcept {
  return recovery_ != Recovery::kOpen && can_undo_ && timestamps_ && seg.options.has_timestamps &&
         undo_resent_ != 0 && seg.seg_ack > undo_from_ && seg.options.ts_ecr != 0 &&
         static_cast<std::int32_t>(seg.options.ts_ecr - undo_ts_) < 0;
}

// RFC 3708: also when the recovery is over already, as long as no other has begun.
bool Connection::are_all_repeats_duplicates(const Delivery& delivery) noexcept {
  if (undo_resent_ == 0) return false;
  undo_resent_ -= std::min(undo_resent_, delivery.duplicate_bytes);
  return undo_resent_ == 0;
}

// RFC 5682 2.1 and 3.1, steps 2 and 3.
bool Connection::is_timeout_spurious(const Delivery& delivery, bool advanced) noexcept {
  if (recovery_ != Recovery::kTimeout || !is_frto_ || snd_una_ >= recover_) return false;
  // Without SACK an ACK for the repetition speaks for what lies behind it, too.
  if (delivery.saw_original && (sack_ || !delivery.saw_resent)) return true;
  if (snd_nxt_ > recover_) {
    if (!advanced) is_frto_ = sends_new_first_ = false;  // it was a loss
  } else if (advanced) {
    const bool has_window = snd_una_ + snd_wnd_ >= snd_nxt_ + snd_mss_;
    is_frto_ = sends_new_first_ = has_window && unsent() >= snd_mss_ && !is_fin_sent_;
  }
  return false;
}

void Connection::undo() noexcept {
  // It came late, and not because of us: the order of this path tells little (RFC 8985 6.2 step 3).
  if (recovery_ == Recovery::kFast) has_reordering_ = true;
  board_.unmark_lost();
  const std::uint32_t cwnd = std::max(cc_.cwnd, undo_cc_.cwnd);
  const std::uint32_t ssthresh = std::max(cc_.ssthresh, undo_cc_.ssthresh);
  // RFC 9438 4.9.2: a window that has grown past the old one keeps what it has learned since.
  if (cc_algorithm_->on_undo == nullptr && cc_.cwnd < undo_cc_.cwnd) cc_ = undo_cc_;
  cc_.cwnd = cwnd;
  cc_.ssthresh = ssthresh;
  cc_.mss = snd_mss_;
  if (cc_algorithm_->on_undo != nullptr) cc_algorithm_->on_undo(cc_, undo_cc_);
  recovery_ = Recovery::kOpen;
  can_undo_ = is_frto_ = sends_new_first_ = keeps_window_ = false;
  undo_resent_ = 0;
  duplicate_acks_ = duplicate_bytes_ = 0;
}

}  // namespace snp::tcp
