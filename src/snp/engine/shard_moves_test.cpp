// A connection moves from one shard to another between two packets (reference 4.13): none is lost,
// none overtakes another, whatever thread runs first.
#include <random>

#include <gtest/gtest.h>

#include "snp/engine/shard.h"

#include "test/support/shard_world.h"

namespace snp::engine {
namespace {

constexpr Duration kDelay = microseconds(200);

using Owner = std::shared_ptr<std::uint32_t>;

WireConfig wire_to(const Owner& owner) {
  WireConfig config;
  config.delay = kDelay;
  config.classify = [owner](std::span<const std::byte>) { return *owner; };
  return config;
}

void step_until_answer(World& world, Host& host, MailKind kind) {
  for (int steps = 0; host.answer(kind, 0) == nullptr; ++steps) {
    ASSERT_LT(steps, 10000);
    world.step(world.now + microseconds(50));
  }
}

// Both ends, as the wire knows one owner for both; the streams go on meanwhile. `idle`: time
// between the hops; all of them stay below what TCP takes for a loss (RFC 8985 7.2: two round
// trips).
void move(World& world, const Owner& owner, std::uint32_t to, std::vector<Stream>& streams,
          Duration idle) {
  const auto rest = [&](Duration length) {
    for (const Instant end = world.now + length; world.now < end;) {
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      world.step(std::min(end, world.now + microseconds(10)));
    }
  };
  for (Host* host : {&world.a, &world.b}) {
    host->answered.clear();
    host->expect(0, host->records[0].constant.tuple, to);
    ASSERT_NO_FATAL_FAILURE(step_until_answer(world, *host, MailKind::kExpected));
  }
  *owner = to;
  rest(kDelay + idle);  // the wire chooses the queue of a frame when it is sent
  for (Host* host : {&world.a, &world.b}) {
    host->move_out(0, to);
    ASSERT_NO_FATAL_FAILURE(step_until_answer(world, *host, MailKind::kMovedOut));
    rest(idle);
    host->app->move_slot(0, to);
    host->offload(host->answer(MailKind::kMovedOut, 0)->handoff, to);
  }
}

std::uint64_t sum(const World& world, stats::EngineMetric metric) {
  std::uint64_t total = 0;
  for (const Host* host : {&world.a, &world.b})
    for (const auto& shard : host->shards)
      total += shard->stats()[metric];
  return total;
}

std::uint64_t sum(const World& world, stats::PathMetric metric) {
  std::uint64_t total = 0;
  for (const Host* host : {&world.a, &world.b})
    for (const auto& shard : host->shards)
      total += shard->path_counters()[metric];
  return total;
}

TEST(ShardMoves, LoseNothingAndReorderNothing) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto owner = std::make_shared<std::uint32_t>(0);
  World world(wire_to(owner), 2);
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, a, b, 1, 1'000'000});
  streams.push_back({world.b, world.a, b, a, 2, 1'000'000});
  std::uint32_t moves = 0;
  for (; moves < 30 && !streams[0].is_done(); ++moves) {
    for (auto steps = random() % 200; steps > 0; --steps) {
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      world.step();
    }
    ASSERT_NO_FATAL_FAILURE(move(world, owner, 1 - *owner, streams,
                                 microseconds(static_cast<std::int64_t>(10 + random() % 20))));
  }
  transfer(world, streams);
  EXPECT_EQ(sum(world, M::kConnectionsMoved), 2 * moves);
  // A probe at the end of a burst repeats what had arrived (RFC 8985 7.2); a lost frame would be
  // repeated and taken, an overtaken one refused without having been repeated.
  EXPECT_EQ(sum(world, P::kRetransmits), sum(world, M::kFramesUnacceptable));
  EXPECT_EQ(sum(world, M::kFramesHeldExpired), 0u);
  EXPECT_EQ(sum(world, M::kFramesHeldDropped), 0u);
}

TEST(ShardMoves, WhatStillReachesTheOldShardIsPassedOn) {
  const auto owner = std::make_shared<std::uint32_t>(0);
  World world(wire_to(owner), 2);
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  world.run_for(milliseconds(1));
  std::vector<Stream> streams;
  ASSERT_NO_FATAL_FAILURE(move(world, owner, 1, streams, Duration(0)));
  *owner = 0;  // a CPU that had looked the shard up before
  streams.push_back({world.a, world.b, a, b, 1, 20'000});
  transfer(world, streams);
  EXPECT_GT(sum(world, M::kFramesPassedOn), 0u);
  EXPECT_EQ(sum(world, P::kRetransmits), 0u);
  EXPECT_EQ(world.b.shards[1]->stats()[M::kFramesHeldExpired], 0u);
}

TEST(ShardMoves, AConnectionThatIsOverStays) {
  const auto owner = std::make_shared<std::uint32_t>(0);
  World world(wire_to(owner), 2);
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  world.run_for(milliseconds(1));
  world.a.app->set_flags(a, ipc::slot_flag::kClosed);
  world.a.move_out(0, 1);
  ASSERT_NO_FATAL_FAILURE(step_until_answer(world, world.a, MailKind::kRefused));
  world.b.app->set_flags(b, ipc::slot_flag::kClosed);
  world.run_for(seconds(61));
  EXPECT_NE(world.a.answer(MailKind::kFinished, 0), nullptr);
  EXPECT_EQ(sum(world, M::kConnectionsMoved), 0u);
}

TEST(ShardMoves, WhatTheWrongShardHoldsGoesBackInOrder) {
  const auto owner = std::make_shared<std::uint32_t>(0);
  World world(wire_to(owner), 2);
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  world.run_for(milliseconds(1));
  *owner = 1;  // steering went over, and the old shard refused
  std::vector<std::byte> data(5000);
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = pattern(1, i);
  world.a.app->write(a, data);
  world.run_for(microseconds(500));
  EXPECT_GT(sum(world, M::kFramesHeld), 0u);
  for (Host* host : {&world.a, &world.b}) {
    Mail& mail = host->make(MailKind::kPassOn, 1);
    mail.shard = 0;
    mail.handoff.state.constant.tuple = host->records[0].constant.tuple;
    host->shards[1]->inbox().post(mail);
  }
  world.run_for(milliseconds(5));
  *owner = 0;
  EXPECT_EQ(world.b.app->readable(b), data.size());
  EXPECT_GT(sum(world, M::kFramesPassedOn), 0u);
  EXPECT_EQ(sum(world, M::kFramesUnacceptable), 0u);
}

}  // namespace
}  // namespace snp::engine
