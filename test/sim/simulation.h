// Two connections, their rings and applications, joined by two links. Every byte that is read is
// compared with what was written; a run ends when both are CLOSED, or fails with the reason.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snp/tcp/connection.h"

#include "test/sim/link.h"

namespace snp::sim {

struct HostConfig {
  std::uint64_t bytes = 100'000;  // to send before FIN
  std::uint32_t ring = 65536;     // both rings
  std::uint32_t max_segment_payload = 1448;
  bool merges = false;    // arriving segments are merged as GRO does
  Duration read_pause{};  // a slow reader looks only so often
  Duration write_pause{};
  std::uint32_t write_most = 0xffffffff;  // bytes written at a time
};

struct Config {
  std::uint64_t seed = 1;
  bool timestamps = true;
  bool sack = true;
  bool ecn = false;
  std::uint8_t wind_shift = 7;
  std::uint16_t mss = 1460;  // before options
  const char* congestion_control = "cubic";
  std::array<HostConfig, 2> hosts;
  std::array<LinkConfig, 2> links;  // [i]: away from host i
  double handovers_per_s = 0;       // of each host, at random moments
  Duration handover_time{};         // packets that arrive meanwhile are held
  Duration limit = seconds(3600);
  bool trace = false;  // prints every packet
};

std::string describe(const Config& config);

class Host;

class Simulation {
 public:
  explicit Simulation(const Config& config);
  ~Simulation();

  // True: both sides closed and every byte compared equal. False: failure() says what went wrong.
  bool run();

  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] std::uint32_t handovers() const { return handovers_; }
  [[nodiscard]] Instant now() const { return now_; }
  // When the last byte was read at the other end of host i's stream.
  [[nodiscard]] Instant delivered_at(std::size_t i) const;
  [[nodiscard]] tcp::Info info(std::size_t i) const;  // since its last hand-over

 private:
  bool step();
  bool deliver(std::size_t to);
  bool drain(std::size_t from);
  bool hand_over(std::size_t i);
  void refuse(std::size_t from, const Segment& segment);
  [[nodiscard]] Instant next_event() const;
  void print(std::size_t from, const Packet& packet) const;

  Config config_;
  Random random_;
  Instant now_;
  std::array<Link, 2> links_;
  std::array<std::unique_ptr<Host>, 2> hosts_;
  std::uint32_t handovers_ = 0;
  std::string failure_;
};

}  // namespace snp::sim
