#include "snp/commands/command.h"
#include "snp/commands/files.h"
#include "snp/commands/ledger_json.h"
#include "snp/commands/stats_since.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

Json to_json(const PathStats& path) {
  return Json{{"connections", path.connections},
              {"bytes_in", path.bytes_in},
              {"bytes_out", path.bytes_out}};
}

Json to_json(const HandOverStats& stats) {
  return Json{{"done", stats.done},
              {"failed", stats.failed},
              {"quiet_p50_us", stats.quiet_p50_us},
              {"quiet_p99_us", stats.quiet_p99_us},
              {"quiet_max_us", stats.quiet_max_us},
              {"queued_bytes", stats.queued_bytes}};
}

Json to_json(const WayHomeStats& way) {
  return Json{
      {"done", way.done}, {"p50_us", way.p50_us}, {"p99_us", way.p99_us}, {"max_us", way.max_us}};
}

constexpr Argument kArguments[] = {
    {"--by WHAT", "device or family: the ledger of each device, or of IPv4 and of IPv6", false},
    {"--since FILE", "what has risen since FILE, which 'snp stats --json' wrote", false},
    {"--explain", "what a rising value means, of every counter or of NAME", false},
    {"NAME", "of a counter, for --explain", false},
};

void explain(const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  auto rows = explain_counters(name);
  if (!rows)
    return answer(fail(Errc::kNotFound,
                       "there is no counter '" + name + "'; 'snp stats --explain' lists them all"));
  answer(Json{{"explain", std::move(*rows)}});
}

void handle(Service& service, const Json& arguments, const Answer& answer) {
  if (arguments.contains("--explain") && arguments.contains("--since"))
    return answer(fail(Errc::kInvalid, "--since goes with figures, not with --explain"));
  if (arguments.contains("--explain")) return explain(arguments, answer);
  if (arguments.contains("NAME"))
    return answer(fail(Errc::kInvalid, "a counter's name goes with --explain"));
  const std::string by = argument_text(arguments, "--by");
  if (!by.empty() && by != "device" && by != "family")
    return answer(fail(Errc::kInvalid, "--by takes device or family, not '" + by + "'"));
  const StatsReport report = service.stats();
  const PathStats total{
      report.host.connections + report.target.connections + report.local.connections,
      report.host.bytes_in + report.target.bytes_in + report.local.bytes_in,
      report.host.bytes_out + report.target.bytes_out + report.local.bytes_out};
  Json declined = Json::object();
  for (const ReasonCount& entry : report.declined)
    declined[std::string(chimney::text_of(entry.reason).name)] = entry.count;
  Json engine = Json::object();
  for (const Metric& metric : report.engine)
    engine[metric.name] = metric.value;
  Json devices = Json::array();
  for (const DeviceLedger& device : report.devices)
    devices.push_back(ledger_json(device));
  answer(Json{{"by", by},
              {"keeper_pid", service.status().keeper_pid},
              {"ledger", ledger_json(report.ledger)},
              {"families",
               {{"ipv4", ledger_json(report.ledger, stats::Family::kV4)},
                {"ipv6", ledger_json(report.ledger, stats::Family::kV6)}}},
              {"devices", std::move(devices)},
              {"host", to_json(report.host)},
              {"target", to_json(report.target)},
              {"local", to_json(report.local)},
              {"total", to_json(total)},
              {"engine", std::move(engine)},
              {"offload", to_json(report.offload)},
              {"upload", to_json(report.upload)},
              {"way_home", to_json(report.way_home)},
              {"declined", std::move(declined)}});
}

Result<> deliver(const Json& arguments, Json& result) {
  const std::string path = argument_text(arguments, "--since");
  if (path.empty()) return {};
  const auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  auto risen = risen_since(Json::parse(*text, nullptr, false), result);
  if (!risen) return tl::unexpected(with_context(path, risen.error()));
  result = std::move(*risen);
  return {};
}

std::string render_paths(const Json& result) {
  using Align = Table::Align;
  Table table(
      {{""}, {"CONNECTIONS", Align::kRight}, {"IN", Align::kRight}, {"OUT", Align::kRight}});
  for (const char* name : {"host", "target", "local", "total"}) {
    const Json& path = result.at(name);
    table.add_row({name, std::to_string(path.at("connections").get<std::uint64_t>()),
                   human_bytes(path.at("bytes_in").get<std::uint64_t>()),
                   human_bytes(path.at("bytes_out").get<std::uint64_t>())});
  }
  return table.to_text();
}

// A quantile is of all hand-overs so far; there is none of a part of them.
std::string time_cell(const Json& us) {
  return us.is_null() ? "-" : human_us(us.get<std::uint64_t>());
}

std::string render_hand_overs(const Json& result) {
  using Align = Table::Align;
  Table table({{"HAND-OVERS"},
               {"DONE", Align::kRight},
               {"FAILED", Align::kRight},
               {"QUIET P50", Align::kRight},
               {"P99", Align::kRight},
               {"MAX", Align::kRight},
               {"QUEUED", Align::kRight}});
  for (const char* name : {"offload", "upload"}) {
    const Json& stats = result.at(name);
    const auto number = [&](const char* key) { return stats.at(key).get<std::uint64_t>(); };
    table.add_row({name, std::to_string(number("done")), std::to_string(number("failed")),
                   time_cell(stats.at("quiet_p50_us")), time_cell(stats.at("quiet_p99_us")),
                   time_cell(stats.at("quiet_max_us")), human_bytes(number("queued_bytes"))});
  }
  return table.to_text();
}

std::string render_way_home(const Json& result) {
  const Json& way = result.at("way_home");
  const auto done = way.at("done").get<std::uint64_t>();
  if (done == 0) return {};
  return "a change of the host sent " + std::to_string(done) + " home: p50 " +
         time_cell(way.at("p50_us")) + ", p99 " + time_cell(way.at("p99_us")) + ", max " +
         time_cell(way.at("max_us")) + " after it was seen\n";
}

std::string render_engine(const Json& result) {
  Table table({{"ENGINE"}, {"COUNT", Table::Align::kRight}});
  for (const auto& [name, value] : result.at("engine").items())
    if (const auto count = value.get<std::uint64_t>(); count != 0)
      table.add_row({name, std::to_string(count)});
  return table.to_text();
}

std::string render_parts(const Json& result) {
  std::string text;
  if (result.at("by").get<std::string>() == "device") {
    for (const Json& device : result.at("devices"))
      text += (text.empty() ? "" : "\n") + render_device_ledger(device);
    return text;
  }
  const Json& families = result.at("families");
  return "IPv4\n\n" + render_ledger(families.at("ipv4")) + "\nIPv6\n\n" +
         render_ledger(families.at("ipv6"));
}

std::string render(const Json& result) {
  if (result.contains("explain")) return render_explanations(result.at("explain"));
  if (!result.at("by").get<std::string>().empty()) return render_parts(result);
  std::string text = render_paths(result) + "\n" + render_ledger(result.at("ledger")) + "\n" +
                     render_hand_overs(result) + render_way_home(result) + "\n" +
                     render_engine(result);
  for (const auto& [name, count] : result.at("declined").items())
    text += "declined, " + name + ": " + std::to_string(count.get<std::uint64_t>()) + "\n";
  return text;
}

}  // namespace

const CommandSpec kStats{
    .path = "stats",
    .help =
        "Show what host and target have carried, each segment and byte once, and the hand-overs "
        "between them.",
    .arguments = kArguments,
    .changes_things = false,
    .handle = handle,
    .render = render,
    .deliver = deliver,
};

}  // namespace snp::commands
