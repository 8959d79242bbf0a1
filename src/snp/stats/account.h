// What the shards count for one connection, across all of its stays there. In memory that outlives
// the engine.
#pragma once

#include <atomic>
#include <cstdint>

namespace snp::stats {

// One writer at a time: the shard that has the connection, or gives its frames back; the keeper
// once the engine is gone. Any thread reads.
struct alignas(64) TargetAccount {
  std::atomic<std::uint64_t> segments_out{0};  // repeats among them
  std::atomic<std::uint64_t> retransmits{0};   // segments
  std::atomic<std::uint64_t> reinjected_frames{0}, reinjected_segments{0};
  std::atomic<std::uint64_t> forged_frames{0};
  // By the control thread: how often the connection was fetched back while the shard still gave
  // its frames to the host. Frames are given only while this is what it was at the upload.
  std::atomic<std::uint32_t> recalls{0};
};

inline void add(std::atomic<std::uint64_t>& to, std::uint64_t n) noexcept {
  to.store(to.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace snp::stats
