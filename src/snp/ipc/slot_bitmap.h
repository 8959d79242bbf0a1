// Operations on SlotBitmap: mark from any thread, drain from one. Both ends may be hostile to each
// other: an index never leaves the map, a lost bit hurts only who lost it.
#pragma once

#include <bit>

#include "snp/ipc/arena.h"

namespace snp::ipc {

// Marks a slot. Full barrier, so that a following read of a "sleeping" word is ordered after it.
// Pre: slot < kSlots.
inline void mark(SlotBitmap& map, SlotId slot) noexcept {
  const std::uint32_t word = slot / 64;
  map.words[word].fetch_or(1ull << (slot % 64));
  map.summary[word / 64].fetch_or(1ull << (word % 64));
}

[[nodiscard]] inline bool is_empty(const SlotBitmap& map) noexcept {
  for (const auto& word : map.summary)
    if (word.load() != 0) return false;
  return true;
}

// Takes every marked slot out and calls visit(slot) for it. A slot marked meanwhile is either
// visited or stays marked: the summary bit is taken before its word, and set after it.
template <class Visit>
void drain(SlotBitmap& map, Visit&& visit) {
  for (std::uint32_t s = 0; s < kSlotSummaryWords; ++s) {
    if (map.summary[s].load(std::memory_order_relaxed) == 0) continue;
    for (std::uint64_t words = map.summary[s].exchange(0); words != 0; words &= words - 1) {
      const std::uint32_t word = s * 64 + static_cast<std::uint32_t>(std::countr_zero(words));
      for (std::uint64_t bits = map.words[word].exchange(0); bits != 0; bits &= bits - 1)
        visit(word * 64 + static_cast<SlotId>(std::countr_zero(bits)));
    }
  }
}

}  // namespace snp::ipc
