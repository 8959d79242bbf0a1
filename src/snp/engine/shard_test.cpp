#include "snp/engine/shard.h"

#include <algorithm>
#include <cerrno>
#include <random>

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/base/assert.h"
#include "snp/device/drivers/sim/sim_device.h"

#include "test/support/shard_world.h"

namespace snp::engine {
namespace {

struct Link {
  const char* name;
  WireConfig config;
};

class ShardTransfer : public ::testing::TestWithParam<Link> {};

TEST_P(ShardTransfer, CarriesBothDirectionsByteForByte) {
  World world(GetParam().config);
  std::vector<Stream> streams;
  for (chimney::ConnectionId id = 0; id < 4; ++id) {
    const auto a = world.a.open(id);
    const auto b = world.b.open(id);
    streams.push_back({world.a, world.b, a, b, id * 2, 400'000});
    streams.push_back({world.b, world.a, b, a, id * 2 + 1, 300'000});
  }
  transfer(world, streams);
  EXPECT_EQ(world.a.shards[0]->path_counters()[P::kBadChecksums], 0u);
  EXPECT_EQ(world.a.shards[0]->stats()[M::kConnectionsHostile], 0u);
}

WireConfig lossy(double rate, bool offloads) {
  WireConfig config;
  config.delay = microseconds(200);
  config.loss = config.duplicate = config.reorder = rate;
  config.reorder_delay = microseconds(700);
  config.seed = 7;
  if (offloads) config.caps = {61440, true, true};
  return config;
}

INSTANTIATE_TEST_SUITE_P(Links, ShardTransfer,
                         ::testing::Values(Link{"Plain", {}}, Link{"Offloads", lossy(0, true)},
                                           Link{"PlainLossy", lossy(0.02, false)},
                                           Link{"OffloadsLossy", lossy(0.02, true)}),
                         [](const auto& param) { return param.param.name; });

TEST(Shard, FinishesAClosedConnectionAndReleasesItsSlotAtOnce) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  world.a.app->write(a, data);
  world.a.app->set_flags(a, ipc::slot_flag::kClosed);
  world.run_for(milliseconds(100));
  EXPECT_EQ(world.a.app->status(a), ipc::slot_status::kReleased);
  EXPECT_EQ(world.a.records[0].slot, ipc::kNoSlot);
  EXPECT_EQ(world.b.app->readable(b), data.size());
  EXPECT_EQ(world.b.app->status(b), ipc::slot_status::kPeerClosed);

  std::array<std::byte, 100> buffer;
  world.b.app->read(b, buffer);
  world.b.app->set_flags(b, ipc::slot_flag::kClosed);
  world.run_for(milliseconds(100));
  EXPECT_NE(world.b.answer(MailKind::kFinished, 0), nullptr) << "LAST_ACK is over";
  EXPECT_EQ(world.a.answer(MailKind::kFinished, 0), nullptr) << "TIME_WAIT lasts";
  world.run_for(seconds(61));
  EXPECT_NE(world.a.answer(MailKind::kFinished, 0), nullptr);
  EXPECT_EQ(world.a.shards[0]->connections(), 0u);
}

TEST(Shard, ResetsThePeerWhenUnreadDataIsClosed) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  const std::array<std::byte, 10> data{};
  world.b.app->write(b, data);
  world.run_for(milliseconds(10));
  world.a.app->set_flags(a, ipc::slot_flag::kClosed);
  world.run_for(milliseconds(10));
  EXPECT_NE(world.a.answer(MailKind::kFinished, 0), nullptr);
  EXPECT_EQ(world.b.app->status(b), ipc::slot_status::kError);
  EXPECT_EQ(world.b.app->slot(b).engine.error.load(), ECONNRESET);
  EXPECT_EQ(world.b.answer(MailKind::kFinished, 0), nullptr) << "its application still has it";
  world.b.app->set_flags(b, ipc::slot_flag::kClosed);
  world.run_for(milliseconds(10));
  EXPECT_NE(world.b.answer(MailKind::kFinished, 0), nullptr);
}

TEST(Shard, DetachClosesAsTheKernelAtProcessExit) {
  World world;
  const auto clean = world.a.open(0);
  const auto peer_of_clean = world.b.open(0);
  world.a.open(1);
  const auto peer_of_unread = world.b.open(1);
  const std::array<std::byte, 50> data{};
  world.run_for(milliseconds(1));
  world.b.app->write(peer_of_unread, data);
  world.run_for(milliseconds(1));
  world.a.app->write(clean, data);
  world.a.shards[0]->inbox().post(world.a.make(MailKind::kDetach, 0));
  world.run_for(milliseconds(100));
  EXPECT_NE(world.a.answer(MailKind::kDetached, 0), nullptr);
  EXPECT_EQ(world.b.app->readable(peer_of_clean), data.size()) << "pending data is sent";
  EXPECT_EQ(world.b.app->status(peer_of_clean), ipc::slot_status::kPeerClosed);
  EXPECT_EQ(world.b.app->status(peer_of_unread), ipc::slot_status::kError);
}

TEST(Shard, WakesASleepingWaitSetOnceAndOnlyThen) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  const UniqueFd bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  world.b.arena.wait_set_fds[5] = bell.get();
  world.b.app->slot(b).app.wait_sets[2] = 5;
  const std::array<std::byte, 10> data{};
  std::uint64_t rung = 0;

  world.a.app->write(a, data);
  world.run_for(milliseconds(1));
  EXPECT_FALSE(ipc::is_empty(world.b.app->wait_set(5).ready));
  EXPECT_LT(::read(bell.get(), &rung, sizeof rung), 0) << "nobody slept";

  world.b.app->wait_set(5).sleeping = 1;
  world.a.app->write(a, data);
  world.run_for(milliseconds(100));  // Nagle waits for the delayed ACK
  EXPECT_EQ(world.b.app->wait_set(5).sleeping, 0u);
  ASSERT_EQ(::read(bell.get(), &rung, sizeof rung), 8);
  EXPECT_EQ(rung, 1u);
}

TEST(Shard, TellsAWriterOfRoomOnlyWhenItAskedAndThereIsEnough) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  world.a.app->slot(a).app.wait_sets[0] = 3;
  const std::vector<std::byte> data(kRing);
  ASSERT_EQ(world.a.app->write(a, data), kRing);
  world.run_for(milliseconds(500));
  EXPECT_TRUE(ipc::is_empty(world.a.app->wait_set(3).ready)) << "it did not ask";
  std::vector<std::byte> buffer(kRing);
  EXPECT_GT(world.b.app->read(b, buffer), kRing / 2);
  world.run_for(seconds(1));

  while (world.a.app->write(a, data) != 0)
    world.run_for(milliseconds(500));
  world.a.app->slot(a).app.wants_write = 1;
  world.run_for(seconds(1));
  EXPECT_TRUE(ipc::is_empty(world.a.app->wait_set(3).ready)) << "there is no room";
  world.b.app->read(b, buffer);
  world.run_for(seconds(2));
  EXPECT_FALSE(ipc::is_empty(world.a.app->wait_set(3).ready));
}

TEST(Shard, LooksForTheRestOfABurstAfterAMomentOnly) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  const Shard& shard = *world.b.shards[0];
  const std::vector<std::byte> burst(kRing - 1000);
  world.a.app->write(a, burst);
  world.a.run(world.now);  // a window of it
  world.b.run(world.now);
  const std::size_t window = world.b.app->readable(b);
  ASSERT_GT(window, 0u);
  ASSERT_LT(window, burst.size());
  EXPECT_TRUE(shard.gathers(world.now));
  EXPECT_LE(shard.next_deadline(), world.now + microseconds(20));

