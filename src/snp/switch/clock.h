// CLOCK_MONOTONIC for deadlines and spins.
#pragma once

#include <ctime>

#include "snp/base/time.h"

namespace snp::switch_ {

inline Instant now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return Instant(seconds(ts.tv_sec) + Duration(ts.tv_nsec));
}

// A few milliseconds old at most, and cheaper.
inline Instant coarse_now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return Instant(seconds(ts.tv_sec) + Duration(ts.tv_nsec));
}

inline timespec to_timespec(Duration d) noexcept {
  if (d < Duration::zero()) d = Duration::zero();
  const auto whole = std::chrono::duration_cast<seconds>(d);
  return {whole.count(), (d - whole).count()};
}

// Far enough to mean "no limit" and safe to add to.
inline constexpr Duration kForever = std::chrono::hours(24 * 365 * 50);

}  // namespace snp::switch_
