// The engine with its threads, in real time, over the sim device.
#include "snp/engine/engine.h"

#include <map>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "snp/device/drivers/sim/sim_device.h"
#include "snp/engine/clock.h"
#include "snp/netdma/thread_channel.h"

#include "test/support/fake_app.h"

namespace snp::engine {
namespace {

using test::FakeApp;
using test::pattern;

constexpr std::uint32_t kRing = 64 * 1024;

struct Events final : chimney::TargetEvents {
  void initiated(chimney::ConnectionId id) override { ++initiated_of[id]; }
  void terminated(chimney::ConnectionId id, const chimney::Handoff& handoff) override {
    homecomers[id] = handoff;
  }
  void refused(chimney::ConnectionId id, TcpState) override { ++refused_of[id]; }
  void upload_requested(chimney::ConnectionId, chimney::Reason) override {}
  void finished(chimney::ConnectionId id) override { ++finished_of[id]; }
  void expected(chimney::ConnectionId id) override { ++expected_of[id]; }
  void moved_out(chimney::ConnectionId id) override { ++moved_out_of[id]; }
  std::map<chimney::ConnectionId, int> initiated_of, refused_of, finished_of, expected_of,
      moved_out_of;
  std::map<chimney::ConnectionId, chimney::Handoff> homecomers;
};

// Control thread and application of one end.
struct Side {
  Side(device::sim::Wire& wire, std::size_t end_index, std::uint32_t shards,
       const netdma::CopierSettings* copies = nullptr)
      : end(end_index), records(new ipc::FlowRecord[8]) {
    device::PacketDevice* const device = &wire.end(end);
    EngineConfig config;
    config.shards = shards;
    if (copies != nullptr) {
      config.open_channel = [](std::uint32_t) { return std::move(*netdma::open_thread_channel()); };
      config.copies = *copies;
    }
    auto started = Engine::start(config, {&device, 1}, bulletin, records.get());
    EXPECT_TRUE(started) << started.error().message;
    engine = std::move(*started);
    arena = *engine->attach(7, FakeApp::make_memory(), {});
    app = std::make_unique<FakeApp>(arena->memory);
  }
  ~Side() { engine->stop(); }

  ipc::SlotId open(chimney::ConnectionId id, std::uint32_t shard) {
    const auto slot = app->open_slot(records[id], 7, shard, kRing);
    const auto port = static_cast<std::uint16_t>(40000 + id);
    const auto handoff = test::make_handoff(end, id, port, *app, slot);
    ipc::store_state(records[id], handoff.state, handoff.rx_range, handoff.tx_range, 0);
    engine->initiate(handoff);
    wait_for([&] { return events.initiated_of[id] != 0; });
    return slot;
  }

  // What the switch does after marking a doorbell.
  void ring(std::uint32_t shard) const {
    if (bulletin.shard[shard].sleeping.load() == 0) return;
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(arena->bells[shard].get(), &one, sizeof one), 8);
  }

  template <class Condition>
  void wait_for(Condition condition) {
    const Instant limit = monotonic_now() + seconds(20);
    while (!condition()) {
      ASSERT_LT(monotonic_now(), limit) << "no answer of the engine";
      pollfd ready{engine->event_fd(), POLLIN, 0};
      ::poll(&ready, 1, 10);
      engine->dispatch(events);
    }
  }

