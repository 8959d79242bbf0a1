// snp netdma: what the copy engine did, and why it does what it does.
#include <fmt/format.h>

#include "snp/commands/feature_rows.h"
#include "snp/commands/netdma_words.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

using netdma::Calibration;
using netdma::Worth;
using stats::CopyOutcome;

Json classes_of(const NetdmaReport& report) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < stats::kSizeClasses; ++i)
    rows.push_back({{"from_bytes", stats::size_class_floor(i)},
                    {"engine", has_engine(report, i)},
                    {"verdict", netdma::to_string(report.calibration.classes[i])},
                    {"why", why_of(report, i)}});
  return rows;
}

Json calibration_of(const Calibration& calibration) {
  const netdma::Figures& figures = calibration.figures;
  Json sizes = Json::array();
  for (const netdma::SizeFigures& size : figures.sizes) {
    if (size.bytes == 0) continue;
    sizes.push_back({{"bytes", size.bytes},
                     {"copy_ns", size.copy_ns},
                     {"copy_read_ns", size.copy_read_ns},
                     {"streaming_ns", size.streaming_ns},
                     {"streaming_read_ns", size.streaming_read_ns},
                     {"hand_over_ns", size.hand_over_ns},
                     {"engine_ns", size.engine_ns},
                     {"packet_ns", size.packet_ns},
                     {"shard_cpu_ns", size.shard_cpu_ns},
                     {"shard_engine_ns", size.shard_engine_ns}});
  }
  const auto size_or_null = [](std::uint32_t bytes) {
    return bytes == netdma::kNoSize ? Json(nullptr) : Json(bytes);
  };
  return Json{{"asynchronous", figures.is_asynchronous},
              {"failure", figures.failure},
              {"min_bytes", size_or_null(calibration.min_bytes)},
              {"streaming_from_bytes", size_or_null(calibration.streaming_from_bytes)},
              {"rested_submit_ns", figures.rested_submit_ns},
              {"rested_latency_ns", figures.rested_latency_ns},
              {"sizes", std::move(sizes)}};
}

// Every size and outcome that there were copies of.
Json copies_of(const stats::NetdmaSnapshot& counts) {
  Json rows = Json::array();
  for (std::size_t size = 0; size < stats::kSizeClasses; ++size)
    for (std::size_t i = 0; i < stats::kCopyOutcomes; ++i) {
      const stats::CopyCount& count = counts.copies[i][size];
      if (count.copies == 0 && count.bytes == 0) continue;
      rows.push_back({{"from_bytes", stats::size_class_floor(size)},
                      {"path", path_of(static_cast<CopyOutcome>(i))},
                      {"outcome", stats::copy_outcomes()[i].name},
                      {"copies", count.copies},
                      {"bytes", count.bytes}});
    }
  return rows;
}

// The last has no upper bound.
Json latencies_of(const stats::NetdmaSnapshot& counts) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < stats::kLatencyBuckets; ++i) {
    if (counts.latency[i] == 0) continue;
    const bool is_last = i + 1 == stats::kLatencyBuckets;
    rows.push_back({{"below_us", is_last ? Json(nullptr) : Json(std::uint64_t{1} << i)},
                    {"copies", counts.latency[i]}});
  }
  return rows;
}

Json to_json(Service& service) {
  const NetdmaReport report = service.netdma();
  Json counters = Json::object();
  report.counts.metrics.for_each([&](const stats::MetricInfo& info, std::uint64_t value) {
    counters[std::string(info.name)] = value;
  });
  return Json{{"enabled", report.is_enabled},
              {"backend", report.backend},
              {"engine", report.engine},
              {"state", state_of(report)},
              {"not_for", respected_json(service.status().features)},
              {"channels", report.channels},
              {"quarantined", report.quarantined},
              {"min_bytes", report.min_bytes},
              {"sync_below_bytes", report.sync_below_bytes},
              {"break_even", report.is_break_even_ignored ? "ignored" : "calibrated"},
              {"classes", classes_of(report)},
              {"copies", copies_of(report.counts)},
              {"latency", latencies_of(report.counts)},
              {"counters", std::move(counters)},
              {"calibration", calibration_of(report.calibration)}};
}

// "below 1.0K", "1.0K", ..., "64.0K and more"
std::string size_name(std::uint32_t floor) {
  if (floor == 0) return "below " + human_bytes(stats::size_class_floor(1));
  const bool is_last = floor == stats::size_class_floor(stats::kSizeClasses - 1);
  return human_bytes(floor) + (is_last ? " and more" : "");
}

std::string render_head(const Json& result) {
  const auto number = [&](const char* key) { return result.at(key).get<std::uint64_t>(); };
  const auto line = [](std::string_view name, const std::string& value) {
    return fmt::format("{:<15} {}\n", name, value);
  };
  const std::string engine = result.at("engine").get<std::string>();
  std::string text = line("netdma", result.at("enabled").get<bool>() ? "enabled" : "disabled");
  text += line("engine", engine.empty() ? "none"
                                        : fmt::format("{}, {} channel(s), {} in quarantine", engine,
                                                      number("channels"), number("quarantined")));
  text += line("state", result.at("state").get<std::string>());
  text += line("min bytes", fmt::format("{} (netdma_min_bytes)", number("min_bytes")));
  const std::uint64_t sync = number("sync_below_bytes");
  text += line("wait below", sync == 0 ? "never (netdma_sync_below_bytes 0)"
                                       : fmt::format("{} bytes of room", sync));
  text += line("break-even", result.at("break_even").get<std::string>());
  for (const Json& feature : result.at("not_for"))
    text += line("not for", not_for(feature));
  return text;
}

