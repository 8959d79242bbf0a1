// The kernel's part of a packet, measured on this machine: what an engine has besides the CPU's
// copy before the stream waits for it. Start-up and command threads; a millisecond each.
#pragma once

#include <cstdint>
#include <vector>

#include "snp/base/unique_fd.h"

namespace snp::netdma {

// A system call, one copy, a buffer given back. A UNIX socket stands for the device's: what is
// received has just been written by this CPU, so that it is rather less than in life, and an engine
// has less time.
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
