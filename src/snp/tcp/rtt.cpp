#include "snp/tcp/rtt.h"

#include <algorithm>

namespace snp::tcp {

// Without a sample Linux starts with 3 s and keeps each doubling in the timeout that it tells; our
// own backoff comes on top of what is taken here.
RttEstimator::RttEstimator(const Known& known) noexcept
    : srtt_us_(std::min(known.srtt_us, kMaxRtoUs)),
      rttvar_us_(std::min(known.rttvar_us, kMaxRtoUs)),
      min_rtt_us_(known.min_rtt_us == 0 ? srtt_us_ : std::min(known.min_rtt_us, kMaxRtoUs)) {
  if (srtt_us_ != 0)
    update_rto();
  else if (known.rto_us != 0)
    rto_us_ = std::clamp(known.rto_us, kMinRtoUs, kInitialRtoUs);
}

// RFC 6298 2.2, 2.3.
void RttEstimator::on_sample(std::uint32_t rtt_us, std::uint32_t now_us) noexcept {
  rtt_us = std::clamp(rtt_us, 1u, kMaxRtoUs);
  update_min(rtt_us, now_us);
  if (srtt_us_ == 0) {
    srtt_us_ = rtt_us;
    rttvar_us_ = rtt_us / 2;
  } else {
    const std::uint32_t error = rtt_us > srtt_us_ ? rtt_us - srtt_us_ : srtt_us_ - rtt_us;
    rttvar_us_ = rttvar_us_ - rttvar_us_ / 4 + error / 4;
    srtt_us_ = srtt_us_ - srtt_us_ / 8 + rtt_us / 8;
    srtt_us_ = std::max(srtt_us_, 1u);
  }
  update_rto();
}

void RttEstimator::update_min(std::uint32_t rtt_us, std::uint32_t now_us) noexcept {
  if (half_min_us_ == 0 || now_us - half_since_us_ > kHalfWindowUs) {
    if (half_min_us_ != 0) min_rtt_us_ = half_min_us_;
    half_min_us_ = rtt_us;
    half_since_us_ = now_us;
  }
  half_min_us_ = std::min(half_min_us_, rtt_us);
  min_rtt_us_ = min_rtt_us_ == 0 ? rtt_us : std::min(min_rtt_us_, rtt_us);
}

// As Linux: the floor is under the variance term, so that a peer's delayed ACK on a long path does
// not look like a loss.
void RttEstimator::update_rto() noexcept {
  rto_us_ = std::min(srtt_us_ + std::max(4 * rttvar_us_, kMinRtoUs), kMaxRtoUs);
}

Duration RttEstimator::rto(std::uint32_t backoff) const noexcept {
  const std::uint64_t us = static_cast<std::uint64_t>(rto_us_) << std::min(backoff, 16u);
  return microseconds(std::min<std::uint64_t>(us, kMaxRtoUs));
}

}  // namespace snp::tcp
