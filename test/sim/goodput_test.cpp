// How well a path of 1 Gbit/s and 10 ms is filled. Loose floors: a table for people, and an alarm.
#include <iostream>

#include <gtest/gtest.h>

#include "test/sim/simulation.h"

namespace snp::sim {
namespace {

struct Row {
  double loss;
  const char* congestion_control;
  std::uint32_t burst;
  double floor_mbps;
};

double goodput_mbps(const Row& row) {
  Config config;
  config.seed = 42;
  config.congestion_control = row.congestion_control;
  config.hosts[0].bytes = 60'000'000;
  config.hosts[1].bytes = 0;
  for (HostConfig& host : config.hosts) {
    host.ring = 1u << 22;
    host.max_segment_payload = row.burst;
    host.merges = true;
  }
  for (LinkConfig& link : config.links) {
    link.delay = milliseconds(5);
    link.rate_bps = 1e9;
    link.queue_bytes = 1'250'000;
  }
  config.links[0].loss = row.loss;
  Simulation simulation(config);
  if (!simulation.run()) {
    ADD_FAILURE() << simulation.failure() << "\n" << describe(config);
    return 0;
  }
  const double time =
      std::chrono::duration<double>(simulation.delivered_at(0) - Instant(seconds(1000))).count();
  return static_cast<double>(config.hosts[0].bytes) * 8 / time / 1e6;
}

TEST(Goodput, OneGigabitTenMilliseconds) {
  const Row rows[] = {
      {0, "cubic", 1448, 550},    {0, "cubic", 65000, 600},    {0, "newreno", 65000, 600},
      {0.001, "cubic", 1448, 25}, {0.001, "cubic", 65000, 25}, {0.01, "cubic", 65000, 6},
      {0, "bbr", 65000, 700},     {0.01, "bbr", 65000, 600},
  };
  for (const Row& row : rows) {
    const double mbps = goodput_mbps(row);
    std::cout << "loss " << row.loss << " " << row.congestion_control << " burst " << row.burst
              << ": " << mbps << " Mbit/s\n";
    EXPECT_GE(mbps, row.floor_mbps);
  }
}

// 1 Gbit/s and 100 ms: 12.5 MB in flight, from buffers that begin with 1 MiB.
class LongFatPath : public ::testing::TestWithParam<const char*> {};

TEST_P(LongFatPath, IsFilledByTunedBuffers) {
  Config config;
  config.seed = 7;
  config.congestion_control = GetParam();
  config.wind_shift = 10;
  config.hosts[0].bytes = 1'000'000'000;
  config.hosts[1].bytes = 0;
  for (HostConfig& host : config.hosts) {
    host.ring = 1u << 26;
    host.buffer = 1u << 20;
    host.max_segment_payload = 65000;
    host.merges = true;
  }
  for (LinkConfig& link : config.links) {
    link.delay = milliseconds(50);
    link.rate_bps = 1e9;
    link.queue_bytes = 6'250'000;
  }
  Simulation simulation(config);
  ASSERT_TRUE(simulation.run()) << simulation.failure();
  const auto time = simulation.delivered_at(0) - simulation.half_delivered_at(0);
  const double mbps = 0.5 * 8 * static_cast<double>(config.hosts[0].bytes) /
                      std::chrono::duration<double>(time).count() / 1e6;
  const double overall =
      8 * static_cast<double>(config.hosts[0].bytes) /
      std::chrono::duration<double>(simulation.delivered_at(0) - Instant(seconds(1000))).count() /
      1e6;
  std::cout << GetParam() << ": " << mbps << " Mbit/s after the start, " << overall << " with it\n";
  EXPECT_GE(mbps, 0.9 * 1000 * 1448 / 1514) << "of what the headers leave";
}

INSTANTIATE_TEST_SUITE_P(Cc, LongFatPath, ::testing::Values("cubic", "bbr"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace snp::sim