  const std::size_t end;
  std::unique_ptr<ipc::FlowRecord[]> records;
  ipc::Bulletin bulletin;
  std::unique_ptr<Engine> engine;
  Arena* arena = nullptr;
  std::unique_ptr<FakeApp> app;
  Events events;
};

device::sim::WireConfig two_queues(double loss) {
  device::sim::WireConfig config;
  config.queues = 2;
  config.loss = loss;
  config.caps = {61440, true, true};
  // Odd ports of the end with changing ports go to shard 1: bytes 34..37 are the ports.
  config.classify = [](std::span<const std::byte> frame) {
    return static_cast<std::uint32_t>(frame[35] ^ frame[37]) & 1;
  };
  return config;
}

void send_pattern(Side& side, ipc::SlotId slot, std::uint32_t shard, std::uint64_t total) {
  std::vector<std::byte> bytes(10000);
  for (std::uint64_t sent = 0; sent < total;) {
    const std::size_t length = std::min<std::uint64_t>(bytes.size(), total - sent);
    for (std::size_t i = 0; i < length; ++i)
      bytes[i] = pattern(slot, sent + i);
    const std::size_t written = side.app->write(slot, std::span(bytes).first(length));
    sent += written;
    if (written != 0)
      side.ring(shard);
    else
      std::this_thread::yield();
  }
}

void receive_pattern(Side& side, ipc::SlotId slot, std::uint32_t shard, std::uint64_t total) {
  std::vector<std::byte> bytes(10000);
  const Instant limit = monotonic_now() + seconds(60);
  for (std::uint64_t received = 0; received < total;) {
    const std::size_t length = side.app->read(slot, bytes);
    for (std::size_t i = 0; i < length; ++i)
      ASSERT_EQ(bytes[i], pattern(slot, received + i));
    received += length;
    if (length != 0) {
      side.ring(shard);
    } else {
      ASSERT_LT(monotonic_now(), limit) << "stalled at " << received;
      std::this_thread::yield();
    }
  }
}

TEST(Engine, CarriesDataOnTwoShardsAndEndsCleanly) {
  device::sim::Wire wire(two_queues(0.001), monotonic_now);
  Side a(wire, 0, 2), b(wire, 1, 2);
  // 40000 ^ 80 is even, 40001 ^ 80 is odd.
  for (chimney::ConnectionId id = 0; id < 2; ++id) {
    ASSERT_EQ(a.open(id, id), id);
    ASSERT_EQ(b.open(id, id), id);
  }
  constexpr std::uint64_t kTotal = 500'000;
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { send_pattern(a, i, i, kTotal); });
    threads.emplace_back([&, i] { receive_pattern(b, i, i, kTotal); });
  }
  for (auto& thread : threads)
    thread.join();
  tcp::Info info;
  EXPECT_TRUE(a.engine->info(1, info));
  EXPECT_FALSE(a.engine->info(5, info));

  b.engine->terminate(1, Duration::zero());
  b.wait_for([&] { return b.events.homecomers.contains(1); });
  EXPECT_EQ(b.events.homecomers[1].rx_range.end, ipc::kFirstPosition + kTotal);
  a.engine->detach(*a.arena);
  b.engine->detach(*b.arena);
  a.wait_for([&] { return a.events.finished_of.contains(0) || wire.counters().sent > 0; });
}

