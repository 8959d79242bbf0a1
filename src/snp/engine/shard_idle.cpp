// Memory of connections that rest: an idle offloaded connection must not cost what a busy one does.
#include <sys/mman.h>

#include "snp/engine/shard.h"

namespace snp::engine {
namespace {

// A page fault less in the next burst is worth more than this much memory.
constexpr std::uint32_t kSmallestRing = 16 * 1024;
constexpr int kMostAtOnce = 64;

}  // namespace

// Only receive rings: they are empty when the application has read everything, and nobody but this
// shard fills them. A transmit ring the application may be filling just now.
void Shard::give_back_pages(Instant now) noexcept {
  next_sweep_ = kNever;
  int given_back = 0;
  for (const auto& [id, flow] : by_id_) {
    if (!flow->has_filled_pages) continue;
    if (const Instant due = flow->settled_at + kRestTime; due > now) {
      next_sweep_ = std::min(next_sweep_, due);
      continue;
    }
    if (given_back == kMostAtOnce) {
      next_sweep_ = now + milliseconds(1);
      return;
    }
    const tcp::Streams& streams = flow->connection->streams();
    if (streams.rx_range.length() != 0 || flow->connection->has_gap()) continue;
    flow->has_filled_pages = false;
    if (streams.rx.size < kSmallestRing) continue;
    ::madvise(streams.rx.data, streams.rx.size, MADV_REMOVE);
    ++given_back;
  }
}

}  // namespace snp::engine