  world.a.run(world.now);  // has the ACK, sends more
  world.now += microseconds(19);
  world.b.run(world.now);
  EXPECT_EQ(world.b.app->readable(b), window);
  world.now += microseconds(1);
  world.b.run(world.now);
  EXPECT_GT(world.b.app->readable(b), window);

  world.run_for(milliseconds(10));
  EXPECT_EQ(world.b.app->readable(b), burst.size());
  EXPECT_FALSE(shard.gathers(world.now)) << "PSH ends a burst";
  world.a.app->write(a, std::vector<std::byte>(100));
  world.a.run(world.now);
  world.b.run(world.now);
  EXPECT_EQ(world.b.app->readable(b), burst.size() + 100);
}

// RFC 9293 3.10.7.4 MUST-58, MUST-59: what has arrived together is processed before an ACK leaves.
TEST(Shard, ABurstIsAcknowledgedOnce) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  constexpr std::uint32_t kSegments = 8;
  world.a.app->write(a, std::vector<std::byte>(kSegments * std::size_t{1448}));
  world.a.run(world.now);
  const tcp::Connection& receiver = *world.b.flows[0]->connection;
  const tcp::Info before = receiver.info();
  world.b.run(world.now);
  EXPECT_EQ(world.b.app->readable(b), kSegments * std::size_t{1448});
  EXPECT_EQ(receiver.info().segments_in, before.segments_in + kSegments);
  EXPECT_EQ(receiver.info().segments_out, before.segments_out + 1);
}

