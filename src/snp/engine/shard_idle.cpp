// Memory of the rings: what nobody will read again is given back, behind a stream that moves on and
// altogether when a connection rests. An idle offloaded connection must not cost what a busy one
// does, nor a large ring more than the part of it that is in use.
#include <algorithm>
#include <utility>

#include <sys/mman.h>

#include "snp/engine/shard.h"
#include "snp/ipc/slot_gate.h"

namespace snp::engine {
namespace {

constexpr std::uint64_t kPage = 4096;
// A page fault less in the next burst is worth more than this much memory.
constexpr std::uint32_t kSmallestRing = 16 * 1024;
// What a writer of a resting connection may use until the shard has seen it again.
constexpr std::uint32_t kRestingBuffer = 64 * 1024;
// Behind a moving stream: one call for so much.
constexpr std::uint64_t kChunk = 512 * 1024;
constexpr int kMostAtOnce = 64;

// The whole pages of [range). Pre: they are at most the ring.
void remove_pages(const StreamRing& ring, StreamRange range) noexcept {
  range.begin = (range.begin + kPage - 1) & ~(kPage - 1);
  range.end &= ~(kPage - 1);
  if (range.begin >= range.end) return;
  const auto [a, b] = ring.pieces(range.begin, static_cast<std::uint32_t>(range.length()));
  if (!a.empty()) ::madvise(a.data(), a.size(), MADV_REMOVE);
  if (!b.empty()) ::madvise(b.data(), b.size(), MADV_REMOVE);
}

// `upto`: everything before it is done with; `most_used`: what comes after it and may be in use, by
// whoever has not yet seen a smaller limit. A ring of which a good part is in use is kept: its
// pages are wanted again soon.
void give_back_behind(const StreamRing& ring, std::uint64_t upto, std::uint32_t most_used,
                      std::uint64_t& kept) noexcept {
  if (ring.size / 4 < most_used) {
    kept = upto;
    return;
  }
  const std::uint64_t most = ring.size - most_used - kPage;
  remove_pages(ring, {std::max(kept, upto - std::min(upto, most)), upto});
  kept = upto & ~(kPage - 1);
}

}  // namespace

void Shard::follow_streams(Flow& flow) noexcept {
  const tcp::Streams& streams = flow.connection->streams();
  if (streams.rx_range.begin - flow.rx_kept >= kChunk) [[unlikely]]
    give_back_behind(streams.rx, streams.rx_range.begin, flow.rx_most, flow.rx_kept);
  if (streams.tx_range.begin - flow.tx_kept >= kChunk) [[unlikely]]
    give_back_behind(streams.tx, streams.tx_range.begin, flow.tx_most, flow.tx_kept);
}

// A receive ring is filled by this shard alone. True: it is as it should be.
bool Shard::rest_receive_ring(Flow& flow) noexcept {
  const tcp::Streams& streams = flow.connection->streams();
  if (streams.rx_range.length() != 0 || flow.connection->has_gap() || !flow.ahead.is_empty())
    return false;
  flow.has_filled_pages = false;
  if (streams.rx.size >= kSmallestRing) ::madvise(streams.rx.data, streams.rx.size, MADV_REMOVE);
  return true;
}

// The application may be filling a transmit ring just now: it is told to use no more than its
// beginning, and whoever was inside before must be gone (as at the gate, ipc/slot_gate.h). Then the
// rest belongs to nobody, until the connection moves again and the limit with it.
bool Shard::rest_transmit_ring(Flow& flow) noexcept {
  const tcp::Streams& streams = flow.connection->streams();
  if (flow.slot == nullptr || streams.tx.size <= kRestingBuffer) {
    flow.has_written_pages = false;
    return true;
  }
  if (streams.tx_range.length() != 0) return false;
  flow.tx_limit = kRestingBuffer;
  flow.slot->buffers.tx_limit.store(kRestingBuffer);
  if (ipc::has_users(*flow.slot) || flow.slot->app.tx_head.load() != streams.tx_range.end)
    return false;
  flow.has_written_pages = false;
  const std::uint64_t una = streams.tx_range.begin;
  remove_pages(streams.tx, {una + kRestingBuffer, (una & ~(kPage - 1)) + streams.tx.size});
  return true;
}

void Shard::note_pages(Flow& flow) noexcept {
  if (!std::exchange(flow.is_in_pages, true)) with_pages_.push_back(&flow);
}

// Connections that have used nothing since are not looked at, however many there are.
void Shard::give_back_pages(Instant now) noexcept {
  next_sweep_ = kNever;
  int given_back = 0;
  for (std::size_t i = 0; i < with_pages_.size();) {
    Flow& flow = *with_pages_[i];
    if (const Instant due = flow.settled_at + kRestTime; due > now) {
      next_sweep_ = std::min(next_sweep_, due);
      ++i;
      continue;
    }
    if (given_back == kMostAtOnce) {
      next_sweep_ = now + milliseconds(1);
      return;
    }
    if (flow.has_filled_pages && rest_receive_ring(flow)) ++given_back;
    if (flow.has_written_pages) {
      if (rest_transmit_ring(flow))
        ++given_back;
      else
        next_sweep_ = std::min(next_sweep_, now + kRestTime);
    }
    if (flow.has_filled_pages || flow.has_written_pages) {
      ++i;
      continue;
    }
    flow.is_in_pages = false;
    with_pages_[i] = with_pages_.back();
    with_pages_.pop_back();
  }
}

}  // namespace snp::engine
