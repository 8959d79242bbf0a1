// What one direction of a path does to packets: delay, rate and queue, loss (random and in bursts),
// reordering, duplication, ECN marks. Pure: seeded, time is an argument. The simulation (test/sim)
// uses it in virtual time, the relay (path/relay.cpp) on real frames: one model, two users.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "snp/base/time.h"

namespace snp::path {

using Random = std::mt19937_64;

inline bool happens(Random& random, double probability) {
  return probability > 0 && std::uniform_real_distribution<>(0, 1)(random) < probability;
}

// Chances are per packet. The bursts are Gilbert's model: in the bad state every packet is lost, so
// the share lost in the long run is burst_begin / (burst_begin + burst_end).
struct LinkConfig {
  Duration delay = milliseconds(5);
  double rate_bps = 0;              // 0: no limit
  std::uint32_t queue_bytes = 0;    // dropped beyond, before the rate limit; 0: no limit
  double loss = 0;                  // of each packet
  double burst_begin = 0;           // good to bad
  double burst_end = 0.3;           // bad to good
  std::uint32_t longest_burst = 0;  // packets; 0: no bound
  double reorder = 0;               // chance of an extra delay, uniform in [0, reorder_delay)
  Duration reorder_delay = milliseconds(3);
  double duplicate = 0;
  double mark = 0;  // chance of a CE mark on an ECN-capable packet
};

// "delay_ms=1,rate_mbps=50,queue_kb=128,loss=0.01,burst_begin=,burst_end=,longest_burst=,reorder=,
// reorder_ms=,duplicate=,mark=": what is not named keeps its default. nullopt: not understood.
std::optional<LinkConfig> parse_link_config(std::string_view text);

class Impairment {
 public:
  struct Counts {
    std::uint64_t packets = 0;  // given
    std::uint64_t lost = 0;     // at random and in bursts
    std::uint64_t overflowed = 0;
    std::uint64_t reordered = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t marked = 0;
  };

  // What becomes of a packet: it arrives `copies` times (0: never).
  struct Fate {
    std::uint8_t copies = 0;
    std::array<Instant, 2> arrivals{};
    bool is_marked = false;  // set CE
  };

  explicit Impairment(const LinkConfig& config) : config_(config) {}

  // A packet of `wire_bytes` is sent. Pre: `now` never goes backwards.
  Fate send(std::size_t wire_bytes, bool is_ect, Instant now, Random& random);

  // The path changes from the next packet on; what waits in the queue keeps its departure.
  void change(const LinkConfig& config) { config_ = config; }

  [[nodiscard]] const LinkConfig& config() const { return config_; }
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  bool is_lost(Random& random);
  // When its last bit leaves, or nothing: the queue is full.
  std::optional<Instant> depart(std::size_t wire_bytes, Instant now);

  LinkConfig config_;
  Counts counts_;
  Instant free_at_{};  // when the transmitter is idle again
  bool is_bad_ = false;
  std::uint32_t burst_length_ = 0;
};

}  // namespace snp::path
