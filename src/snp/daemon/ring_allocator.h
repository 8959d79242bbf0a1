// Ring space of one arena: power-of-two blocks by the buddy method. The books are kept here, out of
// the application's reach. Gives offsets; knows nothing of memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>

namespace snp::daemon {

class RingAllocator {
 public:
  static constexpr std::uint32_t kMinOrder = 12;  // 4 KiB
  static constexpr std::uint32_t kMaxOrder = 40;

  // Manages [begin, begin + length).
  RingAllocator(std::uint64_t begin, std::uint64_t length);

  // The offset of a block of `size` bytes; nothing when there is no room.
  // Pre: size is a power of two, 4 KiB at least.
  std::optional<std::uint64_t> allocate(std::uint64_t size);
  // Takes the very block that an earlier allocator had given; false: it is not free, or no block.
  bool take(std::uint64_t offset, std::uint64_t size);
  // Pre: `offset` came from allocate() or take() and was not freed since.
  void free(std::uint64_t offset);

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t free_bytes() const noexcept { return free_bytes_; }

 private:
  std::uint64_t begin_;
  std::uint64_t bytes_ = 0;
  std::uint64_t free_bytes_ = 0;
  std::array<std::set<std::uint64_t>, kMaxOrder + 1> free_;  // by order; offsets from begin_
  std::unordered_map<std::uint64_t, std::uint32_t> taken_;   // offset from begin_ -> order
};

}  // namespace snp::daemon
