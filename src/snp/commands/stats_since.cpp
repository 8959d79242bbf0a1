#include "snp/commands/stats_since.h"

#include <algorithm>
#include <string>

#include "snp/stats/ledger.h"
#include "snp/stats/metric.h"

namespace snp::commands {
namespace {

bool is_gauge_of(std::span<const stats::MetricInfo> table, std::string_view name) {
  return std::ranges::any_of(table, [&](const stats::MetricInfo& metric) {
    return metric.name == name && metric.kind == stats::Kind::kGauge;
  });
}

// Not counted, but so now.
bool is_gauge(std::string_view name) {
  if (name == "connections" || name == "ifindex" || name == "keeper_pid") return true;
  const auto table = stats::all_mib_counters();
  return std::ranges::any_of(table,
                             [&](const stats::MibInfo& counter) {
                               return counter.name == name && counter.kind == stats::Kind::kGauge;
                             }) ||
         is_gauge_of(stats::metrics_of(stats::PathMetric{}), name) ||
         is_gauge_of(stats::metrics_of(stats::EngineMetric{}), name);
}

Json difference(const Json& before, const Json& now);

// A device may have come or gone.
const Json& named_like(const Json& rows, const Json& row) {
  static const Json kNothing;
  if (!rows.is_array()) return kNothing;
  const auto found = std::ranges::find_if(rows, [&](const Json& other) {
    return other.is_object() && row.contains("name") && other.value("name", Json()) == row["name"];
  });
  return found == rows.end() ? kNothing : *found;
}

Json difference_of_members(const Json& before, const Json& now) {
  static const Json kNothing;
  Json risen = Json::object();
  for (const auto& [name, value] : now.items()) {
    const bool was_there = before.is_object() && before.contains(name);
    if (is_gauge(name))
      risen[name] = value;
    else if (name.ends_with("_us"))
      risen[name] = nullptr;
    else
      risen[name] = difference(was_there ? before[name] : kNothing, value);
  }
  return risen;
}

// What was not there before stood at 0. The host's part is a difference of figures that are read
// one after the other, and may be a little lower than it was.
Json difference(const Json& before, const Json& now) {
  if (now.is_object()) return difference_of_members(before, now);
  if (now.is_array()) {
    Json rows = Json::array();
    for (const Json& row : now)
      rows.push_back(difference(named_like(before, row), row));
    return rows;
  }
  if (!now.is_number_unsigned()) return now;
  const auto value = now.get<std::uint64_t>();
  const auto old = before.is_number_unsigned() ? before.get<std::uint64_t>() : 0;
  return value > old ? value - old : 0;
}

}  // namespace

Result<Json> risen_since(const Json& before, const Json& now) {
  if (!before.is_object() || !before.contains("ledger") || !before.contains("keeper_pid"))
    return fail(Errc::kInvalid, "it is no answer of 'snp stats --json'");
  if (before["keeper_pid"] != now.at("keeper_pid"))
    return fail(Errc::kInvalid, "it is of another snpd, whose counters ended with it");
  return difference(before, now);
}

}  // namespace snp::commands
