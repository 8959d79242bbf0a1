#include "snp/commands/command.h"
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

void handle(Service& service, const Json& /*arguments*/, const Answer& answer) {
  const StatsReport stats = service.stats();
  const PathStats total{stats.host.connections + stats.target.connections + stats.local.connections,
                        stats.host.bytes_in + stats.target.bytes_in + stats.local.bytes_in,
                        stats.host.bytes_out + stats.target.bytes_out + stats.local.bytes_out};
  Json declined = Json::object();
  for (const ReasonCount& entry : stats.declined)
    declined[std::string(chimney::text_of(entry.reason).name)] = entry.count;
  Json engine = Json::object();
  for (const Metric& metric : stats.engine)
    engine[metric.name] = metric.value;
  answer(Json{{"host", to_json(stats.host)},
              {"target", to_json(stats.target)},
              {"local", to_json(stats.local)},
              {"total", to_json(total)},
              {"engine", std::move(engine)},
              {"offload", to_json(stats.offload)},
              {"upload", to_json(stats.upload)},
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

std::string render(const Json& result) {
  std::string text =
      render_paths(result) + "\n" + render_hand_overs(result) + "\n" + render_engine(result);
  for (const auto& [name, count] : result.at("declined").items())
    text += "declined, " + name + ": " + std::to_string(count.get<std::uint64_t>()) + "\n";
  return text;
}

}  // namespace

const CommandSpec kStats{
    .path = "stats",
    .help = "Show connections and bytes of host and target, and the hand-overs between them.",
    .arguments = {},
    .changes_things = false,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
