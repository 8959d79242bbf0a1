// Connections, their rings and applications, joined by two links: one pair of hosts, or several
// that share the links. Every byte that is read is compared with what was written; a run ends when
// all are CLOSED, or at a given time, or fails with the reason.
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
  std::uint32_t buffer = 0;       // used of them at first; 0: all
  std::uint32_t max_segment_payload = 1448;
  bool merges = false;    // arriving segments are merged as GRO does
  Duration read_pause{};  // a slow reader looks only so often
  Duration write_pause{};
  std::uint32_t write_most = 0xffffffff;  // bytes written at a time
  Duration
      copy_time{};  // an engine copies what arrives, at random times up to this; 0: there is none
};

// The path changes while the connections run.
struct Change {
  Duration at{};
  std::size_t link = 0;
  LinkConfig config;
};

struct Config {
  std::uint64_t seed = 1;
  bool timestamps = true;
  bool sack = true;
  bool ecn = false;
  std::uint8_t wind_shift = 7;
  std::uint16_t mss = 1460;  // before options
  const char* congestion_control = "cubic";
  // One pair of hosts for each; empty: one pair with `congestion_control`.
  std::vector<const char*> flows;
  Duration flow_start_gap{};  // between the starts of their applications
  std::array<HostConfig, 2> hosts;
  std::array<LinkConfig, 2> links;  // [i]: away from host i
  std::vector<Change> changes;      // in the order of their times
  double handovers_per_s = 0;       // of each host, at random moments
  Duration handover_time{};         // packets that arrive meanwhile are held
  Duration timer_tick{};            // timers fire at multiples of it, as a shard's do; 0: exactly
  Duration limit = seconds(3600);
  bool trace = false;  // prints every packet
};

std::string describe(const Config& config);

class Host;

class Simulation {
 public:
  explicit Simulation(const Config& config);
  ~Simulation();

  // True: all sides closed and every byte compared equal. False: failure() says what went wrong.
  bool run();
  // The same for so long; what has arrived is told by received().
  bool run_for(Duration time);

  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] std::uint32_t handovers() const { return handovers_; }
  [[nodiscard]] Instant now() const { return now_; }
  // When the last byte was read at the other end of host i's stream (of the first pair).
  [[nodiscard]] Instant delivered_at(std::size_t i) const;
  // When half of it was.
  [[nodiscard]] Instant half_delivered_at(std::size_t i) const;
  [[nodiscard]] tcp::Info info(std::size_t i) const;  // since its last hand-over
  // Bytes of host 0's stream that were read, and bytes of payload that it sent, by pair.
  [[nodiscard]] std::uint64_t received(std::size_t flow) const;
  [[nodiscard]] std::uint64_t payload_sent(std::size_t flow) const;
  [[nodiscard]] const Link& link(std::size_t i) const { return links_[i]; }

 private:
  // The hosts of pair f are 2 f and 2 f + 1; an even one sends on link 0.
  bool advance(Instant until);
  bool step();
  bool deliver(std::size_t side);
  bool give(std::size_t to, Packet packet);
  bool process(std::size_t to, const Packet& packet, std::uint32_t placed);
  bool finish_copies(std::size_t to, Instant limit);
  void merge(std::size_t side, Packet& packet);
  bool drain(std::size_t from);
  bool hand_over(std::size_t i);
  void change_path();
  [[nodiscard]] Instant next_hand_over();
  void refuse(std::size_t from, const Segment& segment);
  [[nodiscard]] Instant held_until(std::size_t side) const;
  [[nodiscard]] bool is_done() const;
  [[nodiscard]] Instant next_event() const;
  void print(std::size_t from, const Packet& packet) const;

  Config config_;
  Random random_;
  Instant now_;
  std::array<Link, 2> links_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::size_t next_change_ = 0;
  std::uint32_t handovers_ = 0;
  std::string failure_;
};

}  // namespace snp::sim
