// neighbour [--seconds 3]
//
// A program that only computes: what it gets done on a core tells what the others there took from
// it. Prints one line of JSON.
#include <cstdio>

#include "test/bench/peer.h"

int main(int argc, char** argv) {
  using namespace snp::peer;
  const Arguments arguments(argc, argv);
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(arguments.real("seconds", 3) * 1e9);
  std::uint64_t rounds = 0;
  std::uint64_t state = 1;
  std::uint64_t now = start;
  for (; now < end; now = now_ns(), ++rounds) {
    for (int i = 0; i < 1000; ++i)
      state = state * 6364136223846793005u + 1442695040888963407u;
  }
  std::printf(
      "{\"seconds\": %.3f, \"rounds_per_second\": %.1f, \"cpu_seconds\": %.4f, \"check\": %u}\n",
      static_cast<double>(now - start) * 1e-9,
      static_cast<double>(rounds) * 1e9 / static_cast<double>(now - start), cpu_seconds(),
      static_cast<unsigned>(state >> 60));
}
