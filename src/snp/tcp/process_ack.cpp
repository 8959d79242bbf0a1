// The ACK field (RFC 9293 3.10.7.4, fifth): what it acknowledges, the send window, round-trip time.
#include <algorithm>
#include <span>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

std::span<const SackBlock> sack_blocks(const Segment& seg) noexcept {
  const auto& blocks = seg.options.sack;
  return std::span(blocks).first(std::min<std::size_t>(seg.options.sack_count, blocks.size()));
}

}  // namespace

void Connection::process_ack(const Segment& seg, Instant now) noexcept {
  if (seg.seg_ack < snd_una_) return;  // a duplicate of an old one
  const bool advanced = seg.seg_ack > snd_una_;
  flight_size_ = board_.outstanding();
  bool window_changed = false;
  update_send_window(seg, window_changed);
  persist_probes_ = 0;  // the peer lives (RFC 9293 3.8.6.1 MUST-37)

  Delivery delivery;
  delivery.recover = recover_;
  delivery.highest = board_.highest_delivered();
  if (sack_) process_sack(seg, delivery);
  if (advanced) advance_una(seg.seg_ack, delivery, now);
  const bool is_news = advanced || delivery.bytes != 0 || delivery.saw_duplicate || has_tail_probe_;
  if (!is_news && board_.outstanding() == 0) return;
  take_rtt(seg, delivery, advanced, now);
  rate_sample_ = {};
  if (delivery.bytes != 0)
    rate_sample_ =
        rate_.on_delivered(delivery.bytes, board_.highest_delivered(), us(now), rtt_.min_rtt_us());
  process_recovery(seg, delivery, advanced, window_changed, now);
  if (advanced) {
    arm_retransmission(now);
    process_ack_of_fin(now);
  }
}

// RFC 9293 3.10.7.4: SND.WND follows the newest segment. What acknowledges more is newer even when
// its text is a retransmission (as Linux): the window counts from SND.UNA.
void Connection::update_send_window(const Segment& seg, bool& has_changed) noexcept {
  const bool is_newer = seg.seg_ack > snd_una_ || snd_wl1_ < seg.seg_seq ||
                        (snd_wl1_ == seg.seg_seq && snd_wl2_ <= seg.seg_ack);
  if (!is_newer) return;
  const std::uint32_t snd_wnd = static_cast<std::uint32_t>(seg.seg_wnd) << snd_wind_shift_;
  has_changed = snd_wnd != snd_wnd_;
  if (snd_wnd > snd_wnd_) persist_backoff_ = 0;
  snd_wnd_ = snd_wnd;
  max_snd_wnd_ = std::max(max_snd_wnd_, snd_wnd);
  snd_wl1_ = seg.seg_seq;
  snd_wl2_ = seg.seg_ack;
}

// RFC 2883 4: a first block that lies below the ACK, or inside the second, reports a duplicate.
void Connection::process_sack(const Segment& seg, Delivery& delivery) noexcept {
  const std::span<const SackBlock> blocks = sack_blocks(seg);
  if (blocks.empty()) return;
  const SackBlock first = blocks[0];
  const bool is_duplicate =
      first.start < first.end &&
      (first.start < seg.seg_ack ||
       (blocks.size() > 1 && blocks[1].start <= first.start && first.end <= blocks[1].end));
  if (is_duplicate) {
    ++dsacks_;
    note_reported_duplicate(first, delivery);
  }
  for (const SackBlock block : blocks.subspan(is_duplicate ? 1 : 0))
    note_sacked(block, seg.seg_ack, delivery);
}

void Connection::note_sacked(SackBlock block, SeqNum seg_ack, Delivery& delivery) noexcept {
  const bool is_old = block.start < seg_ack || block.start < snd_una_;
  if (!is_old && block.start < block.end && block.end <= snd_nxt_)
    board_.on_sacked(block.start, block.end, delivery);
}

// RFC 2018 8: it acknowledged up to data that it once had. It has thrown its queue away, as a
// hand-over does; what this very segment reports came after that.
void Connection::forget_sacks(const Segment& seg) noexcept {
  board_.lose_sacked();
  Delivery told_already;
  for (const SackBlock block : sack_blocks(seg))
    note_sacked(block, seg.seg_ack, told_already);
}

// RFC 2883 4. More than we sent again was duplicated by the path: it says nothing about us (as
// Linux's tcp_dsack_seen). And only what this recovery sent again can have been in vain.
void Connection::note_reported_duplicate(SackBlock block, Delivery& delivery) noexcept {
  const std::uint32_t bytes = std::min(block.end - block.start, max_snd_wnd_);
  if (resent_unreported_ < bytes) return;
  resent_unreported_ -= bytes;
  delivery.saw_duplicate = true;
  if (block.start >= undo_from_ && block.end <= undo_to_) delivery.duplicate_bytes += bytes;
}

