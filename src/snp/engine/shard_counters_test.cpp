// What a shard counts for the ledger: each frame once, for the device and family that it used.
#include <gtest/gtest.h>

#include "test/support/shard_world.h"

namespace snp::engine {
namespace {

TEST(ShardCounters, WhatOneSentTheOtherGot) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  std::vector<Stream> streams{{world.a, world.b, a, b, 1, 200'000}};
  transfer(world, streams);
  world.run_for(milliseconds(500));
  const auto sent = world.a.shards[0]->path_counters();
  const auto got = world.b.shards[0]->path_counters();
  EXPECT_GT(sent[P::kFramesOut], 0u);
  EXPECT_EQ(sent[P::kFramesOut], got[P::kFramesIn]);
  EXPECT_EQ(got[P::kFramesOut], sent[P::kFramesIn]);
  EXPECT_EQ(sent[P::kSegmentsOut], world.b.shards[0]->stats()[M::kSegmentsIn]);
  EXPECT_EQ(sent[P::kRetransmits], 0u);
  EXPECT_EQ(sent[P::kFramesOut] + got[P::kFramesOut], world.wire.counters().sent);
  // IP and TCP headers with timestamps are 52 octets of each frame.
  EXPECT_EQ(sent[P::kOctetsOut],
            world.a.shards[0]->stats()[M::kBytesOut] + 52 * sent[P::kFramesOut]);
}

TEST(ShardCounters, EstablishedIsWhatIsThereNow) {
  World world;
  const auto established = [&] { return world.a.shards[0]->path_counters()[P::kEstablished]; };
  world.a.open(0);
  world.b.open(0);
  world.a.open(1);
  world.b.open(1);
  world.run_for(milliseconds(1));
  EXPECT_EQ(established(), 2u);
  world.a.terminate(0);
  world.run_for(milliseconds(1));
  EXPECT_EQ(established(), 1u) << "it went home";
  world.b.app->slot(1).app.flags.store(ipc::slot_flag::kClosed | ipc::slot_flag::kAbort);
  world.b.app->ring(1);
  world.run_for(milliseconds(10));
  EXPECT_EQ(established(), 0u) << "the peer reset it";
  EXPECT_EQ(world.a.shards[0]->path_counters()[P::kEstabResets], 1u);
  EXPECT_EQ(world.b.shards[0]->path_counters()[P::kResetsOut], 1u);
}

// Reference 3.4 (a), (c): what was given to the host counts as given back, once, with its size.
TEST(ShardCounters, WhatIsGivenBackIsCountedAndForgedFramesApart) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  world.a.app->write(a, data);
  world.run_for(milliseconds(1));
  const FourTuple tuple = test::make_handoff(1, 0, 40000, *world.a.app, a).state.constant.tuple;
  const std::array<std::byte, 66> forged{std::byte{0xfe}};
  world.b.release(tuple, forged);
  world.run_for(microseconds(10));
  const auto counters = world.b.shards[0]->path_counters();
  EXPECT_EQ(counters[P::kReinjectedFrames], 1u);
  EXPECT_EQ(counters[P::kReinjectedOctets], 152u);
  EXPECT_EQ(counters[P::kForgedFrames], 1u);
  EXPECT_EQ(counters[P::kForgedOctets], 52u);
  EXPECT_EQ(counters[P::kFramesIn], 0u) << "no connection had it";
  EXPECT_EQ(counters[P::kDiscards], 0u);
}

TEST(ShardCounters, WhatNobodyClaimsIsDiscarded) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  world.a.app->write(a, data);
  world.run_for(seconds(30));
  const auto& shard = *world.b.shards[0];
  EXPECT_GT(shard.stats()[M::kFramesHeldExpired], 0u);
  EXPECT_EQ(shard.path_counters()[P::kDiscards], shard.stats()[M::kFramesHeldExpired]);
}

// Counters outlive an engine; what is now does not.
TEST(ShardCounters, GoOnInTheMemoryThatTheyAreGiven) {
  stats::EngineStats stats;
  std::array<stats::PathStats, 2> paths;
  std::array<stats::TargetAccount, 1> accounts;
  Wire wire({}, [] { return Instant{}; });
  Mailbox answers;
  WakeGuard guard;
  stats.add(M::kTurns, 7);
  stats.set(M::kConnections, 3);
  paths[1].set(P::kEstablished, 3);
  paths[1].add(P::kFramesIn, 5);
  std::vector<DevicePort> ports;
  ports.push_back({*wire.end(0).open_queue(0), wire.end(0).caps(), 1, false});
  ShardConfig config;
  config.stats = &stats;
  config.paths = paths.data();
  config.accounts = accounts.data();
  Shard shard(config, std::move(ports), nullptr, answers, guard, Instant{});
  shard.run_once(Instant{});
  EXPECT_EQ(stats[M::kTurns], 8u);
  EXPECT_EQ(stats[M::kConnections], 0u);
  EXPECT_EQ(shard.path_counters()[P::kFramesIn], 5u);
  EXPECT_EQ(shard.path_counters()[P::kEstablished], 0u);
}

}  // namespace
}  // namespace snp::engine
