// An attached process as one shard sees it: doorbells, which slots are its own, wait sets to be
// told. Shard-local.
#pragma once

#include <array>
#include <bit>
#include <memory>

#include "snp/engine/engine.h"
#include "snp/engine/flow.h"
#include "snp/ipc/slot_bitmap.h"

namespace snp::engine {

class ShardArena {
 public:
  ShardArena(Arena& arena, std::uint32_t shard)
      : arena_(arena),
        doorbells_(arena.memory.at<ipc::Doorbells>(ipc::kDoorbellsOffset).shard[shard]),
        bell_(arena.bells[shard].get()) {}

  [[nodiscard]] Arena& arena() const noexcept { return arena_; }
  [[nodiscard]] ipc::SlotBitmap& doorbells() const noexcept { return doorbells_; }
  [[nodiscard]] int bell() const noexcept { return bell_; }
  [[nodiscard]] ipc::Slot& slot(ipc::SlotId id) const noexcept {
    return arena_.memory.at<ipc::Slot>(ipc::kSlotsOffset + id * sizeof(ipc::Slot));
  }
  [[nodiscard]] ipc::WaitSet& wait_set(ipc::WaitSetId id) const noexcept {
    return arena_.memory.at<ipc::WaitSet>(ipc::kWaitSetsOffset + id * sizeof(ipc::WaitSet));
  }

  // The flow in a slot; null: none of this shard's.
  [[nodiscard]] Flow* flow(ipc::SlotId id) const noexcept {
    const auto& page = pages_[id / kPage];
    return page == nullptr ? nullptr : (*page)[id % kPage];
  }
  void bind(ipc::SlotId id, Flow* flow) {
    auto& page = pages_[id / kPage];
    if (page == nullptr) page = std::make_unique<Page>();
    (*page)[id % kPage] = flow;
  }

  template <class Visit>
  void for_each_flow(Visit&& visit) {
    for (auto& page : pages_) {
      if (page == nullptr) continue;
      for (Flow* flow : *page)
        if (flow != nullptr) visit(*flow);
    }
  }

  // Wait sets that were marked in this turn.
  void note_marked(ipc::WaitSetId id) noexcept { marked_[id / 64] |= 1ull << (id % 64); }
  template <class Visit>
  void take_marked(Visit&& visit) {
    for (std::uint32_t word = 0; word < marked_.size(); ++word)
      for (std::uint64_t bits = std::exchange(marked_[word], 0); bits != 0; bits &= bits - 1)
        visit(static_cast<ipc::WaitSetId>(word * 64 +
                                          static_cast<std::uint32_t>(std::countr_zero(bits))));
  }

  bool is_marked = false;  // in the shard's list of arenas to wake

 private:
  static constexpr std::size_t kPage = 256;
  using Page = std::array<Flow*, kPage>;

  Arena& arena_;
  ipc::SlotBitmap& doorbells_;
  const int bell_;
  std::array<std::unique_ptr<Page>, ipc::kSlots / kPage> pages_;
  std::array<std::uint64_t, ipc::kWaitSets / 64> marked_{};
};

}  // namespace snp::engine
