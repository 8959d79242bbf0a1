// For tests: two hosts with shards and attached processes over the sim wire, in virtual time,
// without threads and without a control thread.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <sys/eventfd.h>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "snp/device/drivers/sim/sim_device.h"
#include "snp/engine/handoff.h"
#include "snp/engine/shard.h"

#include "test/support/fake_app.h"

namespace snp::engine {

using device::sim::Wire;
using device::sim::WireConfig;
using test::FakeApp;
using test::pattern;

using M = stats::EngineMetric;
using P = stats::PathMetric;

inline constexpr std::uint32_t kRing = 64 * 1024;

// One end: shards without threads, an attached process, the control thread's part in short.
struct Host {
  Host(Wire& wire, std::size_t end_index, std::uint32_t shard_count, Instant now)
      : end(end_index), records(new ipc::FlowRecord[16]) {
    arena.number = static_cast<std::uint32_t>(end);
    arena.memory = FakeApp::make_memory();
    arena.wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
    for (auto& fd : arena.wait_set_fds)
      fd = -1;
    app = std::make_unique<FakeApp>(arena.memory);
    for (std::uint32_t i = 0; i < shard_count; ++i)
      arena.bells.emplace_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    start_shards(wire, now);
  }

  void start_shards(Wire& wire, Instant now) {
    for (std::uint32_t i = 0; i < arena.bells.size(); ++i) {
      std::vector<DevicePort> ports;
      auto& device = wire.end(end);
      ports.push_back({*device.open_queue(i), device.caps(), device.ifindex(), false});
      ShardConfig config;
      config.shard = i;
      shards.push_back(
          std::make_unique<Shard>(config, std::move(ports), records.get(), answers, guard, now));
      views.push_back(std::make_unique<ShardArena>(arena, i));
      Mail& mail = make(MailKind::kAttach, i);
      shards[i]->inbox().post(mail);
    }
  }

  // As a kill does it: nothing of the shards is left but arena and records.
  void kill() {
    shards.clear();
    views.clear();
    flows.clear();
    answered.clear();
    static_cast<void>(answers.take_all());
    mails.clear();
  }

  Mail& make(MailKind kind, std::uint32_t shard) {
    mails.push_back(std::make_unique<Mail>());
    mails.back()->kind = kind;
    mails.back()->arena = views[shard].get();
    return *mails.back();
  }

  void initiate(const chimney::Handoff& handoff, std::uint32_t shard) {
    flows.push_back(std::make_unique<Flow>());
    Flow& flow = *flows.back();
    for (Mail* mail : {&flow.finished_mail, &flow.upload_mail}) {
      mail->is_part_of_flow = true;
      mail->id = handoff.id;
      mail->flow = &flow;
    }
    Mail& mail = make(MailKind::kInitiate, shard);
    mail.id = handoff.id;
    mail.handoff = handoff;
    mail.flow = &flow;
    shards[shard]->inbox().post(mail);
  }

