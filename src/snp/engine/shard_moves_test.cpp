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
    host->move_in(0, to);
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

// Text behind a gap, what the peer has SACKed, the window: nothing of that is dropped or begins
// anew, as it would by way of the host.
TEST(ShardMoves, TakeTheConnectionAsItIs) {
  const auto owner = std::make_shared<std::uint32_t>(0);
  auto losses = std::make_shared<int>(1);
  WireConfig config = wire_to(owner);
  config.classify = [owner, losses](std::span<const std::byte> frame) {
    constexpr std::size_t kWithText = 200;
    return frame.size() > kWithText && (*losses)-- > 0 ? 2u : *owner;  // nobody's
  };
  config.delay = milliseconds(5);
  World world(config, 3);
  const auto a = world.a.open(0, 0);
  world.b.open(0, 0);
  world.run_for(milliseconds(1));
  const std::vector<std::byte> text(8000);
  world.a.app->write(a, text);
  world.run_for(milliseconds(11));
  *losses = 0;
  std::array<tcp::Info, 2> before, after;
  before = {world.a.flows[0]->connection->info(), world.b.flows[0]->connection->info()};
  ASSERT_TRUE(world.b.flows[0]->connection->has_gap());
  ASSERT_GT(before[0].sacked_bytes, 0u);
  for (Host* host : {&world.a, &world.b}) {
    host->move_out(0, 1);
    ASSERT_NO_FATAL_FAILURE(step_until_answer(world, *host, MailKind::kMovedOut));
    host->app->move_slot(0, 1);
    host->move_in(0, 1);
    host->run(world.now);
  }
  *owner = 1;
  after = {world.a.flows[0]->connection->info(), world.b.flows[0]->connection->info()};
  EXPECT_TRUE(world.b.flows[0]->connection->has_gap());
  EXPECT_EQ(after[0].sacked_bytes, before[0].sacked_bytes);
  EXPECT_EQ(after[0].cwnd_bytes, before[0].cwnd_bytes);
  EXPECT_EQ(after[0].is_recovering, before[0].is_recovering);
  EXPECT_EQ(after[0].bytes_sent, before[0].bytes_sent);
  world.run_for(milliseconds(100));
  EXPECT_EQ(world.b.app->readable(0), text.size());
  EXPECT_EQ(world.a.flows[0]->connection->info().bytes_resent, 1448u) << "what was lost, once";
}

// Shards read the clock each for itself.
TEST(ShardMoves, TimeDoesNotGoBackForAConnection) {
  const auto owner = std::make_shared<std::uint32_t>(0);
  World world(wire_to(owner), 2);
  world.a.open(0, 0);
  world.b.open(0, 0);
  world.run_for(milliseconds(1));
  world.a.move_out(0, 1);
  ASSERT_NO_FATAL_FAILURE(step_until_answer(world, world.a, MailKind::kMovedOut));
  world.a.app->move_slot(0, 1);
  world.a.move_in(0, 1);
  Shard& shard = *world.a.shards[1];
  shard.run_once(world.a.flows[0]->left_at - microseconds(3));
  EXPECT_EQ(shard.connections(), 0u);
  EXPECT_TRUE(shard.has_pending()) << "the next turn is not put off";
  shard.run_once(world.a.flows[0]->left_at);
  EXPECT_EQ(shard.connections(), 1u);
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
