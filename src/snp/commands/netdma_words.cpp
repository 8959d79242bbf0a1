#include "snp/commands/netdma_words.h"

#include <fmt/format.h>

#include "snp/commands/table.h"

namespace snp::commands {
namespace {

bool is_usable(const NetdmaReport& report) {
  return report.is_enabled && report.fault.empty() && !report.engine.empty();
}

// The class lies below the setting, all of it.
bool is_small(const NetdmaReport& report, std::size_t size_class) {
  return size_class + 1 < stats::kSizeClasses &&
         stats::size_class_floor(size_class + 1) <= report.min_bytes;
}

bool is_worth(const NetdmaReport& report, std::size_t size_class) {
  return report.is_break_even_ignored ||
         report.calibration.classes[size_class] == netdma::Worth::kYes;
}

// From the smallest size that the engine copies.
std::string first_size(const NetdmaReport& report) {
  for (std::size_t i = 0; i < stats::kSizeClasses; ++i)
    if (has_engine(report, i))
      return human_bytes(std::max(stats::size_class_floor(i), report.min_bytes));
  return "";
}

// A class that the CPU copies, above one that the engine copies.
bool has_gap(const NetdmaReport& report) {
  bool is_above = false;
  for (std::size_t i = 0; i < stats::kSizeClasses; ++i) {
    if (is_above && !has_engine(report, i)) return true;
    is_above = is_above || has_engine(report, i);
  }
  return false;
}

}  // namespace

std::string_view path_of(stats::CopyOutcome outcome) noexcept {
  return outcome == stats::CopyOutcome::kEngine ? "engine" : "cpu";
}

bool has_engine(const NetdmaReport& report, std::size_t size_class) {
  return is_usable(report) && !is_small(report, size_class) && is_worth(report, size_class);
}

std::string why_of(const NetdmaReport& report, std::size_t size_class) {
  if (!is_usable(report)) return state_of(report);
  if (is_small(report, size_class))
    return fmt::format("less than netdma_min_bytes, {}", report.min_bytes);
  std::string why = netdma::explain(report.calibration, size_class);
  if (report.is_break_even_ignored && !why.starts_with("the engine"))
    why = "netdma_break_even is ignored, else " + why;
  return why;
}

std::string state_of(const NetdmaReport& report) {
  if (!report.is_enabled) return "off: netdma is disabled";
  if (!report.fault.empty()) return "the CPU copies: " + report.fault;
  if (report.engine.empty())
    return "the CPU copies: no copy engine, netdma_backend is " + report.backend;
  if (report.channels != 0 && report.quarantined == report.channels)
    return "the CPU copies: the engine failed and is in quarantine";
  const std::string from = first_size(report);
  if (from == "0") return "the engine copies all sizes";
  if (!from.empty())
    return "the engine copies, from " + from + " on" + (has_gap(report) ? ", not all sizes" : "");
  // The largest is where an engine would gain first.
  return "bypassed: " + why_of(report, stats::kSizeClasses - 1);
}

}  // namespace snp::commands
