// How long a shard polls in vain before it sleeps. Spinning pays when the next piece of work comes
// within the time it takes to be woken; whether it does is learned from the idle periods. Pure.
#pragma once

#include <cstdint>

#include "snp/base/time.h"

namespace snp::engine {

class SpinPolicy {
 public:
  explicit SpinPolicy(Duration longest) noexcept : longest_(longest) {}

  // An idle period ended with work after `length`.
  void on_idle_end(Duration length) noexcept {
    // A sleeper wakes late, so a short sleep would have been a still shorter spin.
    const bool would_pay = length <= 2 * longest_;
    rate_ += (would_pay ? kOne - rate_ : -rate_) / 8;
  }

  // Longest spin now. `is_cpu_wanted`: who is to go on waits for this very CPU.
  [[nodiscard]] Duration budget(bool is_cpu_wanted) const noexcept {
    return is_cpu_wanted || rate_ < kOne / 4 ? Duration(0) : longest_;
  }

 private:
  static constexpr std::int32_t kOne = 1 << 16;
  Duration longest_;
  std::int32_t rate_ = kOne / 2;  // of idle periods in which it paid, moving average
};

}  // namespace snp::engine