TEST(Shard, FollowsOptionsAndPublishesInfo) {
  World world;
  const auto a = world.a.open(0);
  world.b.open(0);
  world.run_for(milliseconds(10));
  auto& slot = world.a.app->slot(a);
  slot.facts.options.no_delay = 1;
  slot.facts.options.keepalive_idle_s = 0xffffffff;
  slot.app.options_generation = 1;
  world.a.app->ring(a);
  world.run_for(milliseconds(10));
  EXPECT_TRUE(world.a.records[0].cached.no_delay);
  EXPECT_EQ(world.a.records[0].cached.keepalive.idle_s, 32767u);
  EXPECT_EQ(slot.info.tcp_state, 1u);
  EXPECT_EQ(slot.info.snd_mss, 1448u);
  EXPECT_EQ(world.a.flows[0]->info.load().snd_mss, 1448u);
}

TEST(Shard, FollowsThePathAndKeepsTheApplicationsOptions) {
  World world;
  const auto a = world.a.open(0);
  world.b.open(0);
  world.run_for(milliseconds(1));
  world.a.app->slot(a).facts.options.cork = 1;
  world.a.app->slot(a).app.options_generation = 1;
  world.a.app->ring(a);
  world.run_for(milliseconds(1));
  Mail& update = world.a.make(MailKind::kUpdate, 0);
  update.handoff.state.cached.path_mtu = 1000;
  update.handoff.state.cached.next_hop_mac = {2, 9, 9, 9, 9, 9};
  world.a.shards[0]->inbox().post(update);
  world.run_for(milliseconds(10));
  const CachedState& cached = world.a.records[0].cached;
  EXPECT_EQ(cached.path_mtu, 1000);
  EXPECT_EQ(cached.next_hop_mac[5], 9);
  EXPECT_TRUE(cached.cork);
  EXPECT_EQ(world.a.flows[0]->connection->info().snd_mss, 1000u - 40 - 12);
}

TEST(Shard, RefusesToGiveBackWhatOnlyItCanFinish) {
  World world;
  const auto a = world.a.open(0);
  world.b.open(0);
  world.run_for(milliseconds(1));
  world.a.app->set_flags(a, ipc::slot_flag::kClosed);
  world.run_for(milliseconds(1));
  world.a.terminate(0);
  world.run_for(milliseconds(1));
  const Mail* refused = world.a.answer(MailKind::kRefused, 0);
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(refused->handoff.state.delegated.state, TcpState::kFinWait2);
}

TEST(Shard, GivesMemoryBackWhenAConnectionRests) {
  World world;
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, world.a.open(0), world.b.open(0), 1, 500'000});
  transfer(world, streams);
  const auto busy = world.b.memory();
  world.run_for(seconds(30));
  EXPECT_LE(world.b.memory(), busy - kRing) << "the receive ring's pages are gone";
  for (const auto& host : {&world.a, &world.b}) {
    EXPECT_EQ(host->shards[0]->next_deadline(), kNever) << "nothing is left to be done";
  }
  streams[0].total = 1'000'000;
  transfer(world, streams);
}

