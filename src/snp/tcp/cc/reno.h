// Growth of RFC 5681 with byte counting (RFC 3465), shared by NewReno and DCTCP.
#pragma once

#include <algorithm>
#include <cstdint>

#include "snp/tcp/cc/congestion_control.h"

namespace snp::tcp {

struct RenoGrowth {
  std::uint32_t acked = 0;  // bytes towards the next segment of growth

  void grow(CongestionState& state, std::uint32_t bytes) noexcept {
    if (state.is_slow_start()) {
      const std::uint32_t growth = std::min(bytes, state.ssthresh - state.cwnd);
      state.cwnd += growth;
      bytes -= growth;
    }
    acked += bytes;
    if (acked >= state.cwnd) {  // RFC 5681 3.1: one segment per round trip
      acked -= state.cwnd;
      state.cwnd += state.mss;
    }
  }
};

}  // namespace snp::tcp
