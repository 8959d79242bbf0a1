// The timers of one connection: a small table of deadlines, the earliest is cached.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "snp/base/time.h"

namespace snp::tcp {

enum class Timer : std::uint8_t {
  kRetransmission,  // RTO (RFC 6298), loss probe (RFC 8985 7) or persist (RFC 9293 3.8.6.1)
  kReordering,      // RFC 8985 6.2 step 5
  kDelayedAck,      // RFC 9293 3.8.6.3
  kKeepalive,       // RFC 9293 3.8.4
  kEnd,             // FIN_WAIT_2 and TIME_WAIT
  kPacing,          // the next burst may leave
};

class TimerTable {
 public:
  void set(Timer timer, Instant when) noexcept {
    Instant& slot = deadlines_[static_cast<std::size_t>(timer)];
    const Instant before = slot;
    slot = when;
    if (when <= next_)
      next_ = when;
    else if (before == next_)
      next_ = *std::min_element(deadlines_.begin(), deadlines_.end());
  }
  void stop(Timer timer) noexcept {
    if (is_running(timer)) set(timer, kNever);
  }
  void stop_all() noexcept {
    deadlines_.fill(kNever);
    next_ = kNever;
  }
  [[nodiscard]] bool is_running(Timer timer) const noexcept { return at(timer) != kNever; }
  [[nodiscard]] bool has_expired(Timer timer, Instant now) const noexcept {
    return at(timer) <= now;
  }
  [[nodiscard]] Instant at(Timer timer) const noexcept {
    return deadlines_[static_cast<std::size_t>(timer)];
  }
  [[nodiscard]] Instant next() const noexcept { return next_; }

 private:
  Instant next_ = kNever;
  std::array<Instant, 6> deadlines_{kNever, kNever, kNever, kNever, kNever, kNever};
};

// As a timer travels: what is left of it in ms, -1 when it is not running (reference 4.3).
constexpr std::int32_t remaining_ms(Instant deadline, Instant now) noexcept {
  if (deadline == kNever) return -1;
  if (deadline <= now) return 0;
  return static_cast<std::int32_t>(
      std::min<std::int64_t>((deadline - now) / milliseconds(1), 0x7fffffff));
}

}  // namespace snp::tcp
