// What a shard's thread spends on each received byte (thread clock), with and without a copy
// engine. Frames of one size come in bursts, as a device gives them; writing them, which is not
// counted, stands for the kernel's copy into the frame, and is the time in which an engine is at
// work. The engine needs a CPU of its own: on a busy machine the figures say nothing.
#include <memory>
#include <vector>

#include <time.h>

#include <benchmark/benchmark.h>

#include "snp/engine/clock.h"
#include "snp/netdma/cpu_channel.h"
#include "snp/netdma/thread_channel.h"

#include "test/support/shard_lab.h"

namespace snp::engine {
namespace {

constexpr std::uint32_t kRing = 1u << 20;
constexpr std::uint32_t kBurstBytes = 256 * 1024;
constexpr std::uint32_t kMostFrames = 32;
// What the peer may have under way: as in the hand-over, and when the first ACKs have offered more.
constexpr std::uint32_t kFirstWindow = 65536, kWindow = 250'000;
constexpr std::uint32_t kWarmUp = 64;  // frames of each connection

enum Engine : std::int64_t { kNone, kBypassed, kCpu, kThread };

double thread_seconds() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

void give_engine(Shard& shard, std::int64_t engine) {
  if (engine == kNone) return;
  auto channel =
      engine == kCpu ? netdma::open_cpu_channel() : std::move(*netdma::open_thread_channel());
  shard.use_copier(
      std::make_unique<netdma::Copier>(std::move(channel), netdma::CopierLimits{}, monotonic_now));
  netdma::CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = 1;
  settings.is_worth.fill(engine != kBypassed);
  shard.configure_copies(settings);
}

void receive(benchmark::State& state) {
  const auto size = static_cast<std::uint32_t>(state.range(1));
  const auto connections = static_cast<std::uint32_t>(state.range(2));
  const std::unique_ptr<ipc::FlowRecord[]> records(new ipc::FlowRecord[connections]);
  std::vector<std::unique_ptr<Flow>> owned;
  std::vector<Flow*> flows;
  for (std::uint32_t id = 0; id < connections; ++id) {
    owned.push_back(std::make_unique<Flow>());
    flows.push_back(owned.back().get());
  }
  test::ShardLab lab(connections, kRing, records.get(), flows);
  give_engine(lab.shard(), state.range(0));

  const std::uint32_t burst = std::clamp(kBurstBytes / size, 1u, kMostFrames);
  std::vector<std::byte> buffer(kRing);
  std::vector<std::uint64_t> unread(connections);
  std::uint32_t next = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
  const auto turn = [&] {
    const double start = thread_seconds();
    lab.shard().run_once(lab.now());
    seconds += thread_seconds() - start;
  };
  const auto read = [&](std::uint32_t id) {
    while (const std::size_t length = lab.read(id, buffer)) {
      bytes += length;
      unread[id] -= length;
    }
  };
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    for (std::uint32_t i = 0; i < burst; ++i, ++next) {
      const std::uint32_t id = next % connections;
      // No more than the window: then the shard waits for its engine, and that is counted.
      const std::uint64_t window = next < kWarmUp * connections ? kFirstWindow : kWindow;
      for (; unread[id] + size > window; read(id))
        turn();
      unread[id] += size;
      test::ShardPeer& peer = lab.peer(id);
      peer.write(lab.queue().add(), TcpFlags::kAck | TcpFlags::kPsh, size);
      peer.seq += size;
    }
    turn();
    for (std::uint32_t id = 0; id < connections; ++id)
      read(id);
    lab.pass(microseconds(20));
  }
  while (lab.shard().awaits_copies())
    turn();
  for (std::uint32_t id = 0; id < connections; ++id)
    read(id);
  if (bytes == 0) state.SkipWithError("nothing arrived");
  state.counters["shard_ns_per_kB"] = seconds * 1e12 / static_cast<double>(bytes);
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  if (const netdma::Copier* copier = lab.shard().copier(); copier != nullptr) {
    const auto counts = copier->stats().snapshot();
    const auto by_engine = static_cast<double>(counts.of(stats::CopyOutcome::kEngine).bytes) * 100;
    state.counters["engine_%"] = by_engine / static_cast<double>(bytes);
    state.counters["late"] = static_cast<double>(counts.of(stats::CopyOutcome::kLate).copies);
  }
}
BENCHMARK(receive)
    ->ArgNames({"engine", "bytes", "connections"})
    ->ArgsProduct({{kNone, kBypassed, kCpu, kThread}, {64, 1448, 9000, 62000}, {1, 16}})
    ->UseRealTime();

}  // namespace
}  // namespace snp::engine

BENCHMARK_MAIN();
