// One direction of a simulated path: delay, rate, queue, loss (random and in bursts), reordering,
// duplication. Seeded, in virtual time.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "snp/base/time.h"
#include "snp/wire/segment.h"

namespace snp::sim {

using Random = std::mt19937_64;

inline bool happens(Random& random, double probability) {
  return probability > 0 && std::uniform_real_distribution<>(0, 1)(random) < probability;
}

struct LinkConfig {
  Duration delay = milliseconds(5);
  double rate_bps = 0;            // 0: no limit
  std::uint32_t queue_bytes = 0;  // dropped beyond; 0: no limit
  double loss = 0;                // of each packet
  double burst_begin = 0;         // chance that a packet begins a burst of losses
  double burst_end = 0.3;         // chance that the burst ends after a packet
  double reorder = 0;             // chance of an extra delay
  Duration reorder_delay = milliseconds(3);
  double duplicate = 0;
  double mark = 0;  // chance of a CE mark on an ECN-capable packet
};

// A packet under way: its own copy of the payload.
struct Packet {
  Segment segment;  // payload empty, see `bytes`
  std::vector<std::byte> bytes;
  bool is_ect = false;
};

class Link {
 public:
  explicit Link(const LinkConfig& config) : config_(config) {}

  // False: dropped.
  bool send(Packet packet, Instant now, Random& random);
  // The next packet that has arrived by `now`.
  std::optional<Packet> receive(Instant now);
  // Looks at it only.
  [[nodiscard]] const Packet* peek(Instant now) const;
  [[nodiscard]] Instant next_arrival() const;
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  struct Flight {
    Instant arrival;
    std::uint64_t order;
    Packet packet;
  };

  void push(Packet packet, Instant arrival);

  LinkConfig config_;
  std::vector<Flight> flights_;  // heap, the next arrival at the front
  Instant free_at_{};            // when the transmitter is idle again
  std::uint64_t order_ = 0;
  std::uint64_t dropped_ = 0;
  int burst_left_ = 0;
};

}  // namespace snp::sim
