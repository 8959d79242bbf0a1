#include "snp/commands/command.h"
#include "snp/commands/ledger_json.h"
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

constexpr Argument kArguments[] = {
    {"--by WHAT", "device or family: the ledger of each device, or of IPv4 and of IPv6", false},
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
              {"declined", std::move(declined)}});
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
                   human_us(number("quiet_p50_us")), human_us(number("quiet_p99_us")),
                   human_us(number("quiet_max_us")), human_bytes(number("queued_bytes"))});
  }
  return table.to_text();
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
                     render_hand_overs(result) + "\n" + render_engine(result);
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
};

}  // namespace snp::commands
