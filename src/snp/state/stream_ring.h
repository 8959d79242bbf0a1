// A byte queue in shared memory, seen from a sequence number: the byte with stream position p lies
// at data[p % size]. Positions count from the slot's start and never wrap (64 bits).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

namespace snp {

struct StreamRing {
  std::byte* data = nullptr;
  std::uint32_t size = 0;  // a power of two

  // The bytes [pos, pos + length) as at most two pieces. Pre: length <= size.
  [[nodiscard]] std::pair<std::span<std::byte>, std::span<std::byte>> pieces(
      std::uint64_t pos, std::uint32_t length) const noexcept {
    const auto start = static_cast<std::uint32_t>(pos & (size - 1));
    const std::uint32_t first = std::min(length, size - start);
    return {{data + start, first}, {data, length - first}};
  }
  void copy_in(std::uint64_t pos, std::span<const std::byte> bytes) const noexcept {
    const auto [a, b] = pieces(pos, static_cast<std::uint32_t>(bytes.size()));
    if (!a.empty()) std::memcpy(a.data(), bytes.data(), a.size());
    if (!b.empty()) std::memcpy(b.data(), bytes.data() + a.size(), b.size());
  }
  void copy_out(std::uint64_t pos, std::span<std::byte> bytes) const noexcept {
    const auto [a, b] = pieces(pos, static_cast<std::uint32_t>(bytes.size()));
    if (!a.empty()) std::memcpy(bytes.data(), a.data(), a.size());
    if (!b.empty()) std::memcpy(bytes.data() + a.size(), b.data(), b.size());
  }
};

// A part of a stream that stands in a ring: [begin, end) by position.
struct StreamRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  [[nodiscard]] std::uint64_t length() const noexcept { return end - begin; }
};

}  // namespace snp
