// What a hash costs, ours and DPDK's, by the length of the input: 12 bytes are TCP over IPv4, 36
// TCP over IPv6.
#include <array>
#include <cstdint>
#include <random>

#include <benchmark/benchmark.h>

#include "snp/rss/toeplitz.h"

#include "test/oracle/dpdk_hash.h"

namespace {

constexpr std::size_t kInputs = 1024;  // another packet each time

template <class Hash>
void run(benchmark::State& state, Hash hash) {
  const auto length = static_cast<std::size_t>(state.range(0));
  std::mt19937 random(1);
  std::array<std::array<std::uint8_t, snp::rss::kMaxInputBytes>, kInputs> inputs;
  for (auto& input : inputs)
    for (auto& byte : input)
      byte = static_cast<std::uint8_t>(random());
  std::size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores)
    benchmark::DoNotOptimize(hash(std::span(inputs[i].data(), length)));
    i = (i + 1) % kInputs;
  }
}

const auto& key = snp::rss::kVerificationKey;

void reference(benchmark::State& state) {
  run(state, [](auto input) { return snp::rss::toeplitz(key, input); });
}
void table(benchmark::State& state) {
  run(state, [ours = snp::rss::ToeplitzTable(key)](auto input) { return ours.hash(input); });
}
void carryless(benchmark::State& state) {
  if (!snp::rss::ToeplitzCarryless::has_carryless()) return state.SkipWithError("not this CPU");
  run(state, [ours = snp::rss::ToeplitzCarryless(key)](auto input) { return ours.hash(input); });
}
void chosen(benchmark::State& state) {
  run(state, [ours = snp::rss::Toeplitz(key)](auto input) { return ours.hash(input); });
}
const snp::test::DpdkHash& dpdk() {
  static const snp::test::DpdkHash hash(key);
  return hash;
}
void dpdk_softrss(benchmark::State& state) {
  run(state, [](auto input) { return dpdk().softrss(input); });
}
void dpdk_softrss_be(benchmark::State& state) {
  run(state, [](auto input) { return dpdk().softrss_be(input); });
}
void dpdk_gfni(benchmark::State& state) {
  if (!snp::test::DpdkHash::has_gfni()) return state.SkipWithError("not this CPU");
  run(state, [](auto input) { return dpdk().gfni(input); });
}

BENCHMARK(reference)->Arg(12)->Arg(36);
BENCHMARK(table)->Arg(12)->Arg(36);
BENCHMARK(carryless)->Arg(12)->Arg(36);
BENCHMARK(chosen)->Arg(12)->Arg(36);
BENCHMARK(dpdk_softrss)->Arg(12)->Arg(36);
BENCHMARK(dpdk_softrss_be)->Arg(12)->Arg(36);
BENCHMARK(dpdk_gfni)->Arg(12)->Arg(36);

}  // namespace

BENCHMARK_MAIN();