// What is sent again may come back as a duplicate.
void Connection::note_resent(SeqNum from, SeqNum to) noexcept {
  resent_unreported_ = std::min(resent_unreported_ + (to - from), 1u << 30);
  undo_from_ = undo_resent_ == 0 ? from : seq_min(undo_from_, from);
  undo_to_ = undo_resent_ == 0 ? to : seq_max(undo_to_, to);
  undo_resent_ += to - from;
}

// Pre: snd_una < seg_ack <= snd_nxt.
void Connection::advance_una(SeqNum seg_ack, Delivery& delivery, Instant now) noexcept {
  std::uint32_t payload = seg_ack - snd_una_;
  if (is_fin_sent_ && seg_ack == snd_nxt_) --payload;  // the FIN has no position
  board_.on_acked(seg_ack, delivery);
  snd_una_ = seg_ack;
  streams_.tx_range.begin += payload;
  bytes_acked_ += payload;
  if (payload != 0) events_ |= kWritable;
  retransmits_ = 0;
  last_progress_ = now;
  if (mss_high_ != 0) check_mtu_probe(now);
}

// RFC 6298 3 (Karn) and RFC 7323 4.1: when something resent is among it, what came after had to
// wait for that; only the echo can be timed.
void Connection::take_rtt(const Segment& seg, const Delivery& delivery, bool advanced,
                          Instant now) noexcept {
  rtt_sample_us_ = 0;
  if (delivery.has_rtt && !delivery.saw_resent) {
    rtt_sample_us_ = std::max(us(now) - delivery.rtt_sent_us, 1u);
    note_rtt(rtt_sample_us_, now);
    return;
  }
  // A SACK alone times what it delivers: on a path that reorders, most of it.
  const NewestDelivered& newest = delivery.newest;
  if (!advanced && newest.is_set && !newest.is_retransmitted && !newest.is_estimated) {
    rtt_sample_us_ = std::max(us(now) - newest.sent_us, 1u);
    note_rtt(rtt_sample_us_, now);
    return;
  }
  if (!advanced || !timestamps_ || !seg.options.has_timestamps || seg.options.ts_ecr == 0) return;
  const std::uint32_t elapsed_ms = ts_now(now) - seg.options.ts_ecr;
  if (elapsed_ms < RttEstimator::kMaxRtoUs / 1000) note_rtt(std::max(elapsed_ms, 1u) * 1000, now);
}

// RFC 6298 5: only now the timeout is no longer doubled. Else a path that has become slower than
// the timeout would never be measured (Karn): everything would be sent twice.
void Connection::note_rtt(std::uint32_t rtt_us, Instant now) noexcept {
  rtt_.on_sample(rtt_us, us(now));
  rto_backoff_ = 0;
  has_rtt_since_probe_ = true;
}

void Connection::tell_algorithm(const Segment& seg, std::uint32_t bytes, bool may_grow,
                                Instant now) noexcept {
  if (bytes == 0) return;
  // RFC 7661, as Linux does it: in slow start a window that is at least half used may grow.
  const bool is_used =
      cc_.is_slow_start() ? was_cwnd_limited_ || cc_.cwnd < 2 * max_in_flight_ : was_cwnd_limited_;
  const bool is_recovering = recovery_ == Recovery::kFast || recovery_ == Recovery::kTimeout;
  // While holes are filled SND.UNA stands still, or repeats what was sent long ago: time passes.
  const bool round_ended =
      snd_una_ > round_end_ ||
      (is_recovering && now - round_at_ >= microseconds(std::max(rtt_.srtt_us(), 1u)));
  if (round_ended) {
    round_end_ = snd_nxt_;
    round_at_ = now;
  }
  const std::uint32_t lost = board_.total_lost();
  DeliveryRate::note_losses(rate_sample_, lost);
  cc_algorithm_->on_acked(cc_,
                          {.bytes = bytes,
                           .marked_bytes = seg.has(TcpFlags::kEce) ? bytes : 0,
                           .rtt_us = rtt_sample_us_,
                           .min_rtt_us = rtt_.min_rtt_us(),
                           .lost_bytes = lost - told_lost_,
                           .in_flight = pipe(),
                           .delivered = rate_.delivered(),
                           .rate = rate_sample_,
                           .round_ended = round_ended,
                           .may_grow = may_grow && is_used,
                           .is_window_limited = was_cwnd_limited_,
                           .is_recovering = is_recovering},
                          now);
  told_lost_ = lost;
  tune_send_buffer();
}

void Connection::process_ack_of_fin(Instant now) noexcept {
  if (!is_fin_sent_ || snd_una_ != snd_nxt_) return;
  switch (state_) {
    case TcpState::kFinWait1:
      set_state(TcpState::kFinWait2);
      // As Linux's tcp_fin_timeout: nobody will ever read what would come.
      if (is_closed_by_application_) timers_.set(Timer::kEnd, now + time_wait_);
      break;
    case TcpState::kClosing:
      enter_time_wait(now);
      break;
    case TcpState::kLastAck:
      become_closed(0);
      break;
    default:
      break;
  }
}

}  // namespace snp::tcp
