#include "snp/daemon/ring_allocator.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

constexpr std::uint64_t kBegin = 9 * 4096;

TEST(RingAllocator, GivesBackWhatItTook) {
  RingAllocator rings(kBegin, 1 << 20);
  EXPECT_EQ(rings.free_bytes(), 1u << 20);
  const auto all = rings.allocate(1 << 20);
  ASSERT_TRUE(all);
  EXPECT_EQ(*all, kBegin);
  EXPECT_FALSE(rings.allocate(4096));
  rings.free(*all);
  EXPECT_TRUE(rings.allocate(1 << 20));
}

TEST(RingAllocator, UsesLengthsThatAreNoPowerOfTwo) {
  RingAllocator rings(kBegin, (1 << 20) + (1 << 16) + 4096 + 5);
  EXPECT_EQ(rings.free_bytes(), (1u << 20) + (1u << 16) + 4096u);
  EXPECT_TRUE(rings.allocate(1 << 20));
  EXPECT_TRUE(rings.allocate(1 << 16));
  EXPECT_TRUE(rings.allocate(4096));
  EXPECT_FALSE(rings.allocate(4096));
}

TEST(RingAllocator, RandomUseNeverOverlapsAndMergesBack) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr std::uint64_t kLength = (64u << 20) + (3u << 14);
  RingAllocator rings(kBegin, kLength);
  const std::uint64_t total = rings.free_bytes();
  std::map<std::uint64_t, std::uint64_t> taken;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const std::uint64_t size = 4096ull << random() % 10;
      const auto offset = rings.allocate(size);
      if (!offset) continue;
      ASSERT_GE(*offset, kBegin);
      ASSERT_LE(*offset + size, kBegin + kLength);
      const auto next = taken.lower_bound(*offset);
      ASSERT_TRUE(next == taken.end() || *offset + size <= next->first);
      ASSERT_TRUE(next == taken.begin() ||
                  std::prev(next)->first + std::prev(next)->second <= *offset);
      taken.emplace(*offset, size);
    } else if (!taken.empty()) {
      auto victim = taken.begin();
      std::advance(victim, random() % taken.size());
      rings.free(victim->first);
      taken.erase(victim);
    }
  }
  for (const auto& [offset, size] : taken)
    rings.free(offset);
  EXPECT_EQ(rings.free_bytes(), total);
  EXPECT_TRUE(rings.allocate(64u << 20));
}

}  // namespace
}  // namespace snp::daemon
