// Table sizes, the move rules and their errors (reference 5.4, 5.5).
#include "snp/rss/indirection_table.h"

#include <array>

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

constexpr std::array<CpuId, 4> kFourCpus = {0, 1, 2, 3};

IndirectionTable enabled_table() {
  IndirectionTable table(0);
  EXPECT_EQ(table.set_processors(kFourCpus, 4), MoveStatus::kSuccess);
  EXPECT_EQ(table.resize(8), MoveStatus::kSuccess);
  EXPECT_EQ(table.enable(), MoveStatus::kSuccess);
  return table;
}

MoveStatus move_one(IndirectionTable& table, CpuId actor, std::uint32_t index, CpuId target) {
  std::array<Move, 1> group = {Move{index, target, MoveStatus::kSuccess}};
  return table.move(actor, group);
}

TEST(IndirectionTable, StartsOnTheAffinityCpuWithOneEntry) {
  const IndirectionTable table(3);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.cpu_of(0xdeadbeef), 3u);
  EXPECT_EQ(table.default_cpu(), 3u);
}

TEST(IndirectionTable, TakesTheLowBitsOfTheHash) {
  IndirectionTable table = enabled_table();
  EXPECT_EQ(move_one(table, 0, 5, 2), MoveStatus::kSuccess);
  EXPECT_EQ(table.cpu_of(0xabcd0005), 2u);
  EXPECT_EQ(table.cpu_of(0xabcd000d), 2u);
  EXPECT_EQ(table.cpu_of(0xabcd0004), 0u);
}

TEST(IndirectionTable, RefusesSizesThatAreNoPowerOfTwo) {
  IndirectionTable table = enabled_table();
  for (const std::uint32_t size : {0u, 3u, 100u})
    EXPECT_EQ(table.resize(size), MoveStatus::kInvalidParameter) << size;
  EXPECT_EQ(table.size(), 8u);
}

TEST(IndirectionTable, GrowsByRepeatingAndShrinksOnlyWhatRepeats) {
  IndirectionTable table = enabled_table();
  EXPECT_EQ(move_one(table, 0, 3, 1), MoveStatus::kSuccess);
  EXPECT_EQ(table.resize(32), MoveStatus::kSuccess);
  for (std::uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(table.entry(i), i % 8 == 3 ? 1u : 0u);
  EXPECT_EQ(table.resize(8), MoveStatus::kSuccess);
  EXPECT_EQ(table.resize(4), MoveStatus::kInvalidData);  // 7 is 0, 3 is 1
  EXPECT_EQ(table.size(), 8u);
}

TEST(IndirectionTable, OnlyTheActingCpuMovesItsEntries) {
  IndirectionTable table = enabled_table();
  EXPECT_EQ(move_one(table, 1, 0, 2), MoveStatus::kNotAccepted);
  EXPECT_EQ(move_one(table, 0, 0, 0), MoveStatus::kSuccess);  // current to current
  EXPECT_EQ(move_one(table, 0, 8, 1), MoveStatus::kInvalidParameter);
  EXPECT_EQ(move_one(table, 0, 0, 9), MoveStatus::kInvalidData);
}

TEST(IndirectionTable, AGroupSucceedsOrFailsAsOne) {
  IndirectionTable table = enabled_table();
  std::array<Move, 3> group = {Move{0, 1, {}}, Move{1, 9, {}}, Move{2, 1, {}}};
  EXPECT_EQ(table.move(0, group), MoveStatus::kInvalidData);
  EXPECT_EQ(group[0].status, MoveStatus::kSuccess);
  EXPECT_EQ(group[1].status, MoveStatus::kInvalidData);
  EXPECT_EQ(table.entry(0), 0u);
}

TEST(IndirectionTable, NamesNoMoreCpusThanThereAreQueues) {
  IndirectionTable table(0);
  ASSERT_EQ(table.set_processors(kFourCpus, 2), MoveStatus::kSuccess);
  ASSERT_EQ(table.resize(8), MoveStatus::kSuccess);
  ASSERT_EQ(table.enable(), MoveStatus::kSuccess);
  EXPECT_EQ(move_one(table, 0, 0, 1), MoveStatus::kSuccess);
  EXPECT_EQ(move_one(table, 0, 1, 2), MoveStatus::kNoQueues);
  EXPECT_EQ(table.entry(1), 0u);
  EXPECT_EQ(table.set_processors(kFourCpus, 1), MoveStatus::kNoQueues);
}

TEST(IndirectionTable, InactiveParametersAreCheckedWhenTheyBecomeActive) {
  IndirectionTable table(0);
  ASSERT_EQ(table.set_processors(kFourCpus, 4), MoveStatus::kSuccess);
  EXPECT_EQ(move_one(table, 7, kDefaultProcessorIndex, 9), MoveStatus::kSuccess);  // recorded
  EXPECT_EQ(table.enable(), MoveStatus::kInvalidData);
  EXPECT_FALSE(table.is_enabled());
  EXPECT_EQ(move_one(table, 7, kDefaultProcessorIndex, 2), MoveStatus::kSuccess);
  EXPECT_EQ(table.enable(), MoveStatus::kSuccess);
  EXPECT_EQ(table.default_cpu(), 2u);
}

TEST(IndirectionTable, DisableReturnsToTheInitialState) {
  IndirectionTable table = enabled_table();
  ASSERT_EQ(move_one(table, 0, 1, 3), MoveStatus::kSuccess);
  table.disable();
  EXPECT_EQ(table.size(), 1u);
  EXPECT_FALSE(table.is_enabled());
  EXPECT_EQ(table.cpu_of(1), 0u);
}

TEST(IndirectionTable, AWholeTableIsTakenOrRefused) {
  IndirectionTable table = enabled_table();
  const std::array<CpuId, 4> good = {0, 1, 2, 3};
  const std::array<CpuId, 3> odd = {0, 1, 2};
  const std::array<CpuId, 4> outside = {0, 1, 2, 77};
  EXPECT_EQ(table.assign(good), MoveStatus::kSuccess);
  EXPECT_EQ(table.assign(odd), MoveStatus::kInvalidParameter);
  EXPECT_EQ(table.assign(outside), MoveStatus::kInvalidData);
  EXPECT_EQ(table.cpu_of(6), 2u);
}

}  // namespace
}  // namespace snp::rss
