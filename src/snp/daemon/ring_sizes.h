// How large a ring is reserved. It is address space until it is used, and cannot grow later: what a
// path could ever need is reserved, what it needs is used (Limits::receive_buffer). Pure.
#pragma once

#include <cstdint>

namespace snp::daemon {

struct RingSizes {
  std::uint64_t least = 0;       // ring_bytes
  std::uint64_t most = 0;        // ring_max_bytes
  std::uint64_t free_bytes = 0;  // of the arena's ring space
  std::uint64_t all_bytes = 0;
};

// A power of two: what `queued` bytes need in any case, `least`, and twice what 10 Gbit/s carry in
// a round trip. For the latter at most half of the arena is spent, so that a process with many
// connections on long paths finds room for as many as one on short paths. `said`: by a rule of
// policy, in place of all but `queued`; 0: nothing.
std::uint32_t ring_size(std::uint64_t queued, std::uint64_t said, std::uint32_t rtt_us,
                        const RingSizes& sizes) noexcept;

}  // namespace snp::daemon
