// The backend `cpu`: copies in the caller's own time, before submit() returns. Always there, and
// what the others are measured against.
#pragma once

#include <limits>
#include <memory>

#include "snp/netdma/channel.h"

namespace snp::netdma {

struct CpuOptions {
  std::uint32_t depth = 256;  // a power of two
  // From here on streaming stores; what pays is measured (calibration.h).
  std::size_t streaming_from = std::numeric_limits<std::size_t>::max();
};

std::unique_ptr<Channel> open_cpu_channel(const CpuOptions& options = {});

}  // namespace snp::netdma
