// One direction of a simulated path: segments under way, in virtual time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "snp/base/time.h"
#include "snp/wire/segment.h"

#include "test/path/impairment.h"
#include "test/path/in_flight.h"

namespace snp::sim {

using path::happens;
using path::LinkConfig;
using path::Random;

// A packet under way: its own copy of the payload.
struct Packet {
  Segment segment;  // payload empty, see `bytes`
  std::vector<std::byte> bytes;
  bool is_ect = false;
  std::size_t flow = 0;  // the pair of hosts it belongs to
};

class Link {
 public:
  explicit Link(const LinkConfig& config) : model_(config) {}

  // False: dropped.
  bool send(Packet packet, Instant now, Random& random);
  // The next packet that has arrived by `now`.
  std::optional<Packet> receive(Instant now) { return flight_.pop(now); }
  // Looks at it only.
  [[nodiscard]] const Packet* peek(Instant now) const { return flight_.peek(now); }
  [[nodiscard]] Instant next_arrival() const { return flight_.next_arrival(); }
  void change(const LinkConfig& config) { model_.change(config); }
  [[nodiscard]] const path::Impairment::Counts& counts() const { return model_.counts(); }

 private:
  path::Impairment model_;
  path::InFlight<Packet> flight_;
};

}  // namespace snp::sim
