// When to acknowledge (RFC 5681 4.2, RFC 9293 3.8.6.3) and the window to offer (RFC 9293 3.8.6.2).
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

// As Linux's TCP_MAX_QUICKACKS: enough for a sender to leave slow start.
constexpr std::uint8_t kMaxQuickAcks = 16;
constexpr std::uint32_t kMinRcvMss = 536;

}  // namespace

// `bytes` arrived in order: a merged frame of many segments is acknowledged once.
void Connection::schedule_ack(std::uint32_t bytes, Instant now) noexcept {
  if (now - last_data_received_ > rtt_.rto(0) && !is_interactive_)
    quick_acks_ = kMaxQuickAcks;  // the peer starts from a small window again
  last_data_received_ = now;
  unacked_bytes_ += bytes;
  if (quick_acks_ != 0) {
    --quick_acks_;
    ack_now_ = true;
  }
  if (unacked_bytes_ >= 2 * rcv_mss_ || cached_.quick_ack) ack_now_ = true;
  if (!ack_now_ && !timers_.is_running(Timer::kDelayedAck))
    timers_.set(Timer::kDelayedAck, now + max_ack_delay_);
}

// The peer's segment size as seen: it may be smaller than what we announced.
void Connection::measure_peer(const Segment& seg, Instant now) noexcept {
  const auto length = static_cast<std::uint32_t>(seg.payload.size());
  const std::uint32_t size = seg.gso_size != 0 ? seg.gso_size : length;
  if (size >= rcv_mss_ && is_receive_buffer_tuned()) measure_receive_rtt(seg, now);
  if (size <= rcv_mss_) return;
  const std::uint32_t most = std::max<std::uint32_t>(cached_.path_mtu, kMinRcvMss + 40) - 40;
  rcv_mss_ = std::clamp(size, kMinRcvMss, most);
}

void Connection::on_ack_sent() noexcept {
  ack_now_ = false;
  unacked_bytes_ = 0;
  has_duplicate_ = false;
  last_ack_sent_ = rcv_nxt_;
  timers_.stop(Timer::kDelayedAck);
}

// The right edge that the buffer allows. The window field is rounded up, so that the edge does not
// creep back with each segment; a unit of the field is held back for that.
//
//   rx_range.begin      rx_range.end            begin + rx_limit
//   |---- unread -------|======= free =======[slack]|
//                       rcv_nxt              ^ offerable edge
SeqNum Connection::offerable_edge() const noexcept {
  const std::uint32_t slack = (1u << rcv_wind_shift_) - 1;
  const auto stored = static_cast<std::uint32_t>(streams_.rx_range.length());
  const std::uint32_t free = rx_limit_ - std::min(stored, rx_limit_);
  const std::uint32_t most = 0xffffu << rcv_wind_shift_;
  return rcv_nxt_ + std::min(free > slack ? free - slack : 0, most);
}

// RFC 9293 3.8.6.2.2: the edge moves by a full segment or half the buffer, and never back.
std::uint16_t Connection::select_window() noexcept {
  const SeqNum edge = offerable_edge();
  if (edge >= rcv_adv_ + std::min(rcv_mss_, rx_limit_ / 2)) rcv_adv_ = edge;
  const std::uint32_t rcv_wnd = rcv_adv_ > rcv_nxt_ ? rcv_adv_ - rcv_nxt_ : 0;
  const std::uint32_t slack = (1u << rcv_wind_shift_) - 1;
  return static_cast<std::uint16_t>(std::min((rcv_wnd + slack) >> rcv_wind_shift_, 0xffffu));
}

// A window update of its own only when it matters: the offered window would at least double.
bool Connection::should_offer_window() const noexcept {
  const SeqNum edge = offerable_edge();
  const std::uint32_t offered = rcv_adv_ > rcv_nxt_ ? rcv_adv_ - rcv_nxt_ : 0;
  const std::uint32_t possible = edge - rcv_nxt_;
  return possible >= 2 * offered && possible - offered >= std::min(2 * rcv_mss_, rx_limit_ / 2);
}

std::uint8_t Connection::sack_blocks_due() const noexcept {
  if (!sack_) return 0;
  const std::uint32_t limit = timestamps_ ? 3 : 4;  // 40 bytes of options
  return static_cast<std::uint8_t>(std::min(limit, reassembly_.size() + (has_duplicate_ ? 1 : 0)));
}

void Connection::fill_options(TcpOptions& options, Instant now) noexcept {
  if (timestamps_) {
    options.has_timestamps = true;
    options.ts_val = ts_now(now);
    options.ts_ecr = ts_recent_;
  }
  const std::uint8_t due = sack_blocks_due();
  if (due == 0) return;
  std::uint8_t count = 0;
  if (has_duplicate_) options.sack[count++] = duplicate_;
  options.sack_count =
      static_cast<std::uint8_t>(count + reassembly_.report(options.sack, count, due));
}

}  // namespace snp::tcp
