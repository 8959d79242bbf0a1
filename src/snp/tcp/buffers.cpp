// How much of the rings is used: what is offered to the peer, and what the application may write
// ahead. Both begin small and grow with what the path carries in a round trip, as Linux's
// tcp_rcv_space_adjust and tcp_sndbuf_expand do; a size that the user has set is kept.
#include <algorithm>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kLeastBuffer = 2048;
// A program that wants next to nothing unsent still writes in pieces that are worth the calls.
constexpr std::uint32_t kLeastUnsent = 16 * 1024;

constexpr std::uint32_t bounded(std::uint64_t bytes, std::uint32_t ring) noexcept {
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(bytes, std::min(kLeastBuffer, ring), ring));
}

}  // namespace

// What the owner before has promised to the peer, or has queued, is kept.
void Connection::start_buffers(const DelegatedState& delegated, const Limits& limits,
                               Instant now) noexcept {
  const std::uint32_t rx_ring = streams_.rx.size;
  const std::uint32_t tx_ring = streams_.tx.size;
  const std::uint64_t promised = rcv_adv_ > rcv_nxt_ ? rcv_adv_ - rcv_nxt_ : 0;
  const std::uint64_t stored = streams_.rx_range.length();
  const std::uint32_t slack = 1u << rcv_wind_shift_;
  rx_limit_ =
      limits.receive_buffer == 0
          ? rx_ring
          : bounded(std::max<std::uint64_t>(limits.receive_buffer, promised + stored + slack),
                    rx_ring);
  tx_limit_ = limits.send_buffer == 0
                  ? tx_ring
                  : bounded(std::max<std::uint64_t>({limits.send_buffer, streams_.tx_range.length(),
                                                     2ull * delegated.cwnd_bytes}),
                            tx_ring);
  apply_locked_buffers();
  most_copied_ = rx_limit_ / 4;  // for that it is large enough
  copied_since_ = now;
}

// SO_RCVBUF, SO_SNDBUF. A promised window is not taken back: the edge stays where it is.
void Connection::apply_locked_buffers() noexcept {
  if (cached_.receive_buffer != 0) rx_limit_ = bounded(cached_.receive_buffer, streams_.rx.size);
  if (cached_.send_buffer != 0) tx_limit_ = bounded(cached_.send_buffer, streams_.tx.size);
}

// Without data of our own only the echo of our ACKs can be timed; or how long it takes until data
// comes from beyond the edge that was offered, which the peer cannot send before it has our next
// ACK. Pre: the segment is a full one.
void Connection::measure_receive_rtt(const Segment& seg, Instant now) noexcept {
  if (timestamps_) {
    const std::uint32_t echo = seg.options.ts_ecr;
    if (echo == 0 || echo == rtt_echo_) return;
    rtt_echo_ = echo;
    const std::uint32_t elapsed_ms = ts_now(now) - echo;
    if (elapsed_ms > RttEstimator::kMaxRtoUs / 1000) return;
    const std::uint32_t sample_us = std::max(elapsed_ms, 1u) * 1000;
    rcv_rtt_us_ = rcv_rtt_us_ == 0 ? sample_us : rcv_rtt_us_ - rcv_rtt_us_ / 8 + sample_us / 8;
    return;
  }
  const bool is_begun = rtt_edge_at_ != Instant{};
  if (is_begun && rcv_nxt_ <= rtt_edge_) return;
  if (is_begun) {
    const auto sample_us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(
        (now - rtt_edge_at_) / microseconds(1), 1, RttEstimator::kMaxRtoUs));
    rcv_rtt_us_ = rcv_rtt_us_ == 0 ? sample_us : std::min(rcv_rtt_us_, sample_us);
  }
  rtt_edge_ = seq_max(rcv_adv_, rcv_nxt_);
  rtt_edge_at_ = now;
}

// Twice what the application took in a round trip, so that a sender in slow start, which doubles,
// is never held back; and ahead of growth that is faster than that.
void Connection::tune_receive_buffer(std::uint32_t consumed, Instant now) noexcept {
  copied_ += consumed;
  const std::uint32_t rtt_us = rcv_rtt_us_ != 0 ? rcv_rtt_us_ : rtt_.srtt_us();
  const Duration elapsed = now - copied_since_;
  if (rtt_us == 0 || elapsed < microseconds(rtt_us)) return;
  // The application may tell of what it read only now and then.
  std::uint64_t copied = copied_;
  if (elapsed > microseconds(2ull * rtt_us))
    copied = copied * rtt_us / static_cast<std::uint64_t>(elapsed / microseconds(1));
  copied_ = 0;
  copied_since_ = now;
  if (copied <= most_copied_) return;
  std::uint64_t wanted = 2 * copied + 16ull * rcv_mss_;
  wanted += 2 * wanted * (copied - most_copied_) / std::max(most_copied_, 1u);
  most_copied_ = static_cast<std::uint32_t>(copied);
  rx_limit_ = std::max(rx_limit_, bounded(wanted, streams_.rx.size));
}

// Twice the window: one part in flight, one to be sent when the ACKs come.
void Connection::tune_send_buffer() noexcept {
  if (cached_.send_buffer != 0 || tx_limit_ >= streams_.tx.size) return;
  tx_limit_ = std::max(tx_limit_, bounded(2ull * cc_.cwnd, streams_.tx.size));
}

std::uint32_t Connection::send_buffer() const noexcept {
  if (cached_.notsent_lowat == 0) return tx_limit_;
  const std::uint64_t in_flight = streams_.tx_range.length() - unsent();
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(
      tx_limit_, in_flight + std::max(cached_.notsent_lowat, kLeastUnsent)));
}

}  // namespace snp::tcp
