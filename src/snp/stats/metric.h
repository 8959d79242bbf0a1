// What is counted: one row per metric in a .def file gives the enumerator, the name for scripts,
// the unit, the kind and the sentence that manual, dashboard and Prometheus text show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace snp::stats {

enum class Kind : std::uint8_t {
  kCounter,  // only grows
  kGauge,    // is what it is now
};

enum class Unit : std::uint8_t { kSegments, kFrames, kBytes, kConnections, kEvents, kNanoseconds };

struct MetricInfo {
  std::string_view name;
  Unit unit = Unit::kEvents;
  Kind kind = Kind::kCounter;
  std::string_view sentence;
};

std::string_view to_string(Unit) noexcept;
std::string_view to_string(Kind) noexcept;

// Counted by shards, on the packet path.
enum class EngineMetric : std::uint16_t {
#define SNP_METRIC(symbol, name, unit, kind, sentence) symbol,
#include "snp/stats/engine_metrics.def"
#undef SNP_METRIC
  kCount,
};

// Counted for each device and address family, on the packet path and when a flow ends.
enum class PathMetric : std::uint16_t {
#define SNP_METRIC(symbol, name, unit, kind, sentence) symbol,
#include "snp/stats/path_metrics.def"
#undef SNP_METRIC
  kCount,
};

// Index: the metric.
std::span<const MetricInfo> metrics_of(EngineMetric) noexcept;
std::span<const MetricInfo> metrics_of(PathMetric) noexcept;

}  // namespace snp::stats
