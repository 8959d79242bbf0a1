// Congestion control (RFC 5681): one object inside the connection, without allocation; the
// algorithms are tables of functions, chosen by name. One file each: cubic.cpp, newreno.cpp,
// dctcp.cpp, bbr.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>

#include "snp/base/time.h"
#include "snp/state/connection_state.h"
#include "snp/tcp/delivery_rate.h"

namespace snp::tcp {

// A paced burst is that long: the clock that ends the pause after it is no finer. A path whose
// round trip is not a few times longer is left to the window: its ACKs are the better clock there,
// one that a late timer cannot stop.
inline constexpr std::uint32_t kPacedBurstUs = 1000;
inline constexpr std::uint32_t kLeastPacedRttUs = 4 * kPacedBurstUs;
inline constexpr Duration kPacingBurst = microseconds(kPacedBurstUs);
inline constexpr Duration kLongestPause = seconds(60);

// What an ACK told.
struct Acked {
  std::uint32_t bytes = 0;         // newly acknowledged or SACKed
  std::uint32_t marked_bytes = 0;  // of those, by an ACK with ECE
  std::uint32_t rtt_us = 0;        // 0: no sample
  std::uint32_t min_rtt_us = 0;    // least seen on the connection; 0: none
  std::uint32_t lost_bytes = 0;    // newly found lost
  std::uint32_t in_flight = 0;     // after this ACK
  std::uint32_t delivered = 0;     // ever, modulo 2^32
  RateSample rate{};
  bool round_ended = false;        // everything sent when the last round ended is acknowledged
  bool may_grow = true;            // the window is in use (RFC 7661) and no recovery brings it down
  bool is_window_limited = false;  // in this round the window kept something from being sent
  bool is_recovering = false;      // something lost is being repaired
};

enum class Congestion : std::uint8_t { kLoss, kMark, kTimeout };

struct CongestionState {
  std::uint32_t mss = 536;
  std::uint32_t cwnd = 0;
  std::uint32_t ssthresh = 0xffffffff;
  std::uint64_t pacing_rate = 0;                    // bytes per second; 0: not paced
  alignas(8) std::array<std::byte, 192> scratch{};  // the algorithm's own

  // Pre: the algorithm's start() called make<T>().
  template <class T>
  [[nodiscard]] T& own() noexcept {
    return *std::launder(reinterpret_cast<T*>(scratch.data()));
  }
  template <class T>
  [[nodiscard]] const T& own() const noexcept {
    return *std::launder(reinterpret_cast<const T*>(scratch.data()));
  }
  template <class T>
  void make() noexcept {
    static_assert(sizeof(T) <= sizeof(scratch) && std::is_trivially_copyable_v<T>);
    new (scratch.data()) T{};
  }
  [[nodiscard]] bool is_slow_start() const noexcept { return cwnd < ssthresh; }
};

struct CongestionAlgorithm {
  std::string_view name;
  // Its model sets the window: losses are repaired, but do not bring it down (RFC 6937 does not
  // apply, ssthresh has no meaning).
  bool owns_window = false;
  // Both ends tell each CE mark as it comes (RFC 8257 3.2) instead of once in a window (RFC 3168).
  bool echoes_each_mark = false;
  // Starts, or starts afresh, with the window that is there and what is known of the path.
  void (*start)(CongestionState&, std::uint32_t srtt_us, const PathModel&, Instant) noexcept;
  void (*on_acked)(CongestionState&, const Acked&, Instant) noexcept;
  // Sets ssthresh; the caller brings cwnd down to it (owns_window: sets cwnd). Once per window.
  void (*on_congestion)(CongestionState&, Congestion, std::uint32_t in_flight, Instant) noexcept;
  // The application was silent for so long that the window lost its meaning (RFC 5681 4.1).
  void (*on_idle)(CongestionState&) noexcept;
  // Nothing had been lost since `before`; the caller has given the window back. nullptr: all that
  // is the algorithm's own is put back as it was.
  void (*on_undo)(CongestionState&, const CongestionState& before) noexcept = nullptr;
  // What start() of the next owner gets (reference 4.3). nullptr: the window says it all.
  PathModel (*model)(const CongestionState&, Instant) noexcept = nullptr;
};

std::span<const CongestionAlgorithm* const> congestion_algorithms() noexcept;
// nullptr: we do not have it.
const CongestionAlgorithm* find_congestion_algorithm(std::string_view name) noexcept;
// Names that we do not have give the default, cubic.
const CongestionAlgorithm& congestion_algorithm_or_default(std::string_view name) noexcept;

}  // namespace snp::tcp
