// A copy past the caller's caches: for what is large, or what another core will read.
#pragma once

#include <cstddef>

namespace snp::netdma {

// As memcpy, with non-temporal stores where the machine has them. The bytes are visible to whoever
// sees a later release store of the caller.
void copy_streaming(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

// Plain below `streaming_from` bytes, else streaming.
void copy_bytes(std::byte* to, const std::byte* from, std::size_t bytes,
                std::size_t streaming_from) noexcept;

}  // namespace snp::netdma
