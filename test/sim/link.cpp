#include "test/sim/link.h"

#include <utility>

namespace snp::sim {
namespace {

constexpr std::uint32_t kHeaderBytes = 66;  // Ethernet, IPv4, TCP with timestamps

}  // namespace

bool Link::send(Packet packet, Instant now, Random& random) {
  const auto fate = model_.send(packet.bytes.size() + kHeaderBytes, packet.is_ect, now, random);
  if (fate.is_marked) packet.segment.is_ce = true;
  for (std::uint8_t i = 0; i < fate.copies; ++i)
    flight_.push(packet, fate.arrivals[i]);
  return fate.copies != 0;
}

}  // namespace snp::sim
