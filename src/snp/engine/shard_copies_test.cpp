// Shards whose copy engines are slow, wrong or gone: each byte is right, nothing is shown before
// its copy is over, and no frame of a device stays behind. The engine makes a mess of its
// destination until the last moment (test/support/scripted_channel.h).
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "snp/netdma/cpu_channel.h"

#include "test/support/scripted_channel.h"
#include "test/support/shard_world.h"

namespace snp::engine {
namespace {

using netdma::CopierSettings;
using stats::CopyOutcome;
using test::ScriptedChannel;
using NM = stats::NetdmaMetric;

WireConfig path(bool offloads = true, double trouble = 0, std::uint64_t seed = 1) {
  WireConfig config;
  config.delay = microseconds(50);
  config.loss = config.duplicate = config.reorder = trouble;
  config.reorder_delay = microseconds(300);
  config.seed = seed;
  if (offloads) config.caps = {61440, true, true};
  return config;
}

CopierSettings on(std::uint32_t min_bytes = 0) {
  CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = min_bytes;
  settings.is_worth.fill(true);
  return settings;
}

// Both hosts have engines.
struct CopyWorld : World {
  explicit CopyWorld(const WireConfig& config = path(), const CopierSettings& how = on(),
                     std::uint32_t shards = 1, std::uint32_t largest_transfer = 1u << 20)
      : World(config, shards), settings(how), largest(largest_transfer) {
    give_engines(a);
    give_engines(b);
  }

  void give_engines(Host& host) {
    auto& own = channels[host.end];
    own.clear();
    for (auto& shard : host.shards) {
      auto channel = std::make_unique<ScriptedChannel>([this] { return clock(); });
      own.push_back(channel.get());
      channel->caps.largest_transfer = largest;
      channel->delay = delay;
      channel->random_delay = random_delay;
      shard->use_copier(std::make_unique<netdma::Copier>(std::move(channel), netdma::CopierLimits{},
                                                         [this] { return clock(); }));
      shard->configure_copies(settings);
    }
  }
  // Time goes on for who waits for a copy within a turn.
  Instant clock() { return now + (ticks += microseconds(1)); }
  ScriptedChannel& engine_of(const Host& host, std::uint32_t shard = 0) {
    return *channels[host.end][shard];
  }
  void set_delay(Duration time) {
    delay = time;
    for (auto& own : channels)
      for (ScriptedChannel* channel : own)
        channel->delay = time;
  }
  [[nodiscard]] stats::NetdmaSnapshot counts() const {
    stats::NetdmaSnapshot sum;
    for (const Host* host : {&a, &b})
      for (const auto& shard : host->shards)
        sum.merge(shard->copier()->stats().snapshot());
    return sum;
  }
  // Bytes of a pattern, as far as there is room.
  std::size_t write(Host& host, ipc::SlotId slot, std::size_t length, std::uint64_t from = 0) {
    std::vector<std::byte> data(length);
    for (std::size_t i = 0; i < length; ++i)
      data[i] = pattern(7, from + i);
    return host.app->write(slot, data);
  }
  void expect_readable(Host& host, ipc::SlotId slot, std::size_t length, std::uint64_t from = 0) {
    std::vector<std::byte> data(length);
    ASSERT_EQ(host.app->readable(slot), length);
    ASSERT_EQ(host.app->read(slot, data), length);
    for (std::size_t i = 0; i < length; ++i)
      ASSERT_EQ(data[i], pattern(7, from + i)) << "at " << i;
  }
  // Everything that devices lent is back: after a turn that received nothing more.
  void expect_no_frame_kept() {
    run_for(milliseconds(300));
    EXPECT_EQ(wire.lent(0), 0u);
    EXPECT_EQ(wire.lent(1), 0u);
    EXPECT_EQ(counts().metrics[NM::kFramesKept], 0u);
  }

