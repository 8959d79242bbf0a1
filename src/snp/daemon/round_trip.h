// What was measured of a connection's round trip, kept across hand-overs: a socket that was
// refilled and moves again before an answer came knows nothing, and would start with the initial
// timeout.
#pragma once

#include <cstdint>

#include "snp/state/connection_state.h"

namespace snp::daemon {

class RoundTrip {
 public:
  // From the owner that gives the connection away.
  void learn(const DelegatedState& from) noexcept {
    if (from.srtt_us == 0) return;
    srtt_us_ = from.srtt_us;
    rttvar_us_ = from.rttvar_us;
    min_rtt_us_ = from.min_rtt_us;
  }

  // For the owner that takes it, when the one before knew nothing.
  void tell(DelegatedState& to) const noexcept {
    if (to.srtt_us != 0 || srtt_us_ == 0) return;
    to.srtt_us = srtt_us_;
    to.rttvar_us = rttvar_us_;
    to.min_rtt_us = min_rtt_us_;
  }

  [[nodiscard]] std::uint32_t srtt_us() const noexcept { return srtt_us_; }

 private:
  std::uint32_t srtt_us_ = 0;  // 0: never measured
  std::uint32_t rttvar_us_ = 0;
  std::uint32_t min_rtt_us_ = 0;
};

}  // namespace snp::daemon
