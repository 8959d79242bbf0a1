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

TEST(RingAllocator, TakesWhatAnotherHadGiven) {
  constexpr std::uint64_t kLength = (8u << 20) + (1u << 16);
  RingAllocator first(kBegin, kLength);
  std::map<std::uint64_t, std::uint64_t> given;
  for (const std::uint64_t size : {4096u, 1u << 20, 65536u, 8192u, 1u << 20, 65536u})
    given[*first.allocate(size)] = size;
  RingAllocator second(kBegin, kLength);
  for (const auto& [offset, size] : given) {
    EXPECT_TRUE(second.take(offset, size));
    EXPECT_FALSE(second.take(offset, size)) << "twice";
    EXPECT_FALSE(second.take(offset, size / 2 < 4096 ? 4096 : size / 2)) << "a part of it";
  }
  EXPECT_EQ(second.free_bytes(), first.free_bytes());
  for (const std::uint64_t size : {4096u, 65536u, 1u << 20})
    EXPECT_EQ(first.allocate(size), second.allocate(size)) << "the same are left";
  for (const auto& [offset, size] : given)
    second.free(offset);
  EXPECT_TRUE(second.take(kBegin + 4096, 4096));
}

TEST(RingAllocator, TakesNoNonsense) {
  RingAllocator rings(kBegin, 1 << 20);
  EXPECT_FALSE(rings.take(kBegin - 4096, 4096));
  EXPECT_FALSE(rings.take(kBegin + 4096, 8192)) << "no block begins there";
  EXPECT_FALSE(rings.take(kBegin, 5000));
  EXPECT_FALSE(rings.take(kBegin, 2048));
  EXPECT_FALSE(rings.take(kBegin, 2 << 20));
  EXPECT_FALSE(rings.take(kBegin + (1 << 20), 4096));
  EXPECT_FALSE(rings.take(kBegin, 1ull << 50));
  EXPECT_EQ(rings.free_bytes(), 1u << 20);
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