  CopierSettings settings;
  std::uint32_t largest;
  Duration ticks{};
  Duration delay = microseconds(30);
  std::function<Duration()> random_delay;
  std::array<std::vector<ScriptedChannel*>, 2> channels;
};

class ShardCopies : public ::testing::TestWithParam<std::uint64_t> {};

// Loss, reordering, small and large frames, several connections, engines that fail, hang, report in
// disorder or late; and nothing of it reaches a stream.
TEST_P(ShardCopies, CarryEachByteWhateverHappens) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937_64 random(GetParam());
  CopierSettings settings = on(random() % 3 == 0 ? 1000 : 0);
  if (random() % 4 == 0) settings.sync_below_bytes = 40'000;
  CopyWorld world(path(random() % 4 != 0, random() % 2 == 0 ? 0 : 0.01, GetParam()), settings, 1,
                  1u << (12 + random() % 6));
  std::vector<Stream> streams;
  for (chimney::ConnectionId id = 0; id < 3; ++id) {
    const auto a = world.a.open(id);
    const auto b = world.b.open(id);
    streams.push_back({world.a, world.b, a, b, id * 2, 600'000});
    streams.push_back({world.b, world.a, b, a, id * 2 + 1, 300'000});
  }
  for (auto& own : world.channels) {
    ScriptedChannel& channel = *own.front();
    channel.random_delay = [&] { return microseconds(random() % 200); };
    channel.is_disordered = random() % 4 == 0;
    channel.reports_late = random() % 2 == 0;
    channel.halts_on_failure = random() % 2 == 0;
  }
  const Instant end = world.now + seconds(300);
  const auto is_done = [](const Stream& stream) { return stream.is_done(); };
  while (!std::all_of(streams.begin(), streams.end(), is_done)) {
    for (Stream& stream : streams)
      ASSERT_NO_FATAL_FAILURE(stream.pump());
    ASSERT_LT(world.now, end) << "stalled";
    world.step();
    if (random() % 100 == 0) world.engine_of(world.a).fail_next = 1;
    ScriptedChannel& other = world.engine_of(world.b);
    other.is_stuck = random() % 200 == 0 || (other.is_stuck && random() % 20 != 0);
  }
  const auto counts = world.counts();
  EXPECT_GT(counts.of(CopyOutcome::kEngine).copies, 20u);
  EXPECT_GT(counts.metrics[NM::kQuarantines], 0u);
  world.expect_no_frame_kept();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ShardCopies, ::testing::Range<std::uint64_t>(1, 11));

TEST(ShardCopies, NothingIsStoredShownOrAcknowledgedBeforeItsCopyIsOver) {
  CopyWorld world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  const std::uint64_t before = ipc::snapshot_of(world.b.records[0]).rcv_pos;
  world.set_delay(milliseconds(8));
  ASSERT_EQ(world.write(world.a, a, 9000), 9000u);
  world.run_for(milliseconds(4));
  EXPECT_GT(world.engine_of(world.b).submitted(), 0u);
  EXPECT_EQ(world.b.app->readable(b), 0u);
  EXPECT_EQ(ipc::snapshot_of(world.b.records[0]).rcv_pos, before);
  EXPECT_EQ(ipc::snapshot_of(world.a.records[0]).una_pos, before) << "it was acknowledged";
  EXPECT_GT(world.wire.lent(1), 0u);
  world.run_for(milliseconds(20));
  EXPECT_EQ(ipc::snapshot_of(world.b.records[0]).rcv_pos, before + 9000);
  EXPECT_EQ(ipc::snapshot_of(world.a.records[0]).una_pos, before + 9000);
  ASSERT_NO_FATAL_FAILURE(world.expect_readable(world.b, b, 9000));
  world.expect_no_frame_kept();
}

// The other connections of the shard go on.
TEST(ShardCopies, SmallRequestsOfOthersDoNotWait) {
  CopyWorld world(path(), on(4096));
  const auto a0 = world.a.open(0);
  const auto b0 = world.b.open(0);
  const auto a1 = world.a.open(1);
  const auto b1 = world.b.open(1);
  world.run_for(milliseconds(1));
  world.set_delay(milliseconds(10));
  world.write(world.a, a0, 20'000);
  world.run_for(milliseconds(1));
  world.write(world.a, a1, 100);
  world.run_for(milliseconds(1));
  EXPECT_EQ(world.b.app->readable(b0), 0u);
  EXPECT_EQ(world.b.app->readable(b1), 100u);
  EXPECT_EQ(world.counts().of(CopyOutcome::kSmall).copies, 1u);
  world.run_for(milliseconds(30));
  ASSERT_NO_FATAL_FAILURE(world.expect_readable(world.b, b0, 20'000));
}

TEST(ShardCopies, OffOrBypassedNothingIsCounted) {
  CopierSettings off = on();
  off.is_enabled = false;
  CopierSettings bypassed = on();
  bypassed.is_worth.fill(false);
  for (const CopierSettings& settings : {off, bypassed}) {
    CopyWorld world(path(), settings);
    std::vector<Stream> streams;
    const auto a = world.a.open(0);
    const auto b = world.b.open(0);
    streams.push_back({world.a, world.b, a, b, 1, 500'000});
    transfer(world, streams);
    EXPECT_EQ(world.engine_of(world.b).submitted(), 0u);
    for (std::size_t outcome = 0; outcome < stats::kCopyOutcomes; ++outcome)
      EXPECT_EQ(world.counts().of(static_cast<CopyOutcome>(outcome)).copies, 0u);
  }
}

// CFG-6: what is under way goes on as it began.
TEST(ShardCopies, SettingsChangeLive) {
  CopyWorld world;
  std::vector<Stream> streams;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  streams.push_back({world.a, world.b, a, b, 1, 3'000'000});
  std::uint64_t submitted = 0;
  for (int round = 0; round < 20; ++round) {
    CopierSettings settings = on();
    settings.is_enabled = round % 2 == 0;
    Mail& mail = world.b.make(MailKind::kCopies, 0);
    mail.copies = settings;
    world.b.shards[0]->inbox().post(mail);
    world.step();
    const std::uint64_t at_change = world.engine_of(world.b).submitted();
    for (int steps = 0; steps < 50; ++steps) {
      ASSERT_NO_FATAL_FAILURE(streams[0].pump());
      world.step();
    }
    submitted = world.engine_of(world.b).submitted();
    if (settings.is_enabled)
      EXPECT_GT(submitted, at_change);
    else
      EXPECT_EQ(submitted, at_change);
  }
  transfer(world, streams);
  world.expect_no_frame_kept();
}

// DmaSyncCompletionHighThreshold (6.4): with so little room left, each copy is waited for at once.
TEST(ShardCopies, WaitsAtOnceWhenLittleRoomIsLeft) {
  CopierSettings settings = on();
  settings.sync_below_bytes = kRing + 1;
  CopyWorld world(path(), settings);
  world.set_delay(microseconds(200));
  std::vector<Stream> streams;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  streams.push_back({world.a, world.b, a, b, 1, 500'000});
  transfer(world, streams);
  const auto counts = world.counts();
  EXPECT_EQ(counts.metrics[NM::kWaitsAtOnce], counts.of(CopyOutcome::kEngine).copies);
  EXPECT_GT(counts.metrics[NM::kWaitNs], 0u);
  // And with half of the ring: only when it has filled.
  settings.sync_below_bytes = kRing / 2;
  CopyWorld other(path(), settings);
  const auto c = other.a.open(0);
  const auto d = other.b.open(0);
  other.write(other.a, c, 20'000);
  other.run_for(milliseconds(5));
  EXPECT_EQ(other.counts().metrics[NM::kWaitsAtOnce], 0u);
  other.write(other.a, c, 20'000, 20'000);
  other.run_for(milliseconds(5));
  EXPECT_GT(other.counts().metrics[NM::kWaitsAtOnce], 0u);
  ASSERT_NO_FATAL_FAILURE(other.expect_readable(other.b, d, 40'000));
}

// A copy that never completes.
TEST(ShardCopies, AStuckEngineDelaysAStreamNoLongerThanThePatience) {
  CopyWorld world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  world.engine_of(world.b).is_stuck = true;
  world.write(world.a, a, 30'000);
  world.run_for(milliseconds(150));
  ASSERT_NO_FATAL_FAILURE(world.expect_readable(world.b, b, 30'000));
  EXPECT_EQ(world.engine_of(world.b).aborts(), 1u);
  world.write(world.a, a, 30'000, 30'000);
  world.run_for(milliseconds(5));
  ASSERT_NO_FATAL_FAILURE(world.expect_readable(world.b, b, 30'000, 30'000));
  EXPECT_GT(world.counts().of(CopyOutcome::kLate).copies, 0u);
  EXPECT_GT(world.counts().of(CopyOutcome::kNoEngine).copies, 0u);
  world.expect_no_frame_kept();
}

TEST(ShardCopies, AnEngineMayBeRemovedInUse) {
  CopyWorld world;
  std::vector<Stream> streams;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  streams.push_back({world.a, world.b, a, b, 1, 2'000'000});
  world.set_delay(microseconds(200));
  while (world.engine_of(world.b).outstanding() < 3) {
    ASSERT_NO_FATAL_FAILURE(streams[0].pump());
    world.step();
  }
  world.engine_of(world.b).remove();
  transfer(world, streams);
  EXPECT_GT(world.counts().of(CopyOutcome::kNoEngine).copies, 0u);
  world.expect_no_frame_kept();
}

// Uploaded with copies in flight: what is handed out is complete.
TEST(ShardCopies, AnUploadWaitsForThem) {
  for (const bool is_stuck : {false, true}) {
    CopyWorld world;
    const auto a = world.a.open(0);
    const auto b = world.b.open(0);
    world.run_for(milliseconds(1));
    world.set_delay(milliseconds(4));
    world.engine_of(world.b).is_stuck = is_stuck;
    world.write(world.a, a, 15'000);
    world.run_for(milliseconds(1));
    ASSERT_GT(world.engine_of(world.b).outstanding(), 0u);
    world.b.terminate(0);
    for (int steps = 0; world.b.answer(MailKind::kTerminated, 0) == nullptr; ++steps) {
      ASSERT_LT(steps, 1000);
      world.step(world.now + microseconds(50));
    }
    EXPECT_EQ(world.engine_of(world.b).outstanding(), 0u);
    EXPECT_EQ(world.counts().metrics[NM::kWaitsToFinish], 1u);
    const chimney::Handoff& handoff = world.b.answer(MailKind::kTerminated, 0)->handoff;
    ASSERT_GT(handoff.rx_range.length(), 0u);
    std::vector<std::byte> bytes(handoff.rx_range.length());
    handoff.rx.copy_out(handoff.rx_range.begin, bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      ASSERT_EQ(bytes[i], pattern(7, i)) << "at " << i;
    EXPECT_EQ(ipc::snapshot_of(world.b.records[0]).rcv_pos, handoff.rx_range.end);
    // It comes back, and goes on.
    world.b.offload(handoff, 0);
    world.run_for(seconds(1));
    ASSERT_NO_FATAL_FAILURE(world.expect_readable(world.b, b, 15'000));
    world.expect_no_frame_kept();
  }
}

// Random hand-overs, at both ends, while engines copy.
TEST(ShardCopies, HandOversInMidTransferLoseNothing) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto owner = std::make_shared<std::uint32_t>(0);
  WireConfig config = path();
  config.classify = [owner](std::span<const std::byte>) { return *owner; };
  CopyWorld world(config, on(), 2);
  for (auto& own : world.channels)
    for (ScriptedChannel* channel : own)
      channel->random_delay = [&] { return microseconds(random() % 300); };
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, a, b, 1, 2'000'000});
  streams.push_back({world.b, world.a, b, a, 2, 2'000'000});
  const auto step_until = [&](Host& host, MailKind kind) {
    for (int steps = 0; host.answer(kind, 0) == nullptr; ++steps) {
      ASSERT_LT(steps, 100'000);
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      world.step(world.now + microseconds(20));
    }
  };
  for (int moves = 0; moves < 40 && !streams[0].is_done(); ++moves) {
    for (auto steps = random() % 100; steps > 0; --steps) {
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      world.step();
    }
    const std::uint32_t to = 1 - *owner;
    for (Host* host : {&world.a, &world.b}) {
      host->answered.clear();
      host->expect(0, host->records[0].constant.tuple, to);
      ASSERT_NO_FATAL_FAILURE(step_until(*host, MailKind::kExpected));
    }
    *owner = to;
    for (Host* host : {&world.a, &world.b}) {
      host->move_out(0, to);
      ASSERT_NO_FATAL_FAILURE(step_until(*host, MailKind::kMovedOut));
      host->app->move_slot(0, to);
      host->move_in(0, to);
    }
  }
  transfer(world, streams);
  EXPECT_GT(world.counts().of(CopyOutcome::kEngine).copies, 20u);
  world.expect_no_frame_kept();
}

// Closed, or its application killed, with copies in flight: its rings are somebody else's when it
// is reported as finished, and nothing may touch them any more.
TEST(ShardCopies, ARingIsLeftAloneWhenItsConnectionIsOver) {
  for (const bool is_killed : {false, true}) {
    for (const bool is_stuck : {false, true}) {
      CopyWorld world;
      const auto a = world.a.open(0);
      const auto b = world.b.open(0);
      world.run_for(milliseconds(1));
      world.set_delay(milliseconds(20));
      world.engine_of(world.b).is_stuck = is_stuck;
      world.write(world.a, a, 15'000);
      world.run_for(milliseconds(1));
      ASSERT_GT(world.engine_of(world.b).outstanding(), 0u);
      if (is_killed)
        world.b.shards[0]->inbox().post(world.b.make(MailKind::kDetach, 0));
      else
        world.b.app->set_flags(b, ipc::slot_flag::kClosed | ipc::slot_flag::kAbort);
      while (world.b.answer(MailKind::kFinished, 0) == nullptr) {
        ASSERT_EQ(world.b.shards[0]->connections(), 1u);
        ASSERT_LT(world.now, Instant(seconds(1100)));
        world.step(world.now + microseconds(100));
      }
      EXPECT_EQ(world.engine_of(world.b).outstanding(), 0u);
      const StreamRing ring = world.b.app->rx(b);
      std::fill_n(ring.data, ring.size, std::byte{0x55});
      world.run_for(seconds(1));
      EXPECT_EQ(std::count(ring.data, ring.data + ring.size, std::byte{0x55}), ring.size);
      world.expect_no_frame_kept();
    }
  }
}

// An engine process that is killed takes its copies with it; its records tell only what is there.
TEST(ShardCopies, AKillWithCopiesInFlightLosesNothing) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    CopyWorld world(path(seed % 2 == 0, seed % 3 == 0 ? 0.01 : 0, seed));
    world.random_delay = [&] { return microseconds(random() % 200); };
    std::vector<Stream> streams;
    std::array<std::array<ipc::SlotId, 2>, 2> slots;
    for (chimney::ConnectionId id = 0; id < 2; ++id) {
      const auto a = slots[0][id] = world.a.open(id);
      const auto b = slots[1][id] = world.b.open(id);
      streams.push_back({world.a, world.b, a, b, id * 2, 400'000});
      streams.push_back({world.b, world.a, b, a, id * 2 + 1, 400'000});
    }
    const auto is_done = [](const Stream& stream) { return stream.is_done(); };
    const Instant end = world.now + seconds(300);
    int in_flight = 0;
    for (std::uint64_t until_kill = 20; !std::all_of(streams.begin(), streams.end(), is_done);) {
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      ASSERT_LT(world.now, end) << "stalled";
      world.step();
      if (until_kill-- != 0) continue;
      Host& host = random() % 2 == 0 ? world.a : world.b;
      in_flight += world.engine_of(host).outstanding() != 0 ? 1 : 0;
      host.kill();
      // Nobody finishes what was in flight, and what is free may hold anything.
      for (chimney::ConnectionId id = 0; id < 2; ++id) {
        const StreamRing ring = host.app->rx(slots[host.end][id]);
        const std::uint64_t unread =
            ipc::snapshot_of(host.records[id]).rcv_pos - host.records[id].rx_begin;
        const std::vector<std::byte> mess(ring.size - unread, std::byte{0x55});
        ring.copy_in(ipc::snapshot_of(host.records[id]).rcv_pos, mess);
      }
      host.start_shards(world.wire, world.now);
      world.give_engines(host);
      for (chimney::ConnectionId id = 0; id < 2; ++id)
        if (host.records[id].slot != ipc::kNoSlot) host.resume(id, world.now);
      until_kill = random() % 60;
    }
    EXPECT_GT(in_flight, 2);
    world.expect_no_frame_kept();
  }
}

// The end of a shard's thread: from then on memory of arenas and devices may go.
TEST(ShardCopies, AStoppedShardHasNothingInFlight) {
  CopyWorld world;
  const auto a = world.a.open(0);
  world.b.open(0);
  world.run_for(milliseconds(1));
  world.set_delay(milliseconds(20));
  world.write(world.a, a, 15'000);
  world.run_for(milliseconds(1));
  ASSERT_GT(world.engine_of(world.b).outstanding(), 0u);
  world.b.shards[0]->stop_copies();
  EXPECT_EQ(world.engine_of(world.b).outstanding(), 0u);
  EXPECT_FALSE(world.b.shards[0]->awaits_copies());
}

}  // namespace
}  // namespace snp::engine
