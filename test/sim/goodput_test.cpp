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

}  // namespace
}  // namespace snp::sim
