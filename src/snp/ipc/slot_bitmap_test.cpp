#include "snp/ipc/slot_bitmap.h"

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace snp::ipc {
namespace {

std::set<SlotId> drained(SlotBitmap& map) {
  std::set<SlotId> slots;
  drain(map, [&](SlotId slot) { EXPECT_TRUE(slots.insert(slot).second); });
  return slots;
}

TEST(SlotBitmap, GivesBackEachMarkOnce) {
  const auto map = std::make_unique<SlotBitmap>();
  EXPECT_TRUE(is_empty(*map));
  const std::set<SlotId> marked{0, 1, 63, 64, 4095, 4096, 9999, kSlots - 1};
  for (const SlotId slot : marked) {
    mark(*map, slot);
    mark(*map, slot);
  }
  EXPECT_FALSE(is_empty(*map));
  EXPECT_EQ(drained(*map), marked);
  EXPECT_TRUE(is_empty(*map));
  EXPECT_TRUE(drained(*map).empty());
}

TEST(SlotBitmap, SurvivesGarbage) {
  const auto map = std::make_unique<SlotBitmap>();
  for (auto& word : map->summary)
    word = ~0ull;
  EXPECT_TRUE(drained(*map).empty()) << "a summary without words";
  for (auto& word : map->words)
    word = ~0ull;
  EXPECT_TRUE(drained(*map).empty()) << "words without a summary are lost, that is all";
  for (auto& word : map->summary)
    word = ~0ull;
  EXPECT_EQ(drained(*map).size(), kSlots);
}

// What is marked while somebody drains is seen by this drain or by a later one.
TEST(SlotBitmap, LosesNoMarkBetweenThreads) {
  const auto map = std::make_unique<SlotBitmap>();
  constexpr std::uint32_t kRounds = 2000, kMarkers = 3;
  // Each marker bumps its own slots' counters before it marks them.
  const auto written = std::make_unique<std::atomic<std::uint32_t>[]>(kSlots);
  const auto seen = std::make_unique<std::uint32_t[]>(kSlots);
  std::atomic<std::uint32_t> running{kMarkers};
  std::vector<std::thread> markers;
  for (std::uint32_t m = 0; m < kMarkers; ++m)
    markers.emplace_back([&, m] {
      for (std::uint32_t i = 0; i < kRounds; ++i) {
        const SlotId slot = (i * 97 * kMarkers + m) % kSlots;
        written[slot].fetch_add(1, std::memory_order_relaxed);
        mark(*map, slot);
      }
      --running;
    });
  const auto visit = [&](SlotId slot) {
    seen[slot] = written[slot].load(std::memory_order_relaxed);
  };
  while (running != 0)
    drain(*map, visit);
  drain(*map, visit);
  for (auto& marker : markers)
    marker.join();
  drain(*map, visit);
  for (SlotId slot = 0; slot < kSlots; ++slot)
    ASSERT_EQ(seen[slot], written[slot]) << slot;
}

}  // namespace
}  // namespace snp::ipc
