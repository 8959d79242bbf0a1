#include "snp/daemon/ring_sizes.h"

#include <algorithm>
#include <bit>

namespace snp::daemon {
namespace {

constexpr std::uint64_t kBytesPerUs = 1250;  // 10 Gbit/s
constexpr std::uint64_t kShareOfSpare =
    128;  // one ring takes at most this part of what is to spare

}  // namespace

std::uint32_t ring_size(std::uint64_t queued, std::uint64_t said, std::uint32_t rtt_us,
                        const RingSizes& sizes) noexcept {
  const std::uint64_t least = said != 0 ? said : sizes.least;
  const std::uint64_t half = sizes.all_bytes / 2;
  const std::uint64_t spare = sizes.free_bytes > half ? sizes.free_bytes - half : 0;
  const std::uint64_t wished =
      said != 0 ? 0 : std::min(2 * kBytesPerUs * rtt_us, std::bit_floor(spare / kShareOfSpare));
  const std::uint64_t size = std::bit_ceil(std::max({queued, least, wished}));
  return static_cast<std::uint32_t>(
      std::min(size, std::max(std::bit_floor(sizes.most), std::bit_ceil(least))));
}

}  // namespace snp::daemon