// Threads that copy beside the shards, switched off and on; at the end with copies in flight.
TEST(Engine, CopiesWithThreads) {
  netdma::CopierSettings copies;
  copies.is_enabled = true;
  copies.min_bytes = 1;
  copies.is_worth.fill(true);
  device::sim::Wire wire(two_queues(0.001), monotonic_now);
  Side a(wire, 0, 2, &copies), b(wire, 1, 2, &copies);
  for (chimney::ConnectionId id = 0; id < 2; ++id) {
    a.open(id, id);
    b.open(id, id);
  }
  constexpr std::uint64_t kTotal = 1'500'000;
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { send_pattern(a, i, i, kTotal); });
    threads.emplace_back([&, i] { receive_pattern(b, i, i, kTotal); });
  }
  const auto copied = [&] {
    return b.engine->netdma_stats().of(stats::CopyOutcome::kEngine).bytes;
  };
  b.wait_for([&] { return copied() > 100'000; });
  copies.is_enabled = false;
  b.engine->set_copies(copies);
  copies.is_enabled = true;
  b.engine->set_copies(copies);
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(b.engine->netdma_stats().metrics[stats::NetdmaMetric::kStrayCompletions], 0u);

  const std::vector<std::byte> data(30'000);
  a.app->write(0, data);
  a.ring(0);
  a.app->write(1, data);
  a.ring(1);
  b.engine->terminate(1, Duration::zero());
  b.wait_for([&] { return b.events.homecomers.contains(1); });
  EXPECT_GE(b.events.homecomers[1].rx_range.end, ipc::kFirstPosition + kTotal);
  b.engine->detach(*b.arena);
  a.engine->detach(*a.arena);
}

TEST(Engine, SleepsWhenIdle) {
  device::sim::Wire wire(two_queues(0), monotonic_now);
  Side a(wire, 0, 2), b(wire, 1, 2);
  a.open(0, 0);
  b.open(0, 0);
  const auto turns = [&] { return a.engine->stats()[stats::EngineMetric::kTurns]; };
  a.wait_for([&] {
    return a.bulletin.shard[0].sleeping.load() != 0 && a.bulletin.shard[1].sleeping.load() != 0;
  });
  const auto before = turns();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(turns() - before, 50u) << "a few timers, no polling";
}

// A shard that has been busy for a while hears of no packet, until it is to sleep again.
TEST(Engine, APacketWakesAShardThatWasBusyAndSleepsAgain) {
  device::sim::Wire wire(two_queues(0), monotonic_now);
  Side a(wire, 0, 2);
  Side b(wire, 1, 2);
  const auto from = a.open(0, 0);
  const auto to = b.open(0, 0);
  const auto sleeps = [](const Side& side) { return side.bulletin.shard[0].sleeping.load() != 0; };
  std::array<std::byte, 4096> buffer{};
  for (int round = 0; round < 5; ++round) {
    const Instant busy_until = monotonic_now() + milliseconds(20);
    std::uint64_t sent = 0;
    std::uint64_t got = 0;
    while (monotonic_now() < busy_until || got < sent) {
      if (monotonic_now() < busy_until) sent += a.app->write(from, buffer);
      a.ring(0);
      const std::size_t length = b.app->read(to, buffer);
      got += length;
      if (length != 0) b.ring(0);
      ASSERT_LT(monotonic_now(), busy_until + seconds(20)) << "stalled";
    }
    a.wait_for([&] {  // the last ACK, too, is there
      return a.app->slot(from).engine.tx_tail.load() == a.app->slot(from).app.tx_head.load();
    });
    a.wait_for([&] { return sleeps(a) && sleeps(b); });
    ASSERT_EQ(a.app->write(from, std::span(buffer).first(1)), 1u);
    a.ring(0);
    b.wait_for([&] { return b.app->read(to, buffer) == 1; });
    b.ring(0);
    ASSERT_FALSE(HasFatalFailure());
  }
}

TEST(Engine, AnApplicationThatBlocksItsEventfdStopsNobody) {
  device::sim::Wire wire(two_queues(0), monotonic_now);
  Side a(wire, 0, 2), b(wire, 1, 2);
  const auto slot = a.open(0, 0);
  b.open(0, 0);
  const int full = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const std::uint64_t most = 0xfffffffffffffffe;
  ASSERT_EQ(::write(full, &most, sizeof most), 8);
  ASSERT_EQ(::fcntl(full, F_SETFL, 0), 0) << "now a write blocks";
  a.engine->set_wait_set(*a.arena, 1, UniqueFd(full));
  a.app->slot(slot).app.wait_sets[0] = 1;
  a.app->wait_set(1).sleeping = 1;
  const std::vector<std::byte> data(100);
  b.app->write(0, data);
  b.ring(0);
  const Instant limit = monotonic_now() + seconds(20);
  while (!a.arena->is_blocking.load()) {
    ASSERT_LT(monotonic_now(), limit) << "the shard hangs";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  a.engine->terminate(0, Duration::zero());
  a.wait_for([&] { return a.events.homecomers.contains(0); });
}

TEST(Engine, RefusesWhatCannotBe) {
  device::sim::Wire wire({}, monotonic_now);
  device::PacketDevice* const device = &wire.end(0);
  ipc::Bulletin bulletin;
  ipc::FlowRecord records[1];
  EngineConfig config;
  config.shards = 0;
  EXPECT_FALSE(Engine::start(config, {&device, 1}, bulletin, records));
  config.shards = 2;
  const auto started = Engine::start(config, {&device, 1}, bulletin, records);
  ASSERT_FALSE(started) << "the device has one queue";
  EXPECT_NE(started.error().message.find("sim0"), std::string::npos);
}

}  // namespace
}  // namespace snp::engine
