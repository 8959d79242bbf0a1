// Congestion control (RFC 5681): one object inside the connection, without allocation; the
// algorithms are tables of functions, chosen by name. One file each: cubic.cpp, newreno.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>

#include "snp/base/time.h"

namespace snp::tcp {

// What an ACK told.
struct Acked {
  std::uint32_t bytes = 0;       // newly acknowledged
  std::uint32_t rtt_us = 0;      // 0: no sample
  std::uint32_t min_rtt_us = 0;  // least seen on the connection; 0: none
  bool round_ended = false;      // everything sent when the last round ended is acknowledged
  bool is_cwnd_limited = true;   // RFC 7661: no growth without use
};

struct CongestionState {
  std::uint32_t mss = 536;
  std::uint32_t cwnd = 0;
  std::uint32_t ssthresh = 0xffffffff;
  alignas(8) std::array<std::byte, 64> scratch{};  // the algorithm's own

  // Pre: the algorithm's start() called make<T>().
  template <class T>
  [[nodiscard]] T& own() noexcept {
    return *std::launder(reinterpret_cast<T*>(scratch.data()));
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
  void (*start)(CongestionState&) noexcept;
  void (*on_acked)(CongestionState&, const Acked&, Instant) noexcept;
  // A loss or an ECN mark: sets ssthresh; the caller brings cwnd down to it. Once per window.
  void (*on_congestion)(CongestionState&, std::uint32_t in_flight, Instant) noexcept;
  // The application was silent for so long that the window lost its meaning (RFC 5681 4.1).
  void (*on_idle)(CongestionState&) noexcept;
};

std::span<const CongestionAlgorithm* const> congestion_algorithms() noexcept;
// Names that we do not have give the default, cubic.
const CongestionAlgorithm& find_congestion_algorithm(std::string_view name) noexcept;

}  // namespace snp::tcp
