// Two CPUs, one of which also polls the queue: its buckets leave until both are as busy, and then
// nothing moves any more.
#include "snp/rss/other_work.h"

#include <algorithm>
#include <array>
#include <random>

#include <gtest/gtest.h>

#include "snp/rss/balancer.h"

namespace snp::rss {
namespace {

constexpr std::uint32_t kBuckets = 128;
constexpr std::array<CpuId, 2> kCpus = {0, 1};

IndirectionTable even_table() {
  IndirectionTable table(0);
  std::vector<CpuId> entries(kBuckets);
  for (std::uint32_t i = 0; i < kBuckets; ++i)
    entries[i] = kCpus[i % 2];
  EXPECT_EQ(table.set_processors(kCpus, 64), MoveStatus::kSuccess);
  EXPECT_EQ(table.assign(entries), MoveStatus::kSuccess);
  EXPECT_EQ(table.enable(), MoveStatus::kSuccess);
  return table;
}

std::uint32_t buckets_of(const IndirectionTable& table, CpuId cpu) {
  return static_cast<std::uint32_t>(std::ranges::count(table.entries(), cpu));
}

// A model of the receive path: `arrive` packets a round in equal buckets; polling costs the first
// CPU `poll` of the time that a packet costs its CPU. What is more than a CPU's time is not
// counted.
struct Model {
  double arrive = 0;
  double poll = 0;
  double packets_a_cpu = 10'000;  // a round, when it does nothing else
  double noise = 0;               // of each measured share
  std::uint32_t seed = std::random_device{}();
  std::mt19937 random{seed};

  IndirectionTable table = even_table();
  Balancer balancer{};
  OtherWork other{};
  int moved = 0;

  double share(CpuId cpu) {
    std::uniform_real_distribution<double> error(-noise, noise);
    const double own = arrive * buckets_of(table, cpu) / kBuckets;
    const double work = (own + (cpu == 0 ? poll * arrive : 0)) / packets_a_cpu;
    return std::min(1.0, work + error(random));
  }
  void window() {
    for (int round = 0; round < 5; ++round) {
      const std::vector<std::uint64_t> packets(kBuckets,
                                               static_cast<std::uint64_t>(arrive / kBuckets));
      other.count(table, packets);
      const auto report = balancer.rebalance(table, kCpus, packets, other.of(kCpus));
      for (const BucketMove& step : report.moves) {
        std::array<Move, 1> group = {Move{step.bucket, step.to, MoveStatus::kSuccess}};
        EXPECT_EQ(table.move(step.from, group), MoveStatus::kSuccess);
        ++moved;
      }
    }
    // As if nothing had moved within the window: moves are few and the next window sees them.
    other.measure(std::array<KernelShare, 2>{{{0, share(0)}, {1, share(1)}}});
  }
};

TEST(OtherWork, ThePollingCpuKeepsFewerBuckets) {
  Model model;
  model.arrive = 14'000;
  model.poll = 0.2;
  for (int i = 0; i < 12; ++i)
    model.window();
  // (1 + poll) / 2 of the work for each: 0.4 of the packets stay with the first CPU.
  EXPECT_NEAR(buckets_of(model.table, 0), 0.4 * kBuckets, 5);
  EXPECT_NEAR(model.share(0), model.share(1), 0.09);  // the dead band
}

TEST(OtherWork, ThenItIsQuiet) {
  Model model;
  SCOPED_TRACE(model.seed);
  model.arrive = 14'000;
  model.poll = 0.2;
  model.noise = 0.01;
  for (int i = 0; i < 30; ++i)
    model.window();
  model.moved = 0;
  for (int i = 0; i < 200; ++i)
    model.window();
  EXPECT_LE(model.moved, 10);
}

TEST(OtherWork, DoesNotCountWhileCpusHaveTime) {
  Model model;
  model.arrive = 4'000;
  model.poll = 0.5;
  for (int i = 0; i < 20; ++i)
    model.window();
  EXPECT_EQ(model.moved, 0);
}

TEST(OtherWork, WorkWithoutPacketsCounts) {
  OtherWork other;
  const IndirectionTable table = even_table();
  std::vector<std::uint64_t> packets(kBuckets, 0);
  for (std::uint32_t i = 1; i < kBuckets; i += 2)
    packets[i] = 100;
  other.count(table, packets);
  other.measure(std::array<KernelShare, 2>{{{0, 0.4}, {1, 0.8}}});
  const auto work = other.of(kCpus);
  EXPECT_NEAR(work[0], 0.5 * 3200, 1);  // half the time of 6,400 packets; the first half of it
  EXPECT_EQ(work[1], 0);
}

TEST(OtherWork, NothingIsKnownOfWhatWasNeverMeasured) {
  OtherWork other;
  other.measure(std::array<KernelShare, 2>{{{0, 1.0}, {1, 0.5}}});
  EXPECT_EQ(other.of(kCpus), (std::vector<double>{0, 0}));
  other.measure({});
  EXPECT_EQ(other.of(std::array<CpuId, 1>{7}), std::vector<double>{0});
}

}  // namespace
}  // namespace snp::rss
