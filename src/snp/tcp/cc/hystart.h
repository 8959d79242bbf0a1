// HyStart++ (RFC 9406): leaves slow start when round-trip times begin to grow, before the queue
// overflows. One departure, Linux's: growth is measured against the least round-trip time seen, not
// against the last round, which on a fast path has half of the growth in it already.
#pragma once

#include <algorithm>
#include <cstdint>

#include "snp/tcp/cc/congestion_control.h"

namespace snp::tcp {

class HyStart {
 public:
  // Grows the window by what slow start allows now; returns the acknowledged bytes that are left
  // for congestion avoidance. Pre: state.is_slow_start().
  std::uint32_t grow(CongestionState& state, const Acked& acked) noexcept {
    measure(acked);
    std::uint32_t growth = acked.bytes;
    if (is_conservative_) {
      growth /= kGrowthDivisor;
      if (acked.round_ended && ++rounds_ >= kConservativeRounds) state.ssthresh = state.cwnd;
    }
    if (acked.round_ended) begin_round();
    if (!state.is_slow_start()) return acked.bytes;
    growth = std::min(growth, state.ssthresh - state.cwnd);
    state.cwnd += growth;
    return state.is_slow_start() ? 0 : acked.bytes - growth;
  }

  void restart() noexcept { *this = HyStart(); }

 private:
  // RFC 9406 4.3.
  static constexpr std::uint32_t kMinThresholdUs = 4000;
  static constexpr std::uint32_t kMaxThresholdUs = 16000;
  static constexpr std::uint32_t kThresholdDivisor = 8;
  static constexpr std::uint32_t kSamples = 8;
  static constexpr std::uint32_t kGrowthDivisor = 4;
  static constexpr std::uint32_t kConservativeRounds = 5;
  static constexpr std::uint32_t kNone = 0xffffffff;

  // RFC 9406 4.2.
  void measure(const Acked& acked) noexcept {
    if (acked.rtt_us == 0) return;
    current_min_us_ = std::min(current_min_us_, acked.rtt_us);
    if (++samples_ < kSamples) return;
    if (is_conservative_) {
      if (current_min_us_ < baseline_us_) is_conservative_ = false;  // it was noise
      return;
    }
    const std::uint32_t threshold =
        std::clamp(acked.min_rtt_us / kThresholdDivisor, kMinThresholdUs, kMaxThresholdUs);
    if (current_min_us_ < acked.min_rtt_us + threshold) return;
    is_conservative_ = true;
    baseline_us_ = current_min_us_;
    rounds_ = 0;
  }

  void begin_round() noexcept {
    current_min_us_ = kNone;
    samples_ = 0;
  }

  std::uint32_t current_min_us_ = kNone;
  std::uint32_t baseline_us_ = kNone;  // least of the round in which growth was seen
  std::uint16_t samples_ = 0;
  std::uint8_t rounds_ = 0;
  bool is_conservative_ = false;
};

}  // namespace snp::tcp
