// CPUs come and go, and the set grows and shrinks with the load.
#include "snp/rss/membership.h"

#include <algorithm>
#include <array>
#include <map>

#include <gtest/gtest.h>

#include "snp/rss/processors.h"

namespace snp::rss {
namespace {

IndirectionTable table_over(const std::vector<CpuId>& cpus, std::uint32_t entries) {
  IndirectionTable table(cpus.front());
  (void)table.assign(spread(cpus, entries));
  (void)table.set_processors(cpus, 64);
  (void)table.enable();
  return table;
}

std::map<CpuId, int> counts_after(const IndirectionTable& table,
                                  const std::vector<BucketMove>& moves) {
  std::vector<CpuId> owner(table.entries().begin(), table.entries().end());
  for (const BucketMove& move : moves) {
    EXPECT_EQ(owner[move.bucket], move.from);
    owner[move.bucket] = move.to;
  }
  std::map<CpuId, int> counts;
  for (const CpuId cpu : owner)
    ++counts[cpu];
  return counts;
}

TEST(Membership, WhatACpuHadGoesToTheOthersAlikeAndNothingElseMoves) {
  const IndirectionTable table = table_over({0, 1, 2, 3}, 128);
  const std::array<CpuId, 3> stay = {0, 1, 3};
  const auto moves = moves_off(table, stay);
  EXPECT_EQ(moves.size(), 32u);
  for (const BucketMove& move : moves)
    EXPECT_EQ(move.from, 2u);
  const auto counts = counts_after(table, moves);
  EXPECT_FALSE(counts.contains(2));
  for (const auto& [cpu, count] : counts)
    EXPECT_NEAR(count, 128.0 / 3, 1) << cpu;
}

TEST(Membership, ANewCpuGetsItsShareAndOnlyThatMoves) {
  const IndirectionTable table = table_over({0, 1, 2}, 128);
  const std::array<CpuId, 4> all = {0, 1, 2, 5};
  const auto moves = moves_to_newcomers(table, all);
  EXPECT_EQ(moves.size(), 32u);
  const auto counts = counts_after(table, moves);
  for (const auto& [cpu, count] : counts)
    EXPECT_EQ(count, 32) << cpu;
  EXPECT_TRUE(moves_to_newcomers(table, std::array<CpuId, 3>{0, 1, 2}).empty());
}

TEST(Membership, MoreCpusThanBucketsLeaveSomeWithout) {
  const IndirectionTable table = table_over({0}, 2);
  const std::array<CpuId, 4> all = {0, 1, 2, 3};
  const auto moves = moves_to_newcomers(table, all);
  EXPECT_TRUE(counts_after(table, moves).contains(0));
}

TEST(Scaler, GrowsOnlyWhenACpuStaysFullAndUpToTheMost) {
  Scaler scaler;
  EXPECT_EQ(scaler.follow(std::array{0.9}, 2), 1u);  // a moment is none
  EXPECT_EQ(scaler.follow(std::array{0.5}, 2), 1u);
  EXPECT_EQ(scaler.follow(std::array{0.9}, 2), 1u);
  EXPECT_EQ(scaler.follow(std::array{0.9}, 2), 2u);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(scaler.follow(std::array{1.0, 1.0}, 2), 2u);
}

TEST(Scaler, ShrinksLateAndOnlyWhatTheOthersCarryEasily) {
  Scaler scaler;
  for (int i = 0; i < 30; ++i)  // one CPU would be 60 % busy: neither grows nor shrinks
    EXPECT_EQ(scaler.follow(std::array{0.3, 0.3}, 4), 2u);
  std::uint32_t rounds = 1;
  while (scaler.follow(std::array{0.2, 0.2}, 4) == 2 && rounds < 100)
    ++rounds;
  EXPECT_EQ(rounds, ScalerConfig().shrink_after);
}

TEST(Scaler, NeverOscillatesUnderAConstantLoad) {
  for (double load = 0.05; load < 4; load += 0.05) {
    Scaler scaler;
    std::uint32_t cpus = 1;
    int changes = 0;
    for (int round = 0; round < 200; ++round) {
      const std::vector<double> each(cpus, std::min(1.0, load / cpus));
      const std::uint32_t next = scaler.follow(each, 4);
      if (next != cpus) ++changes;
      cpus = next;
    }
    EXPECT_LE(changes, 3) << load;
    EXPECT_TRUE(cpus == 4 || load / cpus <= 0.75) << load;
  }
}

TEST(Scaler, AtMostWhatThereIs) {
  Scaler scaler;
  EXPECT_EQ(scaler.follow(std::array{0.9, 0.9, 0.9}, 2), 2u);
  EXPECT_EQ(scaler.follow({}, 0), 1u);
}

}  // namespace
}  // namespace snp::rss