TEST(Shard, TellsWhatGetsockoptTcpInfoAsksFor) {
  World world;
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, world.a.open(0), world.b.open(0), 1, 300'000});
  transfer(world, streams);
  world.run_for(milliseconds(300));
  const ipc::SlotInfo& info = world.a.app->slot(streams[0].from_slot).info;
  EXPECT_GT(info.min_rtt_us, 0u);
  EXPECT_EQ(info.ca_state, 0u);
  EXPECT_EQ(info.pacing_rate, 0u);
  EXPECT_EQ(info.ssthresh_segments, 0x7fffffffu) << "the kernel's word for none";

  const ipc::SlotLife& sends = world.a.app->slot(streams[0].from_slot).life;
  const ipc::SlotLife& receives = world.b.app->slot(streams[0].to_slot).life;
  EXPECT_EQ(sends.sent, ipc::kFirstPosition + 300'000u) << "the last turn, too";
  EXPECT_EQ(receives.sent, ipc::kFirstPosition);
  const TcpCounters sender = load(sends.counted);
  const TcpCounters receiver = load(receives.counted);
  EXPECT_GT(sender.segs_out, 100u);
  EXPECT_EQ(sender.data_segs_out, receiver.data_segs_in);
  EXPECT_EQ(sender.delivered, sender.data_segs_out);
  EXPECT_EQ(sender.bytes_retrans, 0u);
  EXPECT_EQ(receiver.data_segs_out, 0u);
  EXPECT_EQ(receiver.rcv_ooopack, 0u);
}

// As when it moves to another shard, or an engine goes on after another: what was counted stays.
TEST(Shard, GoesOnCountingForTcpInfo) {
  World world;
  const auto a = world.a.open(0);
  const auto b = world.b.open(0);
  TcpCounters earlier;
  earlier.segs_in = 5;
  earlier.delivered = 6;
  earlier.bytes_retrans = 7;
  store(world.a.app->slot(a).life.counted, earlier);
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, a, b, 1, 100'000});
  transfer(world, streams);
  world.run_for(milliseconds(300));
  const TcpCounters at_end = load(world.a.app->slot(a).life.counted);
  EXPECT_GT(at_end.segs_in, 5u);
  EXPECT_EQ(at_end.delivered, at_end.data_segs_out + 6);
  EXPECT_EQ(at_end.bytes_retrans, 7u);
}

TEST(Shard, ALargeRingCostsWhatIsInUse) {
  constexpr std::uint32_t kLarge = 8u << 20;
  constexpr std::uint32_t kBuffer = 256 * 1024;
  WireConfig config;
  config.caps = {61440, true, true};
  World world(config);
  const auto a = world.a.open(0, 0, kLarge, kBuffer);
  const auto b = world.b.open(0, 0, kLarge, kBuffer);
  world.run_for(milliseconds(1));
  EXPECT_EQ(world.b.app->slot(b).buffers.rx_limit, kBuffer);
  EXPECT_EQ(world.a.app->slot(a).buffers.tx_limit, kBuffer);
  const auto before_a = world.a.memory();
  const auto before_b = world.b.memory();
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, a, b, 1, 20'000'000});
  transfer(world, streams);
  EXPECT_LT(world.a.memory(), before_a + (2u << 20)) << "behind what is acknowledged";
  EXPECT_LT(world.b.memory(), before_b + (2u << 20)) << "behind what is read";
  world.run_for(seconds(30));
  EXPECT_LT(world.a.memory(), before_a + 128 * 1024) << "at rest";
  EXPECT_LT(world.b.memory(), before_b + 128 * 1024);
  EXPECT_EQ(world.a.app->slot(a).buffers.tx_limit, 64u * 1024);
  streams[0].total = 40'000'000;
  transfer(world, streams);
  EXPECT_GE(world.a.app->slot(a).buffers.tx_limit, kBuffer);
}

