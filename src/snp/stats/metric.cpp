#include "snp/stats/metric.h"

namespace snp::stats {
namespace {

#define SNP_METRIC(symbol, name, unit, kind, sentence) {name, Unit::unit, Kind::kind, sentence},
constexpr MetricInfo kEngineMetrics[] = {
#include "snp/stats/engine_metrics.def"
};
constexpr MetricInfo kPathMetrics[] = {
#include "snp/stats/path_metrics.def"
};
#undef SNP_METRIC

}  // namespace

std::string_view to_string(Unit unit) noexcept {
  switch (unit) {
    case Unit::kSegments:
      return "segments";
    case Unit::kFrames:
      return "frames";
    case Unit::kBytes:
      return "bytes";
    case Unit::kConnections:
      return "connections";
    case Unit::kEvents:
      return "events";
    case Unit::kNanoseconds:
      return "nanoseconds";
  }
  return "?";
}

std::string_view to_string(Kind kind) noexcept {
  return kind == Kind::kCounter ? "counter" : "gauge";
}

std::span<const MetricInfo> metrics_of(EngineMetric) noexcept {
  return kEngineMetrics;
}

std::span<const MetricInfo> metrics_of(PathMetric) noexcept {
  return kPathMetrics;
}

}  // namespace snp::stats
