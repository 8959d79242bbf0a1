// What a hand-over costs and what a target saves, both measured while snpd runs, in microseconds.
// Pure; plain data, so that it may stand in memory that outlives an engine. One thread.
//
// A hand-over costs the time that the connection is quiet and the CPU that it takes. A target saves
// some CPU with each message and each KiB, and the part of the round trip that is the host's. A
// connection is worth a hand-over when what it has carried already would have paid for one: then,
// whatever comes, the wrong choice costs at most twice what the right one would have.
#pragma once

#include <array>
#include <cstdint>

namespace snp::chimney {

enum class TargetKind : std::uint8_t { kEngine, kLocal };

// A message is a call of the program that moved bytes, in either direction.
struct Carried {
  std::uint64_t messages = 0, bytes = 0;
};

class Economics {
 public:
  // Of a hand-over that was done.
  void paid(TargetKind kind, std::uint32_t quiet_us, std::uint32_t cpu_us) noexcept;
  // A connection's smoothed round trips, measured on the host and then on the target. 0: unknown.
  void compared(TargetKind kind, std::uint32_t host_us, std::uint32_t target_us) noexcept;

  [[nodiscard]] std::uint64_t cost_us(TargetKind kind) const noexcept;
  // `rtt_us`: of this connection, 0 when it is not known. A wait that is saved counts whole up to
  // 100 us, and the less the longer the round trip is anyhow.
  [[nodiscard]] std::uint64_t gain_us(TargetKind kind, Carried carried,
                                      std::uint32_t rtt_us) const noexcept;
  [[nodiscard]] bool pays(TargetKind kind, Carried carried, std::uint32_t rtt_us) const noexcept {
    return gain_us(kind, carried, rtt_us) >= cost_us(kind);
  }
  [[nodiscard]] std::uint64_t gain_per_message_ns(TargetKind kind,
                                                  std::uint32_t rtt_us) const noexcept;
  [[nodiscard]] std::uint64_t gain_per_kib_ns(TargetKind kind) const noexcept;
  [[nodiscard]] std::uint64_t hand_overs(TargetKind kind) const noexcept {
    return of(kind).hand_overs;
  }

  // What an engine that died in the middle of a store may have left: everything within bounds.
  void tidy() noexcept;

 private:
  struct PerTarget {
    std::int64_t cost_ns = 0;        // smoothed
    std::int64_t saved_wait_ns = 0;  // of a message, smoothed; may be negative
    std::uint64_t hand_overs = 0;
  };
  [[nodiscard]] const PerTarget& of(TargetKind kind) const noexcept {
    return targets_[static_cast<std::size_t>(kind)];
  }
  // What is assumed until it is measured: with 128 messages, or 256 KiB, an offload to the engine
  // pays (the defaults of automatic_calls and automatic_bytes).
  std::array<PerTarget, 2> targets_{{{256'000, 1'000, 0}, {256'000, 3'000, 0}}};
};

}  // namespace snp::chimney
