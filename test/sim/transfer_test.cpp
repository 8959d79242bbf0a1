// Random paths, random programs: every byte arrives once and in order, and both sides end.
#include <array>
#include <cstdlib>

#include <gtest/gtest.h>

#include "test/sim/simulation.h"

namespace snp::sim {
namespace {

const char* environment(const char* name) {
  return std::getenv(name);  // NOLINT(concurrency-mt-unsafe): there is one thread
}

double pick(Random& random, std::initializer_list<double> values) {
  return values.begin()[random() % values.size()];
}

// Half of the paths become slower, faster, longer or shorter while they are used.
void change_the_path(Config& config, Random& random) {
  Duration at{};
  for (std::uint64_t left = random() % 2 == 0 ? 0 : 1 + random() % 4; left > 0; --left) {
    const std::size_t side = random() % 2;
    LinkConfig link = config.links[side];
    link.delay = microseconds(random() % 60'000);
    if (link.rate_bps > 0) link.rate_bps *= pick(random, {0.1, 0.5, 2, 10});
    at += milliseconds(random() % 500);
    config.changes.push_back({at, side, link});
  }
}

Config random_config(std::uint64_t seed) {
  Random random(seed * 7919);
  Config config;
  config.seed = seed;
  config.timestamps = random() % 4 != 0;
  config.sack = random() % 4 != 0;
  config.ecn = random() % 4 == 0;
  config.wind_shift = static_cast<std::uint8_t>(pick(random, {0, 2, 7, 7, 10}));
  config.mss = static_cast<std::uint16_t>(pick(random, {536, 1460, 1460, 8960}));
  config.congestion_control = std::array{"cubic", "newreno", "dctcp", "bbr"}[random() % 4];
  for (HostConfig& host : config.hosts) {
    host.bytes = random() % 5 == 0 ? random() % 3 : random() % 400'000;
    host.ring = 1u << (14 + random() % 5);
    host.max_segment_payload = static_cast<std::uint32_t>(pick(random, {1448, 1448, 65000}));
    host.merges = random() % 2 == 0;
    if (random() % 4 == 0) host.read_pause = microseconds(100 + random() % 50'000);
    if (random() % 4 == 0) {
      host.write_pause = microseconds(1 + random() % 20'000);
      host.write_most = static_cast<std::uint32_t>(1 + random() % 5000);
      host.bytes = std::min<std::uint64_t>(host.bytes, 50'000);
    }
  }
  for (LinkConfig& link : config.links) {
    link.delay = microseconds(random() % 2 == 0 ? random() % 200 : random() % 50'000);
    link.rate_bps = pick(random, {0, 0, 1e6, 1e8, 1e9});
    if (link.rate_bps > 0) link.queue_bytes = 3000 + static_cast<std::uint32_t>(random() % 200'000);
    link.loss = pick(random, {0, 0, 0.001, 0.01, 0.05, 0.2});
    link.burst_begin = pick(random, {0, 0, 0.002});
    link.longest_burst = 4;  // a connection may give up after 15 attempts, and would be right to
    link.reorder = pick(random, {0, 0, 0.01, 0.3});
    link.reorder_delay = microseconds(1 + random() % 10'000);
    link.duplicate = pick(random, {0, 0, 0.01, 0.1});
    link.mark = pick(random, {0, 0.01});
  }
  change_the_path(config, random);
  return config;
}

void run_seeds(std::uint64_t first, std::uint64_t last, double handovers_per_s,
               bool has_engine = false) {
  // SNP_SIM_SEED=n repeats one run, with SNP_SIM_RUNS=m it is the first of m.
  if (const char* begin = environment("SNP_SIM_SEED")) {
    const char* runs = environment("SNP_SIM_RUNS");
    first = std::strtoull(begin, nullptr, 10);
    last = first + (runs != nullptr ? std::strtoull(runs, nullptr, 10) : 1);
  }
  for (std::uint64_t seed = first; seed < last; ++seed) {
    Config config = random_config(seed);
    if (handovers_per_s > 0) {
      Random random(seed);
      config.handovers_per_s = handovers_per_s;
      // Each hand-over forgets what was SACKed; with heavy loss as well, a run takes hours.
      for (LinkConfig& link : config.links)
        link.loss = std::min(link.loss, 0.05);
      config.handover_time = microseconds(random() % 2000);
    }
    if (has_engine) {
      Random random(seed * 31);
      for (HostConfig& host : config.hosts)
        host.copy_time = microseconds(1 + random() % (random() % 2 == 0 ? 100 : 20'000));
    }
    config.trace = environment("SNP_SIM_TRACE") != nullptr;
    Simulation simulation(config);
    ASSERT_TRUE(simulation.run()) << simulation.failure() << " at "
                                  << simulation.now().time_since_epoch() / milliseconds(1)
                                  << " ms\n"
                                  << describe(config);
  }
}

TEST(Transfer, RandomPathsDeliverEveryByte) {
  run_seeds(1, 1001, 0);
}

TEST(Transfer, HandOversAtRandomMomentsLoseNothing) {
  run_seeds(1, 1001, 20);
}

// A copy engine that is slow and writes at the last moment: what is shown too early, or written too
// late, is a wrong byte.
TEST(Transfer, ASlowCopyEngineMixesNothingUp) {
  run_seeds(1, 401, 0, true);
  run_seeds(401, 601, 20, true);
}

}  // namespace
}  // namespace snp::sim