std::string render_classes(const Json& result) {
  Table table({{"SIZE"}, {"COPIED BY"}, {"WHY"}});
  for (const Json& row : result.at("classes"))
    table.add_row({size_name(row.at("from_bytes").get<std::uint32_t>()),
                   row.at("engine").get<bool>() ? "engine" : "cpu",
                   row.at("why").get<std::string>()});
  return table.to_text();
}

std::string render_copies(const Json& result) {
  if (result.at("copies").empty()) return "";
  Table table({{"COPIES OF"},
               {"BY"},
               {"OUTCOME"},
               {"COPIES", Table::Align::kRight},
               {"BYTES", Table::Align::kRight}});
  for (const Json& row : result.at("copies"))
    table.add_row({size_name(row.at("from_bytes").get<std::uint32_t>()),
                   row.at("path").get<std::string>(), row.at("outcome").get<std::string>(),
                   row.at("copies").dump(), human_bytes(row.at("bytes").get<std::uint64_t>())});
  return "\n" + table.to_text();
}

std::string render_latencies(const Json& result) {
  if (result.at("latency").empty()) return "";
  Table table({{"ENGINE'S COPIES DONE WITHIN"}, {"COPIES", Table::Align::kRight}});
  for (const Json& row : result.at("latency"))
    table.add_row({row.at("below_us").is_null() ? "longer"
                                                : human_us(row.at("below_us").get<std::uint64_t>()),
                   row.at("copies").dump()});
  return "\n" + table.to_text();
}

std::string render_counters(const Json& result) {
  Table table({{"COUNTED"}, {"", Table::Align::kRight}});
  bool has_any = false;
  for (const auto& [name, value] : result.at("counters").items()) {
    if (value.get<std::uint64_t>() == 0) continue;
    has_any = true;
    table.add_row({name, value.dump()});
  }
  return has_any ? "\n" + table.to_text() : "";
}

std::string render_calibration(const Json& calibration) {
  if (calibration.at("sizes").empty()) return "";
  using Align = Table::Align;
  Table table({{"CALIBRATION: NS FOR", Align::kRight},
               {"CPU COPY", Align::kRight},
               {"STREAMING", Align::kRight},
               {"HAND-OVER", Align::kRight},
               {"ENGINE COPY", Align::kRight},
               {"READING IT", Align::kRight},
               {"PACKET", Align::kRight},
               {"SHARD, CPU", Align::kRight},
               {"SHARD, ENGINE", Align::kRight}});
  for (const Json& size : calibration.at("sizes")) {
    const auto ns = [&](const char* key) {
      return fmt::format("{:.0f}", size.at(key).get<double>());
    };
    table.add_row({size.at("bytes").dump() + " bytes", ns("copy_ns"), ns("streaming_ns"),
                   ns("hand_over_ns"), ns("engine_ns"), ns("copy_read_ns"), ns("packet_ns"),
                   ns("shard_cpu_ns"), ns("shard_engine_ns")});
  }
  return "\n" + table.to_text() +
         fmt::format(
             "an engine that has rested: {:.0f} ns to hand over, {:.0f} ns to copy 4096 "
             "bytes\n",
             calibration.at("rested_submit_ns").get<double>(),
             calibration.at("rested_latency_ns").get<double>());
}

void handle_show(Service& service, const Json& /*arguments*/, const Answer& answer) {
  answer(to_json(service));
}

std::string render_show(const Json& result) {
  return render_head(result) + "\n" + render_classes(result) + render_copies(result) +
         render_latencies(result) + render_counters(result) +
         render_calibration(result.at("calibration"));
}

void handle_calibrate(Service& service, const Json& /*arguments*/, const Answer& answer) {
  service.calibrate_netdma([&service, answer](const Result<>& done) {
    if (!done) return answer(tl::unexpected(done.error()));
    answer(to_json(service));
  });
}

std::string render_calibrate(const Json& result) {
  return render_head(result) + "\n" + render_classes(result) +
         render_calibration(result.at("calibration"));
}

}  // namespace

const CommandSpec kNetdma{
    .path = "netdma",
    .help = "NetDMA: a copy engine moves received data into the applications' buffers.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kNetdmaShow{
    .path = "netdma show",
    .help = "Show copies by size, path and outcome, and why each size is copied by whom.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kNetdmaCalibrate{
    .path = "netdma calibrate",
    .help = "Measure anew, for a second, from which size on the engine gains; it takes effect.",
    .arguments = {},
    .changes_things = true,
    .handle = handle_calibrate,
    .render = render_calibrate,
};

}  // namespace snp::commands
