// Shards are killed at any turn, and others go on with what flow records and arenas say.
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "test/support/shard_world.h"

namespace snp::engine {
namespace {

WireConfig lossy(double rate, bool offloads, std::uint64_t seed) {
  WireConfig config;
  config.delay = microseconds(200);
  config.loss = config.duplicate = config.reorder = rate;
  config.reorder_delay = microseconds(700);
  config.seed = seed;
  if (offloads) config.caps = {61440, true, true};
  return config;
}

void kill_and_resume(World& world, Host& host, chimney::ConnectionId connections) {
  host.kill();
  host.start_shards(world.wire, world.now);
  for (chimney::ConnectionId id = 0; id < connections; ++id)
    if (host.records[id].slot != ipc::kNoSlot) host.resume(id, world.now);
}

class ShardKilled : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(ShardKilled, LosesNoByteAtAnyMoment) {
  constexpr chimney::ConnectionId kConnections = 3;
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937_64 random(GetParam());
  World world(lossy(random() % 2 == 0 ? 0 : 0.01, random() % 2 == 0, GetParam()));
  std::vector<Stream> streams;
  for (chimney::ConnectionId id = 0; id < kConnections; ++id) {
    const auto a = world.a.open(id);
    const auto b = world.b.open(id);
    streams.push_back({world.a, world.b, a, b, id * 2, 1'000'000});
    streams.push_back({world.b, world.a, b, a, id * 2 + 1, 800'000});
  }
  const auto is_done = [](const Stream& stream) { return stream.is_done(); };
  const Instant end = world.now + seconds(300);
  int kills = 0;
  for (std::uint64_t until_kill = 0; !std::all_of(streams.begin(), streams.end(), is_done);) {
    for (Stream& stream : streams)
      ASSERT_NO_FATAL_FAILURE(stream.pump());
    ASSERT_LT(world.now, end) << "stalled after " << kills << " kills";
    world.step();
    if (until_kill-- != 0) continue;
    kill_and_resume(world, random() % 2 == 0 ? world.a : world.b, kConnections);
    ++kills;
    until_kill = random() % 40;
  }
  EXPECT_GT(kills, 10);
  EXPECT_EQ(world.a.shards[0]->stats()[M::kConnectionsHostile], 0u);
  EXPECT_EQ(world.b.shards[0]->stats()[M::kConnectionsHostile], 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ShardKilled, ::testing::Range<std::uint64_t>(1, 17));

// Whatever the application did while nobody looked counts.
TEST(ShardKilled, HearsWhatWasSaidMeanwhile) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(5));
  world.a.kill();
  const std::array<std::byte, 500> data{};
  EXPECT_EQ(world.a.app->write(a, data), data.size());
  world.a.app->set_flags(a, ipc::slot_flag::kShutdownWrite);
  ipc::drain(world.a.app->doorbells(0), [](ipc::SlotId) {});  // heard by who is dead
  world.a.start_shards(world.wire, world.now);
  world.a.resume(0, world.now);
  world.run_for(seconds(2));
  EXPECT_EQ(world.b.app->readable(b), data.size());
  EXPECT_EQ(world.b.app->status(b), ipc::slot_status::kPeerClosed);
}

// FIN sent and FIN received survive; so does what was acknowledged of them.
TEST(ShardKilled, RemembersHalfClosedStates) {
  for (const bool kills_closer : {true, false}) {
    World world;
    const auto a = world.a.open(0);
    const auto b = world.b.open(0);
    world.run_for(milliseconds(5));
    world.a.app->set_flags(a, ipc::slot_flag::kShutdownWrite);
    world.run_for(milliseconds(5));
    ASSERT_EQ(world.b.app->status(b), ipc::slot_status::kPeerClosed);
    kill_and_resume(world, kills_closer ? world.a : world.b, 1);
    world.run_for(milliseconds(5));
    const std::array<std::byte, 700> data{};
    EXPECT_EQ(world.b.app->write(b, data), data.size());
    world.b.app->set_flags(b, ipc::slot_flag::kShutdownWrite);
    world.run_for(seconds(2));
    EXPECT_EQ(world.a.app->readable(a), data.size());
    EXPECT_EQ(world.a.app->status(a), ipc::slot_status::kPeerClosed);
    EXPECT_EQ(world.b.app->status(b), ipc::slot_status::kPeerClosed);
  }
}

// A peer that has no room must be asked again by the one that took over.
TEST(ShardKilled, AsksAgainAtAClosedWindow) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  std::vector<std::byte> data(2 * kRing);
  std::size_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    sent += world.a.app->write(
        a, std::span(data).subspan(sent, std::min<std::size_t>(5000, data.size() - sent)));
    world.run_for(milliseconds(1));
  }
  kill_and_resume(world, world.a, 1);
  world.run_for(milliseconds(1));
  std::size_t received = 0;
  for (int i = 0; i < 2000 && received < data.size(); ++i) {
    std::array<std::byte, 5000> buffer;
    received += world.b.app->read(b, buffer);
    sent += world.a.app->write(a, std::span(data).subspan(sent));
    world.run_for(milliseconds(10));
  }
  EXPECT_EQ(received, data.size());
}

}  // namespace
}  // namespace snp::engine
