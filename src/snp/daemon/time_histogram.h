// How long something took, so and so often: a log-linear histogram of microseconds, eight buckets
// an octave, so a quantile is off by at most an eighth.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace snp::daemon {

class TimeHistogram {
 public:
  void add(std::uint32_t us) noexcept {
    ++counts_[bucket_of(us)];
    ++total_;
    max_us_ = std::max(max_us_, us);
  }
  // The upper end of the bucket that holds the quantile; 0 when nothing was added.
  [[nodiscard]] std::uint32_t quantile_us(double q) const noexcept {
    if (total_ == 0) return 0;
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(total_ - 1));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > rank) return std::min(upper_end_of(i), max_us_);
    }
    return max_us_;
  }
  [[nodiscard]] std::uint32_t max_us() const noexcept { return max_us_; }
  [[nodiscard]] std::uint64_t total() const noexcept { return total_; }

 private:
  static constexpr std::uint32_t kSubBits = 3;
  static constexpr std::size_t bucket_of(std::uint32_t us) noexcept {
    if (us < 1u << kSubBits) return us;
    const auto exponent = static_cast<std::uint32_t>(std::bit_width(us)) - 1 - kSubBits;
    return ((exponent + 1) << kSubBits) + ((us >> exponent) & ((1u << kSubBits) - 1));
  }
  static constexpr std::uint32_t upper_end_of(std::size_t bucket) noexcept {
    if (bucket < 1u << kSubBits) return static_cast<std::uint32_t>(bucket);
    const auto exponent = (bucket >> kSubBits) - 1;
    const std::uint64_t mantissa = (1u << kSubBits) + (bucket & ((1u << kSubBits) - 1));
    return static_cast<std::uint32_t>(((mantissa + 1) << exponent) - 1);
  }

  std::array<std::uint64_t, (32 - kSubBits + 1) << kSubBits> counts_{};
  std::uint64_t total_ = 0;
  std::uint32_t max_us_ = 0;
};

}  // namespace snp::daemon
