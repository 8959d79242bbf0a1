#include "snp/daemon/ring_allocator.h"

#include <algorithm>
#include <bit>

#include "snp/base/assert.h"

namespace snp::daemon {

RingAllocator::RingAllocator(std::uint64_t begin, std::uint64_t length) : begin_(begin) {
  // The binary digits of the length, largest first: each block lies at a multiple of its size.
  std::uint64_t offset = 0;
  while (length - offset >= 1ull << kMinOrder) {
    const auto order = std::min<std::uint32_t>(
        static_cast<std::uint32_t>(std::bit_width(length - offset)) - 1, kMaxOrder);
    free_[order].insert(offset);
    offset += 1ull << order;
  }
  bytes_ = free_bytes_ = offset;
}

std::optional<std::uint64_t> RingAllocator::allocate(std::uint64_t size) {
  SNP_ASSERT(std::has_single_bit(size) && size >= 1ull << kMinOrder);
  const auto order = static_cast<std::uint32_t>(std::countr_zero(size));
  std::uint32_t from = order;
  while (from <= kMaxOrder && free_[from].empty())
    ++from;
  if (from > kMaxOrder) return std::nullopt;
  const std::uint64_t offset = *free_[from].begin();
  free_[from].erase(free_[from].begin());
  while (from > order) {
    --from;
    free_[from].insert(offset + (1ull << from));
  }
  taken_.emplace(offset, order);
  free_bytes_ -= size;
  return begin_ + offset;
}

bool RingAllocator::take(std::uint64_t offset, std::uint64_t size) {
  if (offset < begin_ || !std::has_single_bit(size) || size < 1ull << kMinOrder ||
      size > 1ull << kMaxOrder || (offset - begin_) % size != 0)
    return false;
  offset -= begin_;
  const auto order = static_cast<std::uint32_t>(std::countr_zero(size));
  const auto block = [offset](std::uint32_t of) { return offset >> of << of; };
  std::uint32_t from = order;
  while (from <= kMaxOrder && !free_[from].contains(block(from)))
    ++from;
  if (from > kMaxOrder) return false;
  free_[from].erase(block(from));
  while (from > order) {
    --from;
    free_[from].insert(block(from) ^ 1ull << from);
  }
  taken_.emplace(offset, order);
  free_bytes_ -= size;
  return true;
}

void RingAllocator::free(std::uint64_t offset) {
  offset -= begin_;
  const auto found = taken_.find(offset);
  SNP_ASSERT(found != taken_.end());
  std::uint32_t order = found->second;
  taken_.erase(found);
  free_bytes_ += 1ull << order;
  for (; order < kMaxOrder; ++order) {
    const std::uint64_t buddy = offset ^ 1ull << order;
    if (free_[order].erase(buddy) == 0) break;
    offset = std::min(offset, buddy);
  }
  free_[order].insert(offset);
}

}  // namespace snp::daemon
