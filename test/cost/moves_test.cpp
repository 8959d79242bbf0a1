// A move of the indirection table's entries takes no memory, so the original's RESOURCES (reference
// 5.5) cannot be its answer: neither when it succeeds nor when it is taken back.
#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "snp/rss/configuration.h"

#include "test/cost/no_allocation.h"

namespace snp::rss {
namespace {

constexpr std::uint32_t kPort = 1;

TEST(Moves, TakeNoMemory) {
  IndirectionTable table(0);
  const std::array<CpuId, 4> cpus = {0, 1, 2, 3};
  ASSERT_EQ(table.set_processors(cpus, 3), MoveStatus::kSuccess);
  ASSERT_EQ(table.resize(kMaxTableEntries), MoveStatus::kSuccess);
  ASSERT_EQ(table.enable(), MoveStatus::kSuccess);

  std::vector<Move> good, outside, too_many;
  for (std::uint32_t i = 0; i < kMaxTableEntries; ++i) {
    good.push_back({i, 0, {}, kPort});
    outside.push_back({i, i + 1 == kMaxTableEntries ? 9u : 1u, {}, kPort});
    too_many.push_back({i, i % 4, {}, kPort});
  }
  const std::function<IndirectionTable*(std::uint32_t)> table_of = [&](std::uint32_t) {
    return &table;
  };
  std::array<MoveStatus, 3> said{};
  {
    const test::NoAllocation watch("a move");
    said = {move_entries(0, good, table_of), move_entries(0, outside, table_of),
            move_entries(0, too_many, table_of)};
  }
  EXPECT_EQ(said[0], MoveStatus::kSuccess);
  EXPECT_EQ(said[1], MoveStatus::kInvalidData);
  EXPECT_EQ(said[2], MoveStatus::kNoQueues);
  for (const CpuId cpu : table.entries())
    EXPECT_EQ(cpu, 0u);
}

}  // namespace
}  // namespace snp::rss
