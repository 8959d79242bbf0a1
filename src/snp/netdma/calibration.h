// What handing a copy to an engine gains on this machine: the judgement on figures that measure.h
// and engine/copy_trial.h take. Pure: the same figures give the same answer. Times are nanoseconds
// for one copy.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>

#include "snp/stats/netdma_stats.h"

namespace snp::netdma {

// At least one in each size class of the statistics; 1500 and 9000 are what packets are.
inline constexpr std::array<std::uint32_t, 9> kCalibrationSizes = {64,   256,   1500,  3000, 4096,
                                                                   9000, 16384, 32768, 65536};

struct SizeFigures {
  std::uint32_t bytes = 0;
  double copy_ns = 0;            // the caller copies, with plain stores
  double copy_read_ns = 0;       // and another CPU, as the application's, reads it
  double streaming_ns = 0;       // the caller copies past its caches
  double streaming_read_ns = 0;  // and the other CPU reads it
  double hand_over_ns = 0;       // the caller's part of an engine's copy: submit and reap
  double engine_ns = 0;          // an engine's copy, when the next one always waits
  double packet_ns = 0;          // the kernel's part of a packet of this size: PacketProbe
  // All that the shard does for a frame of this size, its waiting included (engine/copy_trial.h):
  double shard_cpu_ns = 0;     // when it copies itself
  double shard_engine_ns = 0;  // when the engine does
};

struct Figures {
  std::array<SizeFigures, kCalibrationSizes.size()> sizes{};
  double rested_submit_ns = 0;   // submit, when the engine had nothing to do for a while
  double rested_latency_ns = 0;  // and until the caller sees that the copy is done (4 KiB)
  bool is_asynchronous = false;
  std::string failure;  // why there are no figures; empty: there are
};

enum class Worth : std::uint8_t {
  kNotMeasured,
  kYes,
  kFailed,       // the engine did not do what it was asked during the measurement
  kSynchronous,  // it works in the caller's own time
  kDear,         // it costs the shard more than it saves
  kSlow,         // the stream would wait for the engine
};
std::string_view to_string(Worth worth) noexcept;

inline constexpr std::uint32_t kNoSize = std::numeric_limits<std::uint32_t>::max();

struct Calibration {
  Figures figures;
  std::array<Worth, stats::kSizeClasses> classes{};  // Worth::kYes: the engine may have it
  std::uint32_t min_bytes = kNoSize;  // from here on each class is worth it; kNoSize: none
  std::uint32_t streaming_from_bytes = kNoSize;  // from here on the CPU's own copies gain by it

  [[nodiscard]] bool is_worth(std::uint32_t bytes) const noexcept {
    return classes[stats::size_class_of(bytes)] == Worth::kYes;
  }
};

// A frame must cost the shard a twentieth less: what is measured in calm must hold in life.
inline constexpr double kMostOfFrame = 0.95;
// Streaming stores must gain a tenth, the reader's side included.
inline constexpr double kMostOfPlain = 0.9;

// While the engine copies one packet's payload the shard takes the next one from the kernel: an
// engine that needs longer than the CPU's copy and that, holds the stream up.
Calibration judge(const Figures& figures);

// Of a class, in one sentence with its figures: why the engine has it or not.
std::string explain(const Calibration& calibration, std::size_t size_class);

}  // namespace snp::netdma
