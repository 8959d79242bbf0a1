// What a shard does besides copying, measured on this machine: for a copy that ends later, and for
// the next packet while an engine copies. Start-up and command threads; medians, a millisecond
// each.
#pragma once

#include <cstdint>
#include <vector>

#include "snp/base/unique_fd.h"

namespace snp::netdma {

// Of one copy that goes through a Copier: it is numbered, kept, submitted, asked for, its frame is
// taken out again and its headers are read a second time. The engine's own part is none.
double measure_copier_ns();

// The kernel's part of a packet: a system call, one copy, a buffer given back. A UNIX socket stands
// for the device's: what is received has just been written by this CPU, so that it is rather less
// than in life, and an engine has less time.
class PacketProbe {
 public:
  PacketProbe();
  // Of receiving one packet of so many bytes; 0: it cannot be measured.
  [[nodiscard]] double measure_ns(std::uint32_t bytes);

 private:
  UniqueFd sender_, receiver_;
  std::vector<char> buffer_;
};

}  // namespace snp::netdma
