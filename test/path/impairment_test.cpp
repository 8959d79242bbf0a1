// The model of a path in virtual time: each impairment alone, its share, and that a seed repeats
// it.
#include "test/path/impairment.h"

#include <vector>

#include <gtest/gtest.h>

#include "test/path/in_flight.h"

namespace snp::path {
namespace {

constexpr Instant kStart = Instant(seconds(1000));
constexpr int kMany = 200'000;

double share(std::uint64_t part, std::uint64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

LinkConfig plain() {
  LinkConfig config;
  config.delay = milliseconds(7);
  return config;
}

Impairment::Counts send_many(const LinkConfig& config, std::uint64_t seed = 1) {
  Impairment link(config);
  Random random(seed);
  for (int i = 0; i < kMany; ++i)
    link.send(1514, false, kStart + microseconds(i), random);
  return link.counts();
}

TEST(Impairment, APlainPathOnlyDelays) {
  Impairment link(plain());
  Random random(1);
  const auto fate = link.send(1514, true, kStart, random);
  EXPECT_EQ(fate.copies, 1);
  EXPECT_EQ(fate.arrivals[0], kStart + milliseconds(7));
  EXPECT_FALSE(fate.is_marked);
}

TEST(Impairment, RandomLossHasItsShare) {
  LinkConfig config = plain();
  config.loss = 0.03;
  const auto counts = send_many(config);
  EXPECT_NEAR(share(counts.lost, counts.packets), 0.03, 0.002);
}

TEST(Impairment, BurstsHaveTheirShareAndLength) {
  LinkConfig config = plain();
  config.burst_begin = 0.0025;
  config.burst_end = 0.25;  // 1 % in bursts of four
  Impairment link(config);
  Random random(3);
  std::uint64_t bursts = 0;
  bool was_lost = false;
  for (int i = 0; i < kMany; ++i) {
    const bool is_lost = link.send(1514, false, kStart, random).copies == 0;
    if (is_lost && !was_lost) ++bursts;
    was_lost = is_lost;
  }
  EXPECT_NEAR(share(link.counts().lost, kMany), 0.0099, 0.0015);
  EXPECT_NEAR(share(link.counts().lost, bursts), 4, 0.5);
}

TEST(Impairment, BurstsCanBeBounded) {
  LinkConfig config = plain();
  config.burst_begin = 0.05;
  config.burst_end = 0.01;
  config.longest_burst = 4;
  Impairment link(config);
  Random random(4);
  int length = 0;
  int longest = 0;
  for (int i = 0; i < kMany; ++i) {
    length = link.send(1514, false, kStart, random).copies == 0 ? length + 1 : 0;
    longest = std::max(longest, length);
  }
  EXPECT_EQ(longest, 4);
}

TEST(Impairment, TheRateSpacesPackets) {
  LinkConfig config = plain();
  config.rate_bps = 8e6;  // a byte each microsecond
  Impairment link(config);
  Random random(1);
  for (int i = 1; i <= 10; ++i)
    EXPECT_EQ(link.send(1000, false, kStart, random).arrivals[0],
              kStart + milliseconds(i) + milliseconds(7));
  // After a pause the transmitter is free at once.
  const Instant later = kStart + seconds(1);
  EXPECT_EQ(link.send(1000, false, later, random).arrivals[0], later + milliseconds(8));
}

TEST(Impairment, AFullQueueDropsAndDrains) {
  LinkConfig config = plain();
  config.rate_bps = 8e6;
  config.queue_bytes = 3000;
  Impairment link(config);
  Random random(1);
  int taken = 0;
  for (int i = 0; i < 10; ++i)
    taken += link.send(1000, false, kStart, random).copies;
  EXPECT_EQ(taken, 4);  // one in transmission, three wait
  EXPECT_EQ(link.counts().overflowed, 6u);
  EXPECT_EQ(link.send(1000, false, kStart + milliseconds(2), random).copies, 1);
}

TEST(Impairment, ReorderingStaysWithinItsDelay) {
  LinkConfig config = plain();
  config.reorder = 0.1;
  config.reorder_delay = milliseconds(20);
  Impairment link(config);
  Random random(5);
  Duration most{};
  for (int i = 0; i < kMany; ++i) {
    const Duration extra =
        link.send(1514, false, kStart, random).arrivals[0] - kStart - milliseconds(7);
    EXPECT_GE(extra, Duration{});
    most = std::max(most, extra);
  }
  EXPECT_NEAR(share(link.counts().reordered, kMany), 0.1, 0.005);
  EXPECT_LT(most, milliseconds(20));
  EXPECT_GT(most, milliseconds(19));
}

TEST(Impairment, DuplicatesArriveTwice) {
  LinkConfig config = plain();
  config.duplicate = 0.02;
  const auto counts = send_many(config);
  EXPECT_NEAR(share(counts.duplicated, counts.packets), 0.02, 0.002);
}

TEST(Impairment, OnlyCapablePacketsAreMarked) {
  LinkConfig config = plain();
  config.mark = 0.5;
  Impairment link(config);
  Random random(6);
  for (int i = 0; i < 1000; ++i)
    EXPECT_FALSE(link.send(1514, false, kStart, random).is_marked);
  for (int i = 0; i < 1000; ++i)
    link.send(1514, true, kStart, random);
  EXPECT_NEAR(share(link.counts().marked, 1000), 0.5, 0.1);
}

TEST(Impairment, ASeedRepeatsEverything) {
  LinkConfig config = plain();
  config.loss = config.duplicate = config.reorder = 0.05;
  config.burst_begin = 0.01;
  for (const std::uint64_t other : {7u, 8u}) {
    Impairment one(config);
    Impairment two(config);
    Random first(7);
    Random second(other);
    int differences = 0;
    for (int i = 0; i < 1000; ++i) {
      const auto a = one.send(1514, false, kStart + microseconds(i), first);
      const auto b = two.send(1514, false, kStart + microseconds(i), second);
      differences += a.copies != b.copies || a.arrivals != b.arrivals ? 1 : 0;
    }
    EXPECT_EQ(differences == 0, other == 7);
  }
}

TEST(Impairment, AChangeTakesEffectWithTheNextPacket) {
  Impairment link(plain());
  Random random(1);
  LinkConfig faster = plain();
  faster.delay = milliseconds(2);
  EXPECT_EQ(link.send(1514, false, kStart, random).arrivals[0], kStart + milliseconds(7));
  link.change(faster);
  EXPECT_EQ(link.send(1514, false, kStart, random).arrivals[0], kStart + milliseconds(2));
}

TEST(LinkText, IsUnderstoodOrRefused) {
  const auto config = parse_link_config(
      "delay_ms=0.5,rate_mbps=50,queue_kb=128,loss=0.01,burst_begin=0.002,burst_end=0.5,"
      "longest_burst=9,reorder=0.1,reorder_ms=20,duplicate=0.3,mark=0.4");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->delay, microseconds(500));
  EXPECT_EQ(config->rate_bps, 50e6);
  EXPECT_EQ(config->queue_bytes, 128'000u);
  EXPECT_EQ(config->loss, 0.01);
  EXPECT_EQ(config->burst_begin, 0.002);
  EXPECT_EQ(config->burst_end, 0.5);
  EXPECT_EQ(config->longest_burst, 9u);
  EXPECT_EQ(config->reorder, 0.1);
  EXPECT_EQ(config->reorder_delay, milliseconds(20));
  EXPECT_EQ(config->duplicate, 0.3);
  EXPECT_EQ(config->mark, 0.4);
  EXPECT_TRUE(parse_link_config(""));
  for (const char* wrong : {"loss", "loss=", "loss=x", "loss=2", "loss=-1", "unknown=1", "loss=1x"})
    EXPECT_FALSE(parse_link_config(wrong)) << wrong;
}

TEST(InFlight, ArrivesInOrderOfTimeAndThenOfSending) {
  InFlight<int> flight;
  flight.push(1, kStart + milliseconds(2));
  flight.push(2, kStart + milliseconds(1));
  flight.push(3, kStart + milliseconds(1));
  EXPECT_EQ(flight.next_arrival(), kStart + milliseconds(1));
  EXPECT_EQ(flight.peek(kStart), nullptr);
  std::vector<int> order;
  while (auto item = flight.pop(kStart + milliseconds(2)))
    order.push_back(*item);
  EXPECT_EQ(order, (std::vector{2, 3, 1}));
  EXPECT_EQ(flight.next_arrival(), kNever);
}

}  // namespace
}  // namespace snp::path
