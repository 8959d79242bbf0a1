// Round-trip time and retransmission timeout (RFC 6298), in microseconds.
#pragma once

#include <cstdint>

#include "snp/base/time.h"

namespace snp::tcp {

class RttEstimator {
 public:
  // Linux's bounds; RFC 6298 2.4 says 1 s, which no one follows.
  static constexpr std::uint32_t kMinRtoUs = 200'000;
  static constexpr std::uint32_t kMaxRtoUs = 120'000'000;
  static constexpr std::uint32_t kInitialRtoUs = 1'000'000;  // RFC 6298 2.1

  // What an earlier owner of the connection knew; 0: nothing.
  struct Known {
    std::uint32_t srtt_us = 0, rttvar_us = 0, min_rtt_us = 0;
    std::uint32_t rto_us = 0;  // counts only without a sample, and then at most kInitialRtoUs
  };

  RttEstimator() = default;
  explicit RttEstimator(const Known& known) noexcept;

  // `now_us` is modulo 2^32.
  void on_sample(std::uint32_t rtt_us, std::uint32_t now_us) noexcept;
  // RFC 6298 5.5: the timeout doubles with each expiry.
  [[nodiscard]] Duration rto(std::uint32_t backoff) const noexcept;
  [[nodiscard]] std::uint32_t srtt_us() const noexcept { return srtt_us_; }
  [[nodiscard]] std::uint32_t rttvar_us() const noexcept { return rttvar_us_; }
  [[nodiscard]] std::uint32_t rto_us() const noexcept { return rto_us_; }
  // The least of late, so that a path that has become longer is believed (RFC 8985 6.2 step 1).
  [[nodiscard]] std::uint32_t min_rtt_us() const noexcept { return min_rtt_us_; }

 private:
  // Of Linux's tcp_min_rtt_wlen, 300 s: the least of the half before and of the present one.
  static constexpr std::uint32_t kHalfWindowUs = 150'000'000;

  void update_rto() noexcept;
  void update_min(std::uint32_t rtt_us, std::uint32_t now_us) noexcept;

  std::uint32_t srtt_us_ = 0;
  std::uint32_t rttvar_us_ = 0;
  std::uint32_t rto_us_ = kInitialRtoUs;
  std::uint32_t min_rtt_us_ = 0;   // 0: nothing yet
  std::uint32_t half_min_us_ = 0;  // of the present half window; 0: it has not begun
  std::uint32_t half_since_us_ = 0;
};

}  // namespace snp::tcp
