#include "snp/stats/netdma_stats.h"

namespace snp::stats {
namespace {

#define SNP_METRIC(symbol, name, unit, kind, sentence) {name, Unit::unit, Kind::kind, sentence},
constexpr MetricInfo kMetrics[] = {
#include "snp/stats/netdma_metrics.def"
};

#define SNP_OUTCOME(symbol, name, sentence) {name, sentence},
constexpr OutcomeInfo kOutcomes[] = {
#include "snp/stats/netdma_outcomes.def"
};

}  // namespace

std::span<const MetricInfo> metrics_of(NetdmaMetric) noexcept {
  return kMetrics;
}

std::span<const OutcomeInfo> copy_outcomes() noexcept {
  return kOutcomes;
}

void NetdmaSnapshot::merge(const NetdmaSnapshot& other) noexcept {
  metrics.merge(other.metrics);
  for (std::size_t outcome = 0; outcome < kCopyOutcomes; ++outcome) {
    for (std::size_t size = 0; size < kSizeClasses; ++size) {
      copies[outcome][size].copies += other.copies[outcome][size].copies;
      copies[outcome][size].bytes += other.copies[outcome][size].bytes;
    }
  }
  for (std::size_t i = 0; i < kLatencyBuckets; ++i)
    latency[i] += other.latency[i];
}

CopyCount NetdmaSnapshot::of(CopyOutcome outcome) const noexcept {
  CopyCount sum;
  for (const CopyCount& count : copies[static_cast<std::size_t>(outcome)]) {
    sum.copies += count.copies;
    sum.bytes += count.bytes;
  }
  return sum;
}

NetdmaSnapshot NetdmaStats::snapshot() const noexcept {
  NetdmaSnapshot out;
  out.metrics = metrics_.snapshot();
  for (std::size_t outcome = 0; outcome < kCopyOutcomes; ++outcome) {
    for (std::size_t size = 0; size < kSizeClasses; ++size) {
      const Count& count = copies_[outcome][size];
      out.copies[outcome][size] = {count.copies.load(std::memory_order_relaxed),
                                   count.bytes.load(std::memory_order_relaxed)};
    }
  }
  for (std::size_t i = 0; i < kLatencyBuckets; ++i)
    out.latency[i] = latency_[i].load(std::memory_order_relaxed);
  return out;
}

}  // namespace snp::stats