// Who is inside the gate may have read the limit before: nothing is taken away under its hands.
TEST(Shard, LeavesATransmitRingAloneWhileSomebodyIsInsideTheGate) {
  World world;
  const auto a = world.a.open(0, 0, 1u << 20);
  const auto b = world.b.open(0, 0, 1u << 20);
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, a, b, 1, 2'000'000});
  transfer(world, streams);
  world.a.app->slot(a).app.users = 1;
  const auto busy = world.a.memory();
  world.run_for(seconds(25));
  EXPECT_EQ(world.a.memory(), busy);
  world.a.app->slot(a).app.users = 0;
  world.run_for(seconds(25));
  EXPECT_LT(world.a.memory(), busy - (900u << 10));
}

TEST(Shard, TheFlowRecordTellsTheWholeTruthAfterEachTurn) {
  World world(lossy(0.05, false));
  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, world.a.open(0), world.b.open(0), 1, 100'000});
  while (!streams[0].is_done()) {
    ASSERT_NO_FATAL_FAILURE(streams[0].pump());
    world.step();
    for (Host* host : {&world.a, &world.b}) {
      if (!host->flows[0]->connection) continue;
      const tcp::Connection& connection = *host->flows[0]->connection;
      const auto& snapshot = ipc::snapshot_of(host->records[0]);
      const auto state = ipc::state_of(host->records[0], snapshot.at_ms).delegated;
      ASSERT_EQ(snapshot.una_pos, connection.streams().tx_range.begin);
      ASSERT_EQ(snapshot.rcv_pos, connection.streams().rx_range.end);
      const DelegatedState live = connection.export_delegated(world.now);
      ASSERT_EQ(state.snd_una, live.snd_una);
      ASSERT_EQ(state.snd_max, live.snd_max) << "sent, but not recorded";
      ASSERT_EQ(state.rcv_nxt, live.rcv_nxt);
    }
  }
}

// --- hand-over ---

chimney::Handoff terminate_now(World& world, Host& host, chimney::ConnectionId id) {
  host.answered.clear();
  host.terminate(id);
  Mail* terminated = nullptr;
  while ((terminated = host.answer(MailKind::kTerminated, id)) == nullptr) {
    SNP_ASSERT(host.answer(MailKind::kRefused, id) == nullptr);
    world.step();
  }
  return terminated->handoff;
}

// Text behind a gap would be dropped by the hand-over. Of what host A sends, the first `losses`
// frames with text go where nobody looks.
struct GapWorld {
  static constexpr std::uint32_t kBytes = 8000;

  explicit GapWorld(int losses) : left(std::make_shared<int>(losses)), world(config(left), 2) {
    world.a.open(0);
    world.b.open(0);
    world.run_for(milliseconds(1));
    const std::vector<std::byte> text(kBytes);
    world.a.app->write(0, text);
    world.run_for(milliseconds(8));
    EXPECT_TRUE(connection().has_gap());
  }

  static WireConfig config(const std::shared_ptr<int>& left) {
    WireConfig config;
    config.delay = milliseconds(5);
    config.classify = [left](std::span<const std::byte> frame) {
      constexpr std::size_t kWithText = 200;
      return frame.size() > kWithText && (*left)-- > 0 ? 1u : 0u;
    };
    return config;
  }
  [[nodiscard]] const tcp::Connection& connection() { return *world.b.flows[0]->connection; }
  // How long host B's shard took for its answer, and what it had for the application.
  std::pair<Duration, std::uint64_t> give_back(Duration patience) {
    const Instant asked = world.now;
    world.b.terminate(0, patience);
    while (world.b.answer(MailKind::kTerminated, 0) == nullptr && world.now < asked + seconds(5))
      world.step(world.now + milliseconds(1));
    const Mail* terminated = world.b.answer(MailKind::kTerminated, 0);
    EXPECT_NE(terminated, nullptr);
    const std::uint64_t has = terminated == nullptr ? 0 : terminated->handoff.rx_range.length();
    return {world.now - asked, has};
  }

  std::shared_ptr<int> left;
  World world;
};

TEST(ShardGap, IsWaitedForSoThatNothingSackedIsDropped) {
  GapWorld gap(1);
  const auto [took, bytes] = gap.give_back(milliseconds(200));
  EXPECT_EQ(bytes, GapWorld::kBytes);
  EXPECT_LT(took, milliseconds(100)) << "as soon as it is filled";
}