  // Opens connection `id` of the pair of hosts at this end.
  ipc::SlotId open(chimney::ConnectionId id, std::uint32_t shard = 0, std::uint32_t ring = kRing,
                   std::uint32_t buffer = 0) {
    const auto slot = app->open_slot(records[id], arena.number, shard, ring);
    const auto port = static_cast<std::uint16_t>(40000 + id);
    chimney::Handoff handoff = test::make_handoff(end, id, port, *app, slot);
    handoff.buffer_bytes = buffer;
    offload(handoff, shard);
    return slot;
  }
  [[nodiscard]] std::uint64_t memory() const {
    struct stat status {};
    ::fstat(arena.memory.fd(), &status);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  void offload(const chimney::Handoff& handoff, std::uint32_t shard) {
    records[handoff.id].shard = shard;
    ipc::store_state(records[handoff.id], handoff.state, handoff.rx_range, handoff.tx_range, 0);
    initiate(handoff, shard);
  }

  // What an engine after a kill does with a record.
  void resume(chimney::ConnectionId id, Instant now) {
    initiate(handoff_of(records[id], id, arena.memory.data(), now), records[id].shard);
  }

  void terminate(chimney::ConnectionId id, Duration patience = Duration::zero()) {
    Mail& mail = make(MailKind::kTerminate, records[id].shard);
    mail.id = id;
    mail.patience = patience;
    shards[records[id].shard]->inbox().post(mail);
  }

  void expect(chimney::ConnectionId id, const FourTuple& tuple, std::uint32_t shard) {
    Mail& mail = make(MailKind::kExpect, shard);
    mail.id = id;
    mail.handoff.state.constant.tuple = tuple;
    shards[shard]->inbox().post(mail);
  }
  void move_out(chimney::ConnectionId id, std::uint32_t shard) {
    Mail& mail = make(MailKind::kMoveOut, records[id].shard);
    mail.id = id;
    mail.shard = shard;
    shards[records[id].shard]->inbox().post(mail);
  }

  void move_in(chimney::ConnectionId id, std::uint32_t shard) {
    const auto moved =
        std::find_if(flows.begin(), flows.end(), [id](const auto& flow) { return flow->id == id; });
    records[id].shard = shard;
    Mail& mail = make(MailKind::kMoveIn, shard);
    mail.id = id;
    mail.flow = moved->get();
    mail.handoff.state.cached = (*moved)->cached;
    shards[shard]->inbox().post(mail);
  }

  // `recalls`: other than 0 is another number than the account has.
  void release(const FourTuple& tuple, std::span<const std::byte> forged = {},
               std::uint32_t recalls = 0) {
    Mail& mail = make(MailKind::kReleaseFrames, 0);
    mail.recalls = recalls;
    mail.handoff.state.constant.tuple = tuple;
    mail.handoff.state.constant.ifindex = static_cast<std::uint32_t>(end + 1);
    mail.forged_segment.assign(forged.begin(), forged.end());
    shards[0]->inbox().post(mail);
  }

  std::size_t run(Instant now) {
    std::size_t work = 0;
    for (auto& shard : shards)
      work += shard->run_once(now);
    for (MailNode* node = answers.take_all(); node != nullptr;) {
      auto& mail = static_cast<Mail&>(*node);
      node = node->next;
      if (mail.kind == MailKind::kPassedFrame) {  // made by a shard, as the engine routes it
        mails.emplace_back(&mail);
        mail.kind = MailKind::kFrame;
        shards[mail.shard]->inbox().post(mail);
      } else if (mail.kind != MailKind::kDone) {
        answered.push_back(&mail);
      }
    }
    return work;
  }

  [[nodiscard]] Mail* answer(MailKind kind, chimney::ConnectionId id) const {
    for (Mail* mail : answered)
      if (mail->kind == kind && mail->id == id) return mail;
    return nullptr;
  }

  const std::size_t end;
  std::unique_ptr<ipc::FlowRecord[]> records;
  Arena arena;
  std::unique_ptr<FakeApp> app;
  Mailbox answers;
  WakeGuard guard;
  std::vector<std::unique_ptr<ShardArena>> views;
  std::vector<std::unique_ptr<Mail>> mails;
  std::vector<std::unique_ptr<Flow>> flows;
  std::vector<Mail*> answered;
  std::vector<std::unique_ptr<Shard>> shards;
};

// Two hosts, a wire, virtual time.
struct World {
  explicit World(WireConfig config = {}, std::uint32_t shards = 1)
      : wire(
            [&] {
              config.queues = shards;
              return config;
            }(),
            [this] { return now; }),
        a(wire, 0, shards, now),
        b(wire, 1, shards, now) {}

  // Runs both hosts until neither has work, then jumps to whatever comes next.
  void step(Instant limit = kNever) {
    if (a.run(now) + b.run(now) != 0) return;
    Instant next = wire.next_arrival();
    for (const Host* host : {&a, &b}) {
      for (const auto& shard : host->shards) {
        next = std::min(next, shard->next_deadline());
        if (shard->awaits_copies()) next = std::min(next, now + microseconds(5));
      }
    }
    now = std::max(now + microseconds(1), std::min({next, limit, now + seconds(1)}));
  }
  void run_for(Duration length) {
    for (const Instant end = now + length; now < end;)
      step(end);
  }

  Instant now{seconds(1000)};
  Wire wire;
  Host a, b;
};

// One direction of a connection, byte by byte against the pattern.
struct Stream {
  Host& from;
  Host& to;
  ipc::SlotId from_slot;
  ipc::SlotId to_slot;
  std::uint64_t seed;
  std::uint64_t total;
  std::uint64_t sent = 0, received = 0;
  std::mt19937 random{static_cast<std::uint32_t>(seed)};

  void pump() {
    std::array<std::byte, 20000> buffer;
    std::size_t length = std::min<std::uint64_t>(total - sent, random() % buffer.size() + 1);
    for (std::size_t i = 0; i < length; ++i)
      buffer[i] = pattern(seed, sent + i);
    sent += from.app->write(from_slot, std::span(buffer).first(length));
    length = to.app->read(to_slot, std::span(buffer).first(random() % buffer.size() + 1));
    for (std::size_t i = 0; i < length; ++i)
      ASSERT_EQ(buffer[i], pattern(seed, received + i)) << "at " << received + i;
    received += length;
  }
  [[nodiscard]] bool is_done() const { return received == total; }
};

inline void transfer(World& world, std::vector<Stream>& streams, Duration limit = seconds(120)) {
  const Instant end = world.now + limit;
  const auto is_done = [](const Stream& stream) { return stream.is_done(); };
  while (!std::all_of(streams.begin(), streams.end(), is_done)) {
    for (Stream& stream : streams) {
      stream.pump();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_LT(world.now, end) << "stalled";
    world.step();
  }
}

}  // namespace snp::engine
