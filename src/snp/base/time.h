// Time as an argument. Pure folders take an Instant; only shards and the daemon read a clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace snp {

using Duration = std::chrono::nanoseconds;

// CLOCK_MONOTONIC, without a now(): see engine/clock.h for the one that reads it.
struct MonotonicTimeline {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTimeline, Duration>;
  // NOLINTNEXTLINE(readability-identifier-naming): the standard's name
  static constexpr bool is_steady = true;
};

using Instant = MonotonicTimeline::time_point;

inline constexpr Instant kNever = Instant::max();

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Milliseconds since the timeline's start, as TCP timestamps count (RFC 7323 5.4: 1 ms per tick).
constexpr std::uint32_t to_ms_ticks(Instant t) noexcept {
  return static_cast<std::uint32_t>(t.time_since_epoch() / milliseconds(1));
}

}  // namespace snp
