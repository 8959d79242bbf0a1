// What a shard's copy engine did: copies and bytes by size class and outcome, latencies, and the
// metrics of netdma_metrics.def. One writer, any thread reads.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string_view>

#include "snp/base/time.h"
#include "snp/stats/stats_block.h"

namespace snp::stats {

enum class NetdmaMetric : std::uint16_t {
#define SNP_METRIC(symbol, name, unit, kind, sentence) symbol,
#include "snp/stats/netdma_metrics.def"
  kCount,
};
std::span<const MetricInfo> metrics_of(NetdmaMetric) noexcept;

enum class CopyOutcome : std::uint8_t {
#define SNP_OUTCOME(symbol, name, sentence) symbol,
#include "snp/stats/netdma_outcomes.def"
  kCount,
};
inline constexpr std::size_t kCopyOutcomes = static_cast<std::size_t>(CopyOutcome::kCount);

struct OutcomeInfo {
  std::string_view name, sentence;
};
// Index: the outcome.
std::span<const OutcomeInfo> copy_outcomes() noexcept;

// Sizes of copies: below 1 KiB, then by powers of two, the last from 64 KiB on.
inline constexpr std::size_t kSizeClasses = 8;

constexpr std::size_t size_class_of(std::uint32_t bytes) noexcept {
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(bytes >> 10)),
                               kSizeClasses - 1);
}
// The smallest size of a class.
constexpr std::uint32_t size_class_floor(std::size_t size_class) noexcept {
  return size_class == 0 ? 0 : 512u << size_class;
}

// Latencies: index i counts those below 2^i microseconds, the last all others.
inline constexpr std::size_t kLatencyBuckets = 18;

constexpr std::size_t latency_bucket_of(Duration latency) noexcept {
  const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(latency / microseconds(1), 0));
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(us)), kLatencyBuckets - 1);
}

struct CopyCount {
  std::uint64_t copies = 0, bytes = 0;
};

struct NetdmaSnapshot {
  Snapshot<NetdmaMetric> metrics;
  std::array<std::array<CopyCount, kSizeClasses>, kCopyOutcomes> copies{};  // [outcome][size class]
  std::array<std::uint64_t, kLatencyBuckets> latency{};  // from start to completion seen

  void merge(const NetdmaSnapshot& other) noexcept;
  [[nodiscard]] CopyCount of(CopyOutcome outcome) const noexcept;  // all sizes
};

class alignas(64) NetdmaStats {
 public:
  void add(NetdmaMetric metric, std::uint64_t n = 1) noexcept { metrics_.add(metric, n); }
  void set(NetdmaMetric metric, std::uint64_t value) noexcept { metrics_.set(metric, value); }
  void add_copy(CopyOutcome outcome, std::size_t size_class) noexcept {
    bump(at(outcome, size_class).copies, 1);
  }
  void add_bytes(CopyOutcome outcome, std::size_t size_class, std::uint64_t bytes) noexcept {
    bump(at(outcome, size_class).bytes, bytes);
  }
  void add_latency(Duration latency) noexcept { bump(latency_[latency_bucket_of(latency)], 1); }
  [[nodiscard]] NetdmaSnapshot snapshot() const noexcept;

 private:
  struct Count {
    std::atomic<std::uint64_t> copies{0}, bytes{0};
  };
  static void bump(std::atomic<std::uint64_t>& slot, std::uint64_t n) noexcept {
    slot.store(slot.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  Count& at(CopyOutcome outcome, std::size_t size_class) noexcept {
    return copies_[static_cast<std::size_t>(outcome)][size_class];
  }

  Block<NetdmaMetric> metrics_;
  std::array<std::array<Count, kSizeClasses>, kCopyOutcomes> copies_{};
  std::array<std::atomic<std::uint64_t>, kLatencyBuckets> latency_{};
};

}  // namespace snp::stats
