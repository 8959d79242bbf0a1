// The segment text and the FIN bit (RFC 9293 3.10.7.4, seventh and eighth).
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr bool receives_text(TcpState state) noexcept {
  return state == TcpState::kEstablished || state == TcpState::kFinWait1 ||
         state == TcpState::kFinWait2;
}

}  // namespace

// Nothing beyond the offered window is kept: the peer numbers its bare ACKs within it, and would
// find rcv_nxt beyond them. Nor anything beyond the ring or the FIN.
SeqNum Connection::text_edge() const noexcept {
  const std::uint32_t slack = (1u << rcv_wind_shift_) - 1;
  const auto stored = static_cast<std::uint32_t>(streams_.rx_range.length());
  const SeqNum ring_edge = rcv_nxt_ + (streams_.rx.size - stored);
  const SeqNum edge = seq_min(seq_max(rcv_adv_ + slack, rcv_nxt_), ring_edge);
  return is_fin_known_ ? seq_min(edge, fin_seq_) : edge;
}

void Connection::process_text(const Segment& seg, Instant now) noexcept {
  if (!receives_text(state_)) return;
  auto text = seg.payload;
  std::size_t placed = seg.placed;
  SeqNum start = seg.seg_seq;
  const SeqNum end = start + static_cast<std::uint32_t>(text.size());
  if (is_closed_by_application_ && end > rcv_nxt_ && !text.empty()) {
    request_reset(snd_nxt_);  // RFC 9293 3.6.1 SHLD-3: nobody is there to read it
    return;
  }
  if (seg.has(TcpFlags::kFin) && !is_fin_known_ && end >= rcv_nxt_) {
    is_fin_known_ = true;
    fin_seq_ = end;
  }
  if (constant_.ecn) note_congestion_mark(seg);
  if (text.empty()) return;

  measure_peer(seg, now);
  if (start < rcv_nxt_) {
    note_duplicate(start, rcv_nxt_);
    text = text.subspan(rcv_nxt_ - start);
    placed -= std::min<std::size_t>(placed, rcv_nxt_ - start);
    start = rcv_nxt_;
  }
  const SeqNum edge = text_edge();
  if (start >= edge) {
    ack_now_ = true;
    return;
  }
  text = text.first(std::min<std::size_t>(text.size(), edge - start));
  if (start + static_cast<std::uint32_t>(text.size()) != end) ack_now_ = true;
  if (start == rcv_nxt_)
    accept_in_order(text, placed, now);
  else
    accept_out_of_order(start, text, placed);
}

// RFC 3168 6.1.3: told until the peer says that it has heard. RFC 8257 3.2: told exactly, so a
// change ends what one ACK may speak for.
void Connection::note_congestion_mark(const Segment& seg) noexcept {
  if (!cc_algorithm_->echoes_each_mark) {
    if (seg.has(TcpFlags::kCwr)) is_echo_due_ = false;
    if (seg.is_ce && !seg.payload.empty()) is_echo_due_ = ack_now_ = true;
    return;
  }
  if (seg.payload.empty() || seg.is_ce == is_echo_due_) return;
  if (unacked_bytes_ != 0 && !is_earlier_ack_due_) {
    is_earlier_ack_due_ = true;
    earlier_ack_ = rcv_nxt_;
  }
  is_echo_due_ = seg.is_ce;
  ack_now_ = true;
}

// Only the next segment of a stream without gaps: nothing that counts stands where it goes.
std::uint32_t Connection::placeable(const Segment& segment, std::uint32_t ahead) const noexcept {
  constexpr unsigned kHarmless = TcpFlags::kFin | TcpFlags::kPsh | TcpFlags::kEce | TcpFlags::kCwr;
  if (!receives_text(state_) || is_frozen_ || is_closed_by_application_ || is_fin_known_ ||
      has_urgent_ || !reassembly_.is_empty() || (segment.flags & ~kHarmless) != TcpFlags::kAck)
    return 0;
  const SeqNum start = rcv_nxt_ + ahead;
  const SeqNum edge = text_edge();
  if (segment.seg_seq != start || start >= edge) return 0;
  return static_cast<std::uint32_t>(std::min<std::size_t>(segment.payload.size(), edge - start));
}

void Connection::place(std::uint64_t pos, std::span<const std::byte> text,
                       std::size_t placed) const noexcept {
  if (placed >= text.size()) [[unlikely]]
    return;
  streams_.rx.copy_in(pos + placed, text.subspan(placed));
}

// The bytes are in the ring before rcv_nxt says so.
void Connection::accept_in_order(std::span<const std::byte> text, std::size_t placed,
                                 Instant now) noexcept {
  place(streams_.rx_range.end, text, placed);
  const auto length = static_cast<std::uint32_t>(text.size());
  SeqNum rcv_nxt = rcv_nxt_ + length;
  if (!reassembly_.is_empty()) {
    rcv_nxt = reassembly_.advance(rcv_nxt);
    ack_now_ = true;  // RFC 5681 4.2: at once when a gap is filled
  }
  const std::uint32_t advance = rcv_nxt - rcv_nxt_;
  streams_.rx_range.end += advance;
  rcv_nxt_ = rcv_nxt;
  bytes_received_ += advance;
  events_ |= kReadable;
  schedule_ack(advance, now);
}

void Connection::accept_out_of_order(SeqNum start, std::span<const std::byte> text,
                                     std::size_t placed) noexcept {
  const SeqNum end = start + static_cast<std::uint32_t>(text.size());
  ack_now_ = true;  // RFC 5681 4.2: a duplicate ACK for each
  ++out_of_order_;
  switch (reassembly_.add(start, end)) {
    case Reassembly::Added::kNew:
      place(streams_.rx_range.end + (start - rcv_nxt_), text, placed);
      break;
    case Reassembly::Added::kDuplicate:
      note_duplicate(start, end);
      break;
    case Reassembly::Added::kNoRoom:
      break;
  }
}

// RFC 2883: the next ACK tells the peer that it sent this twice.
void Connection::note_duplicate(SeqNum start, SeqNum end) noexcept {
  ack_now_ = true;
  has_duplicate_ = true;
  duplicate_ = {start, end};
}

void Connection::process_fin(Instant now) noexcept {
  if (!is_fin_known_ || rcv_nxt_ != fin_seq_ || !receives_text(state_)) return;
  rcv_nxt_ += 1;
  ack_now_ = true;
  events_ |= kPeerClosed;
  if (state_ == TcpState::kEstablished)
    set_state(TcpState::kCloseWait);
  else if (state_ == TcpState::kFinWait1)
    set_state(TcpState::kClosing);
  else
    enter_time_wait(now);
}

}  // namespace snp::tcp