TEST(ShardGap, IsNotWaitedForLongerThanAsked) {
  GapWorld gap(1);
  *gap.left = 1 << 30;  // and never filled
  const auto [took, bytes] = gap.give_back(milliseconds(200));
  EXPECT_EQ(bytes, 0u);
  EXPECT_GE(took, milliseconds(200));
  EXPECT_LE(took, milliseconds(202));
}

TEST(ShardGap, DoesNotHoldUpWhoHasNoPatience) {
  GapWorld gap(1);
  const auto [took, bytes] = gap.give_back(Duration::zero());
  EXPECT_EQ(bytes, 0u);
  EXPECT_LE(took, milliseconds(1));
}

// Its end comes meanwhile: the answer is finished(), and nobody waits for another.
TEST(ShardGap, AConnectionThatEndsMeanwhileIsNotWaitedFor) {
  GapWorld gap(1);
  *gap.left = 1 << 30;
  gap.world.b.terminate(0, milliseconds(200));
  gap.world.run_for(milliseconds(1));
  gap.world.b.app->set_flags(0, ipc::slot_flag::kClosed | ipc::slot_flag::kAbort);
  gap.world.run_for(milliseconds(300));
  EXPECT_EQ(gap.world.b.answer(MailKind::kTerminated, 0), nullptr);
  EXPECT_NE(gap.world.b.answer(MailKind::kFinished, 0), nullptr);
}

class ShardHandOver : public ::testing::TestWithParam<double> {};

TEST_P(ShardHandOver, MovesBetweenShardsInMidTransferByteForByte) {
  // Frames of host A go to the shard that has the connection, or had it last.
  auto owner = std::make_shared<std::uint32_t>(0);
  WireConfig config = lossy(GetParam(), false);
  config.classify = [owner](std::span<const std::byte>) { return *owner; };
  World world(config, 2);
  std::vector<Stream> streams;
  const auto a = world.a.open(0, 0);
  const auto b = world.b.open(0, 0);
  // Host B stays where it is: its shard 1 has queue 1, so it must look at both queues.
  streams.push_back({world.a, world.b, a, b, 1, 1'000'000});
  streams.push_back({world.b, world.a, b, a, 2, 1'000'000});
  std::mt19937 random(3);
  for (int i = 0; i < 20 && !streams[0].is_done(); ++i) {
    for (auto steps = random() % 200; steps > 0; --steps) {
      for (Stream& stream : streams)
        ASSERT_NO_FATAL_FAILURE(stream.pump());
      world.step();
    }
    // Both ends move at once; frames on the way land where they must be held or are lost.
    for (Host* host : {&world.a, &world.b}) {
      const auto handoff = terminate_now(world, *host, 0);
      const std::uint32_t next = 1 - *owner;
      for (auto idle = random() % 5; idle > 0; --idle)
        world.step();
      host->app->move_slot(0, next);
      host->offload(handoff, next);
    }
    *owner = 1 - *owner;
  }
  transfer(world, streams);
}

INSTANTIATE_TEST_SUITE_P(Loss, ShardHandOver, ::testing::Values(0.0, 0.01));

TEST(Shard, ProcessesHeldFramesWhenTheConnectionComes) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{std::byte{1}};
  world.a.app->write(a, data);
  world.run_for(milliseconds(1));
  EXPECT_EQ(world.b.shards[0]->stats()[M::kFramesHeld], 1u);
  const auto b = world.b.open(0);
  world.run_for(milliseconds(1));
  EXPECT_EQ(world.b.app->readable(b), data.size());
  EXPECT_EQ(world.b.shards[0]->stats()[M::kFramesHeldStale], 0u);
}

TEST(Shard, IgnoresHeldCopiesOfWhatTheHostHadProcessed) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  world.a.app->write(a, data);
  world.run_for(milliseconds(1));
  const auto slot = world.b.app->open_slot(world.b.records[0], 1, 0, kRing);
  auto handoff = test::make_handoff(1, 0, 40000, *world.b.app, slot);
  handoff.state.delegated.rcv_nxt += 100;
  handoff.rx_range.end += 100;
  world.b.offload(handoff, 0);
  world.run_for(microseconds(100));
  EXPECT_EQ(world.b.shards[0]->stats()[M::kFramesHeldStale], 1u);
  EXPECT_EQ(world.b.app->readable(slot), 100u);
}

