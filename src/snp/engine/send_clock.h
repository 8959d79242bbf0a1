// What TCP_INFO tells of a sender's time: how long it had something to send, and how much of that
// the peer's window or the size of the send buffer held it up (Linux: tcp_chrono_start()). Told
// when the connection publishes, thus at its last event.
#pragma once

#include <array>
#include <cstdint>

#include "snp/base/time.h"

namespace snp::engine {

class SendClock {
 public:
  enum class Held : std::uint8_t { kIdle, kBusy, kWindow, kBuffer };

  void begin(Instant now) noexcept {
    past_ = {};
    since_ = now;
    held_ = Held::kIdle;
  }
  // From `now` on it is so.
  void note(Held held, Instant now) noexcept {
    if (held == held_) [[likely]]
      return;
    past_[static_cast<std::size_t>(held_)] += now - since_;
    since_ = now;
    held_ = held;
  }

  struct Times {
    std::uint64_t busy_us = 0, window_us = 0, buffer_us = 0;  // busy: the others among it
  };
  [[nodiscard]] Times times(Instant now) const noexcept {
    const auto us = [&](Held held) {
      const Duration running = held == held_ ? now - since_ : Duration(0);
      return static_cast<std::uint64_t>((past_[static_cast<std::size_t>(held)] + running) /
                                        microseconds(1));
    };
    const std::uint64_t window = us(Held::kWindow);
    const std::uint64_t buffer = us(Held::kBuffer);
    return {us(Held::kBusy) + window + buffer, window, buffer};
  }

 private:
  std::array<Duration, 4> past_{};
  Instant since_{};
  Held held_ = Held::kIdle;
};

}  // namespace snp::engine
