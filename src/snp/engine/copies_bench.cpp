// What a shard's thread spends on each received byte, with and without a copy engine: its thread
// clock over run_once(), so parsing, TCP, copies and their hand-over, waiting for the engine
// included, and no device: neither a system call nor the kernel's work. Frames of one size come in
// bursts, as a device gives them. Writing them and reading the ring is not counted; it is the time
// in which an engine is at work.
//
// far:0, the shard's own thread does that, so that the bytes are in its cache: af_packet's large
// frames, which recvmsg has just copied. far:1, a thread on another CPU does: memory into which
// somebody else has written, a card or the kernel on the sender's CPU, and a ring from which a
// program on another CPU reads. Then the shard's copy pays the misses.
//
// Three CPUs, nothing else on them: taskset -c 1,2,3 copies_bench. The threads are pinned to the
// first, the second (far) and the third (engine) of those that it may use; two are enough for far:0
// and for `calibration`.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <benchmark/benchmark.h>

#include "snp/engine/clock.h"
#include "snp/engine/copy_trial.h"
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
constexpr std::uint32_t kWarmUp = 64;           // frames of each connection
constexpr Duration kTrial = milliseconds(500);  // of one calibration, nine sizes

enum Engine : std::int64_t { kNone, kBypassed, kCpu, kThread };

double thread_seconds() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

// What reading the clock adds to a time: on a virtual machine half a microsecond and more, which is
// as much as a turn.
double clock_seconds() {
  double least = 1;
  for (int i = 0; i < 1000; ++i) {
    const double start = thread_seconds();
    least = std::min(least, thread_seconds() - start);
  }
  return least;
}

// The CPUs that the program may use when it starts, in order.
const std::vector<int>& usable_cpus() {
  static const std::vector<int> kCpus = [] {
    std::vector<int> found;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
      for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) found.push_back(cpu);
    return found;
  }();
  return kCpus;
}

// 0: the shard's, 1: the world's, 2: the engine's; the last for all that there is none for.
int cpu_of(std::size_t which) {
  return usable_cpus()[std::min(which, usable_cpus().size() - 1)];
}

void pin(pthread_t thread, std::size_t which) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu_of(which)), &set);
  ::pthread_setaffinity_np(thread, sizeof set, &set);
}

// Does what it is told, there or here, before the call returns.
class World {
 public:
  explicit World(bool is_far) {
    if (!is_far) return;
    thread_ = std::thread([this] {
      for (;;) {
        while (!is_asked_.load(std::memory_order_acquire))
          __builtin_ia32_pause();
        if (!work_) return;
        work_();
        is_asked_.store(false, std::memory_order_release);
      }
    });
    pin(thread_.native_handle(), 1);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() {
    if (!thread_.joinable()) return;
    work_ = {};
    is_asked_.store(true, std::memory_order_release);
    thread_.join();
  }
  void run(std::function<void()> work) {
    if (!thread_.joinable()) return work();
    work_ = std::move(work);
    is_asked_.store(true, std::memory_order_release);
    while (is_asked_.load(std::memory_order_acquire))
      __builtin_ia32_pause();
  }

 private:
  std::function<void()> work_;
  std::atomic<bool> is_asked_{false};
  std::thread thread_;
};

void give_engine(Shard& shard, std::int64_t engine) {
  if (engine == kNone) return;
  netdma::ThreadOptions options;
  options.cpu = cpu_of(2);
  auto channel = engine == kCpu ? netdma::open_cpu_channel()
                                : std::move(*netdma::open_thread_channel(options));
  shard.use_copier(
      std::make_unique<netdma::Copier>(std::move(channel), netdma::CopierLimits{}, monotonic_now));
  netdma::CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = 1;
  settings.is_worth.fill(engine != kBypassed);
  shard.configure_copies(settings);
}

void say_who_copied(benchmark::State& state, const netdma::Copier& copier, std::uint64_t bytes) {
  const auto counts = copier.stats().snapshot();
  const auto by_engine = static_cast<double>(counts.of(stats::CopyOutcome::kEngine).bytes) * 100;
  state.counters["engine_%"] = by_engine / static_cast<double>(bytes);
  state.counters["late"] = static_cast<double>(counts.of(stats::CopyOutcome::kLate).copies);
}

void receive(benchmark::State& state) {
  usable_cpus();
  pin(::pthread_self(), 0);
  World world(state.range(3) != 0);
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
  const double clock_cost = clock_seconds();
  const auto turn = [&] {
    const double start = thread_seconds();
    lab.shard().run_once(lab.now());
    seconds += thread_seconds() - start - clock_cost;
  };
  const auto read = [&](std::uint32_t id) {
    while (const std::size_t length = lab.read(id, buffer)) {
      bytes += length;
      unread[id] -= length;
    }
  };
  const auto write = [&](std::uint32_t id) {
    unread[id] += size;
    test::ShardPeer& peer = lab.peer(id);
    peer.write(lab.queue().add(), TcpFlags::kAck | TcpFlags::kPsh, size);
    peer.seq += size;
  };
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    for (std::uint32_t written = 0; written < burst;) {
      // No more than the window: then the shard waits for its engine, and that is counted.
      world.run([&] {
        for (std::uint32_t id = 0; id < connections; ++id)
          read(id);
        for (; written < burst; ++written, ++next) {
          const std::uint64_t window = next < kWarmUp * connections ? kFirstWindow : kWindow;
          if (unread[next % connections] + size > window) break;
          write(next % connections);
        }
      });
      turn();
    }
    lab.pass(microseconds(20));
  }
  const auto read_all = [&] {
    for (std::uint32_t id = 0; id < connections; ++id)
      read(id);
  };
  while (lab.shard().awaits_copies())
    turn();
  world.run(read_all);
  if (bytes == 0) state.SkipWithError("nothing arrived");
  state.counters["shard_ns_per_kB"] = seconds * 1e12 / static_cast<double>(bytes);
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  if (lab.shard().copier() != nullptr) say_who_copied(state, *lab.shard().copier(), bytes);
}
BENCHMARK(receive)
    ->ArgNames({"engine", "bytes", "connections", "far"})
    ->ArgsProduct(
        {{kNone, kBypassed, kCpu, kThread}, {64, 1448, 9000, 16384, 32768, 62000}, {1, 16}, {0, 1}})
    ->UseRealTime();

// What calibration sees of the same machine: to be beside far:0 with one connection.
void calibration(benchmark::State& state) {
  usable_cpus();
  pin(::pthread_self(), 0);
  netdma::ThreadOptions options;
  options.cpu = cpu_of(2);
  const auto channel = std::move(*netdma::open_thread_channel(options));
  netdma::Figures figures;
  figures.is_asynchronous = true;
  netdma::SizeFigures& size = figures.sizes.front();
  size.bytes = static_cast<std::uint32_t>(state.range(0));
  for ([[maybe_unused]] auto _ : state)  // NOLINT(clang-analyzer-deadcode.DeadStores)
    measure_shard(*channel, kTrial, figures);
  if (!figures.failure.empty()) state.SkipWithError(figures.failure.c_str());
  state.counters["cpu_ns_per_kB"] = 1000 * size.shard_cpu_ns / size.bytes;
  state.counters["engine_ns_per_kB"] = 1000 * size.shard_engine_ns / size.bytes;
}
BENCHMARK(calibration)
    ->ArgName("bytes")
    ->Arg(64)
    ->Arg(1448)
    ->Arg(9000)
    ->Arg(16384)
    ->Arg(32768)
    ->Arg(62000)
    ->Iterations(1);

}  // namespace
}  // namespace snp::engine

BENCHMARK_MAIN();
