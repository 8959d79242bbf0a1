// What a turn of a shard costs beside the device: requests of 64 bytes come in, the application
// (here: a few stores) answers each with 64 bytes. The null device costs next to nothing.
#include <sys/eventfd.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "snp/engine/shard.h"
#include "snp/wire/header_template.h"

#include "test/support/fake_app.h"

namespace snp::engine {
namespace {

constexpr std::uint32_t kRing = 64 * 1024;
constexpr std::uint32_t kRequest = 64;

// Gives what was put into it, forgets what is sent.
class NullQueue final : public device::PacketQueue {
 public:
  std::size_t receive(std::span<device::RxFrame> out) noexcept override {
    const std::size_t count = std::min(out.size(), frames.size() - next);
    for (std::size_t i = 0; i < count; ++i)
      out[i] = {frames[next + i], device::Checksum::kValid, 0};
    next += count;
    return count;
  }
  bool transmit(const device::TxFrame& frame) noexcept override {
    benchmark::DoNotOptimize(frame.headers.data());
    ++sent;
    return true;
  }
  void flush() noexcept override {}
  bool reinject(const device::RxFrame&) noexcept override { return true; }
  [[nodiscard]] int wait_fd() const noexcept override { return -1; }
  [[nodiscard]] device::QueueStats stats() const noexcept override { return {}; }

  std::vector<std::vector<std::byte>> frames;
  std::size_t next = 0;
  std::uint64_t sent = 0;
};

// The peer of one connection: always in order, acknowledges with each request.
struct Peer {
  HeaderTemplate headers;
  SeqNum seq, ack;
  std::uint32_t ts = 1;

  void write_request(std::vector<std::byte>& frame) {
    frame.resize(HeaderTemplate::kMaxBytes + kRequest);
    TcpOptions options;
    options.has_timestamps = true;
    options.ts_val = ++ts;
    const SegmentFields fields{seq, ack, 500, TcpFlags::kAck | TcpFlags::kPsh, false, kRequest};
    frame.resize(headers.write(fields, options, frame.data()) + kRequest);
    seq += kRequest;
    ack += kRequest;
  }
};

void request_response(benchmark::State& state) {
  const auto connections = static_cast<std::uint32_t>(state.range(0));
  const std::unique_ptr<ipc::FlowRecord[]> records(new ipc::FlowRecord[connections]);
  Arena arena;
  arena.memory = test::FakeApp::make_memory();
  arena.wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
  arena.bells.emplace_back(::eventfd(0, EFD_CLOEXEC));
  test::FakeApp app(arena.memory);
  ShardArena view(arena, 0);
  Mailbox answers;
  WakeGuard guard;
  auto owned = std::make_unique<NullQueue>();
  NullQueue& queue = *owned;
  std::vector<DevicePort> ports;
  ports.push_back({std::move(owned), {61440, true, true}, 1, false});
  Instant now{seconds(1000)};
  Shard shard({}, std::move(ports), records.get(), answers, guard, now);
  Mail attach;
  attach.kind = MailKind::kAttach;
  attach.arena = &view;
  shard.inbox().post(attach);

  std::vector<std::unique_ptr<Flow>> flows;
  std::vector<std::unique_ptr<Mail>> mails;
  std::vector<Peer> peers(connections);
  std::vector<ipc::SlotId> slots;
  for (std::uint32_t id = 0; id < connections; ++id) {
    slots.push_back(app.open_slot(records[id], 0, 0, kRing));
    const auto handoff =
        test::make_handoff(0, id, static_cast<std::uint16_t>(10000 + id), app, slots.back());
    const auto& tuple = handoff.state.constant.tuple;
    peers[id].headers = HeaderTemplate({{}, {}, mirrored(tuple), 64, 0, 0});
    peers[id].seq = handoff.state.delegated.rcv_nxt;
    peers[id].ack = handoff.state.delegated.snd_una;
    app.slot(slots.back()).app.wait_sets[0] = 1;
    flows.push_back(std::make_unique<Flow>());
    mails.push_back(std::make_unique<Mail>());
    mails.back()->kind = MailKind::kInitiate;
    mails.back()->arena = &view;
    mails.back()->flow = flows.back().get();
    mails.back()->handoff = handoff;
    ipc::store_state(records[id], handoff.state, handoff.rx_range, handoff.tx_range, 0);
    shard.inbox().post(*mails.back());
  }
  shard.run_once(now);

  queue.frames.resize(connections);
  std::array<std::byte, kRequest> buffer{};
  std::uint64_t requests = 0;
  std::int64_t shard_ns = 0;
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    for (std::uint32_t id = 0; id < connections; ++id)
      peers[id].write_request(queue.frames[id]);
    queue.next = 0;
    now += microseconds(20);
    const auto start = std::chrono::steady_clock::now();
    while (shard.run_once(now) != 0) {
    }
    const auto received = std::chrono::steady_clock::now();
    for (const ipc::SlotId slot : slots) {
      app.read(slot, buffer);
      app.write(slot, buffer);
    }
    const auto answered = std::chrono::steady_clock::now();
    while (shard.run_once(now) != 0) {
    }
    const auto end = std::chrono::steady_clock::now();
    shard_ns += ((received - start) + (end - answered)).count();
    requests += connections;
  }
  if (queue.sent < requests) state.SkipWithError("requests were not answered");
  state.counters["shard_ns_per_request"] =
      static_cast<double>(shard_ns) / static_cast<double>(requests);
  state.counters["frames_per_request"] =
      static_cast<double>(queue.sent) / static_cast<double>(requests);
}
BENCHMARK(request_response)->Arg(1)->Arg(16)->Arg(128);

}  // namespace
}  // namespace snp::engine

BENCHMARK_MAIN();
