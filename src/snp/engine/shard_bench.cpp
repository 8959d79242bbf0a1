// What a turn of a shard costs beside the device: requests of 64 bytes come in, the application
// (here: a few stores) answers each with 64 bytes. The null device costs next to nothing. `busy` of
// `all` connections talk; the others only exist.
#include <chrono>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "test/support/shard_lab.h"

namespace snp::engine {
namespace {

constexpr std::uint32_t kRing = 2048;
constexpr std::uint32_t kRequest = 64;

void request_response(benchmark::State& state) {
  const auto busy = static_cast<std::uint32_t>(state.range(0));
  const auto all = static_cast<std::uint32_t>(state.range(1));
  const std::unique_ptr<ipc::FlowRecord[]> records(new ipc::FlowRecord[all]);
  std::vector<std::unique_ptr<Flow>> owned;
  std::vector<Flow*> flows;
  for (std::uint32_t id = 0; id < all; ++id) {
    owned.push_back(std::make_unique<Flow>());
    flows.push_back(owned.back().get());
  }
  test::ShardLab lab(all, kRing, records.get(), flows);

  std::array<std::byte, kRequest> buffer{};
  std::uint64_t requests = 0;
  std::int64_t shard_ns = 0;
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    for (std::uint32_t i = 0; i < busy; ++i) {
      test::ShardPeer& peer = lab.peer(i);
      peer.write(lab.queue().add(), TcpFlags::kAck | TcpFlags::kPsh, kRequest);
      peer.seq += kRequest;
      peer.ack += kRequest;
    }
    lab.pass(microseconds(20));
    const auto start = std::chrono::steady_clock::now();
    lab.run();
    const auto received = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < busy; ++i) {
      lab.read(i, buffer);
      lab.write(i, buffer);
    }
    const auto answered = std::chrono::steady_clock::now();
    lab.run();
    const auto end = std::chrono::steady_clock::now();
    shard_ns += ((received - start) + (end - answered)).count();
    requests += busy;
  }
  if (lab.queue().sent() < requests) state.SkipWithError("requests were not answered");
  state.counters["shard_ns_per_request"] =
      static_cast<double>(shard_ns) / static_cast<double>(requests);
  state.counters["frames_per_request"] =
      static_cast<double>(lab.queue().sent()) / static_cast<double>(requests);
}
BENCHMARK(request_response)->Args({1, 1})->Args({16, 16})->Args({128, 128});
// Ten that talk among ten, and among ten thousand.
BENCHMARK(request_response)->Args({10, 10})->Args({10, 10'000});

// Finding the connection of a frame, in a table of so many.
void demultiplex(benchmark::State& state) {
  const auto count = static_cast<std::uint32_t>(state.range(0));
  TupleMap<std::uint32_t> table;
  std::vector<FourTuple> tuples(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    tuples[i].local = {IpAddress::v4(10, 0, 0, 1), 80};
    tuples[i].remote = {IpAddress::v4(10, 0, static_cast<std::uint8_t>(i >> 16), 2),
                        static_cast<std::uint16_t>(i)};
    table[tuples[i]] = i;
  }
  std::uint32_t next = 0;
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    benchmark::DoNotOptimize(table.find(tuples[next]));
    next = (next + 7919) % count;
  }
}
BENCHMARK(demultiplex)->Arg(10)->Arg(10'000);

}  // namespace
}  // namespace snp::engine

BENCHMARK_MAIN();