TEST(Shard, GivesHeldFramesToTheHostInOrderAndStragglersForAWhile) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  for (int i = 0; i < 3; ++i) {
    world.a.app->write(a, data);
    world.a.app->slot(a).facts.options.no_delay = 1;
    world.a.app->slot(a).app.options_generation = 1;
    world.run_for(microseconds(10));
  }
  EXPECT_EQ(world.b.shards[0]->stats()[M::kFramesHeld], 3u);
  const FourTuple tuple = test::make_handoff(1, 0, 40000, *world.a.app, a).state.constant.tuple;
  const std::array<std::byte, 60> forged{std::byte{0xfe}};
  world.b.release(tuple, forged);
  world.run_for(microseconds(10));
  auto frames = world.wire.take_reinjected(1);
  ASSERT_EQ(frames.size(), 4u);
  EXPECT_EQ(frames[0][0], std::byte{0xfe}) << "the forged segment is older than the others";
  const auto seq_of = [](const std::vector<std::byte>& frame) {
    return std::vector<std::byte>(frame.begin() + 38, frame.begin() + 42);
  };
  EXPECT_LT(seq_of(frames[1]), seq_of(frames[2]));
  EXPECT_LT(seq_of(frames[2]), seq_of(frames[3]));

  world.a.app->write(a, data);
  world.run_for(microseconds(10));
  EXPECT_EQ(world.wire.take_reinjected(1).size(), 1u) << "a straggler";
  world.run_for(milliseconds(1500));
  const auto held = world.b.shards[0]->stats()[M::kFramesHeld];
  world.a.app->write(a, data);
  world.run_for(milliseconds(1));
  EXPECT_GT(world.b.shards[0]->stats()[M::kFramesHeld], held) << "released long ago";
}

// Fetched back before the shard came to give its frames: they are older than what it gets now, and
// would come behind that once they had been turned round.
TEST(Shard, KeepsTheFramesOfAConnectionThatIsFetchedBack) {
  World world;
  const auto a = world.a.open(0);
  world.run_for(milliseconds(1));
  const std::array<std::byte, 100> data{};
  world.a.app->write(a, data);
  world.run_for(microseconds(10));
  ASSERT_EQ(world.b.shards[0]->stats()[M::kFramesHeld], 1u);
  const FourTuple tuple = test::make_handoff(1, 0, 40000, *world.a.app, a).state.constant.tuple;
  const std::array<std::byte, 60> forged{std::byte{0xfe}};
  world.b.release(tuple, forged, 1);
  world.run_for(microseconds(10));
  EXPECT_EQ(world.wire.take_reinjected(1).size(), 1u) << "what was forged is news to the host";
  world.a.app->write(a, data);
  world.run_for(microseconds(10));
  EXPECT_TRUE(world.wire.take_reinjected(1).empty());
  world.b.release(tuple);
  world.run_for(microseconds(10));
  EXPECT_GE(world.wire.take_reinjected(1).size(), 1u) << "it was there all the time";
}

// --- hostile applications ---

