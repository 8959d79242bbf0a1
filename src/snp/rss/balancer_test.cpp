// The balancer against synthetic load: it converges, leaves balance alone, never oscillates.
#include "snp/rss/balancer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

constexpr std::uint32_t kBuckets = 128;

IndirectionTable table_on(std::span<const CpuId> cpus, std::span<const CpuId> entries) {
  IndirectionTable table(cpus[0]);
  EXPECT_EQ(table.set_processors(cpus, 64), MoveStatus::kSuccess);
  EXPECT_EQ(table.assign(entries), MoveStatus::kSuccess);
  EXPECT_EQ(table.enable(), MoveStatus::kSuccess);
  return table;
}

void apply(IndirectionTable& table, const BalancerReport& report) {
  for (const BucketMove& step : report.moves) {
    std::array<Move, 1> group = {Move{step.bucket, step.to, MoveStatus::kSuccess}};
    ASSERT_EQ(table.move(step.from, group), MoveStatus::kSuccess);
  }
}

// Zipf over 1,000 flows; the buckets that are hot all lie on CPU 0.
std::vector<std::uint64_t> zipf_buckets(std::mt19937& random) {
  std::vector<std::uint64_t> packets(kBuckets, 0);
  for (int flow = 1; flow <= 1000; ++flow)
    packets[random() % kBuckets] += static_cast<std::uint64_t>(20000 / std::pow(flow, 0.7));
  return packets;
}

TEST(Balancer, SkewedLoadIsEvenAfterAFewRounds) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::vector<std::uint64_t> packets = zipf_buckets(random);
  const std::array<CpuId, 2> cpus = {0, 1};
  // The hotter half of the buckets starts on CPU 0.
  std::vector<std::uint32_t> by_load(kBuckets);
  std::iota(by_load.begin(), by_load.end(), 0);
  std::ranges::sort(by_load, [&](auto a, auto b) { return packets[a] > packets[b]; });
  std::vector<CpuId> entries(kBuckets, 1);
  for (std::uint32_t i = 0; i < kBuckets / 2; ++i)
    entries[by_load[i]] = 0;
  IndirectionTable table = table_on(cpus, entries);

  Balancer balancer;
  BalancerReport report;
  for (int round = 0; round < 10; ++round) {
    report = balancer.rebalance(table, cpus, packets);
    EXPECT_LE(report.moves.size(), BalancerConfig{}.moves_per_round);
    apply(table, report);
  }
  EXPECT_LT(report.imbalance_after, 0.10);
}

TEST(Balancer, LeavesBalanceAlone) {
  const std::array<CpuId, 2> cpus = {0, 1};
  std::vector<CpuId> entries(kBuckets);
  for (std::uint32_t i = 0; i < kBuckets; ++i)
    entries[i] = i % 2;
  const IndirectionTable table = table_on(cpus, entries);
  const std::vector<std::uint64_t> packets(kBuckets, 1000);
  Balancer balancer;
  for (int round = 0; round < 50; ++round)
    EXPECT_TRUE(balancer.rebalance(table, cpus, packets).moves.empty());
}

TEST(Balancer, NoisyLoadDoesNotMakeABucketGoBackAndForth) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::array<CpuId, 4> cpus = {0, 1, 2, 3};
  IndirectionTable table = table_on(cpus, std::vector<CpuId>(kBuckets, 0));
  std::poisson_distribution<std::uint64_t> noise(500);
  Balancer balancer;
  std::map<std::uint32_t, int> moves_of;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::uint64_t> packets(kBuckets);
    for (auto& count : packets)
      count = noise(random);
    const BalancerReport report = balancer.rebalance(table, cpus, packets);
    for (const BucketMove& move : report.moves)
      if (round > 60) ++moves_of[move.bucket];
    apply(table, report);
  }
  for (const auto& [bucket, moves] : moves_of)
    EXPECT_LE(moves, 2) << "bucket " << bucket;
}

TEST(Balancer, AnElephantIsNamedAndLeftAlone) {
  const std::array<CpuId, 2> cpus = {0, 1};
  std::vector<CpuId> entries(kBuckets, 0);
  IndirectionTable table = table_on(cpus, entries);
  std::vector<std::uint64_t> packets(kBuckets, 10);
  packets[7] = 100000;
  Balancer balancer;
  BalancerReport report;
  for (int round = 0; round < 30; ++round) {
    report = balancer.rebalance(table, cpus, packets);
    apply(table, report);
  }
  EXPECT_EQ(report.elephants, std::vector<std::uint32_t>{7});
  std::uint32_t beside = 0;  // buckets that still share the elephant's CPU
  for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket)
    if (bucket != 7 && table.entry(bucket) == table.entry(7)) ++beside;
  EXPECT_EQ(beside, 0u);
}

TEST(Balancer, ACpuThatLeavesTheSetLosesAllItsBuckets) {
  const std::array<CpuId, 2> both = {0, 1};
  std::vector<CpuId> entries(kBuckets);
  for (std::uint32_t i = 0; i < kBuckets; ++i)
    entries[i] = i % 2;
  const IndirectionTable table = table_on(both, entries);
  const std::vector<std::uint64_t> packets(kBuckets, 100);
  const std::array<CpuId, 1> left = {0};
  Balancer balancer;
  EXPECT_EQ(balancer.rebalance(table, left, packets).moves.size(), kBuckets / 2);
}

TEST(Balancer, PreviewRemembersNothing) {
  const std::array<CpuId, 2> cpus = {0, 1};
  const IndirectionTable table = table_on(cpus, std::vector<CpuId>(kBuckets, 0));
  const std::vector<std::uint64_t> packets(kBuckets, 100);
  Balancer balancer;
  const auto first = balancer.preview(table, cpus, packets);
  const auto second = balancer.preview(table, cpus, packets);
  EXPECT_FALSE(first.moves.empty());
  EXPECT_EQ(first.moves.size(), second.moves.size());
  EXPECT_EQ(first.moves[0].reason, second.moves[0].reason);
}

}  // namespace
}  // namespace snp::rss