void scribble(FakeApp& app, ipc::SlotId slot, std::mt19937_64& random) {
  ipc::SlotAppSide& side = app.slot(slot).app;
  const auto strange = [&]() -> std::uint64_t {
    switch (random() % 4) {
      case 0:
        return random();
      case 1:
        return side.tx_head + random() % 200'000;
      case 2:
        return side.rx_tail - random() % 3;
      default:
        return 0;
    }
  };
  switch (random() % 8) {
    case 0:
      side.tx_head = strange();
      break;
    case 1:
      side.rx_tail = strange();
      break;
    case 2:
      side.flags = static_cast<std::uint32_t>(random()) & ~(random() % 4 == 0 ? 0 : 4u);
      break;
    case 3:
      side.wait_sets[random() % 4] = static_cast<ipc::WaitSetId>(random());
      break;
    case 4:
      side.wants_write = static_cast<std::uint32_t>(random());
      side.receive_low_at = static_cast<std::uint32_t>(random());
      break;
    case 5: {
      auto* bytes = reinterpret_cast<std::byte*>(&app.slot(slot).facts);
      for (std::size_t i = 0; i < sizeof(ipc::SlotFacts); ++i)
        bytes[i] = static_cast<std::byte>(random());
      side.options_generation = static_cast<std::uint32_t>(random());
      break;
    }
    case 6: {  // what is ours in the arena, too
      auto* bytes = reinterpret_cast<std::byte*>(&app.slot(slot).engine);
      for (std::size_t i = 0; i < sizeof(ipc::SlotEngineSide); ++i)
        bytes[i] = static_cast<std::byte>(random());
      break;
    }
    default: {
      ipc::SlotBitmap& map = app.doorbells(0);
      map.words[random() % map.words.size()] = random();
      map.summary[random() % map.summary.size()] = random();
    }
  }
  app.ring(slot);
}

class HostileArena : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(HostileArena, HurtsNobodyElse) {
  World world(lossy(0, false));
  // A second process at host A writes garbage; the first one's transfer goes on.
  Arena bad;
  bad.number = 9;
  bad.memory = FakeApp::make_memory();
  bad.wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
  for (auto& fd : bad.wait_set_fds)
    fd = -1;
  bad.bells.emplace_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  FakeApp bad_app(bad.memory);
  ShardArena bad_view(bad, 0);
  Mail& attach = world.a.make(MailKind::kAttach, 0);
  attach.arena = &bad_view;
  world.a.shards[0]->inbox().post(attach);

  std::vector<Stream> streams;
  streams.push_back({world.a, world.b, world.a.open(0), world.b.open(0), 1, 200'000});
  std::vector<ipc::SlotId> bad_slots;
  for (chimney::ConnectionId id = 1; id < 6; ++id) {
    bad_slots.push_back(bad_app.open_slot(world.a.records[id], 9, 0, kRing));
    world.b.open(id);
    world.a.offload(test::make_handoff(0, id, static_cast<std::uint16_t>(40000 + id), bad_app,
                                       bad_slots.back()),
                    0);
    world.a.mails.back()->arena = &bad_view;
  }
  std::mt19937_64 random(GetParam());
  SCOPED_TRACE(GetParam());
  for (int i = 0; i < 400; ++i) {
    scribble(bad_app, bad_slots[random() % bad_slots.size()], random);
    world.step();
    ASSERT_NO_FATAL_FAILURE(streams[0].pump());
  }
  transfer(world, streams);
  EXPECT_GT(world.a.shards[0]->stats()[M::kConnectionsHostile], 0u);
  Mail& detach = world.a.make(MailKind::kDetach, 0);
  detach.arena = &bad_view;
  world.a.shards[0]->inbox().post(detach);
  world.run_for(seconds(200));
  EXPECT_EQ(world.a.shards[0]->connections(), 1u) << "only the honest connection is left";
}

INSTANTIATE_TEST_SUITE_P(Seeds, HostileArena, ::testing::Range<std::uint64_t>(1, 13));

TEST(Shard, ResetsTheConnectionOfAnApplicationThatWritesNonsense) {
  for (const std::uint64_t jump : {std::uint64_t{kRing} + 1, ~std::uint64_t{0}}) {
    World world;
    const auto a = world.a.open(0);
    const auto b = world.b.open(0);
    world.run_for(milliseconds(1));
    world.a.app->slot(a).app.tx_head += jump;
    world.a.app->ring(a);
    world.run_for(milliseconds(1));
    EXPECT_EQ(world.a.app->slot(a).engine.error, ECONNABORTED);
    EXPECT_EQ(world.a.app->slot(a).engine.reason,
              static_cast<std::uint16_t>(chimney::Reason::kHostile));
    EXPECT_EQ(world.b.app->slot(b).engine.error, ECONNRESET);
  }
}

}  // namespace
}  // namespace snp::engine
