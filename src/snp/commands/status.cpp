#include <fmt/format.h>

#include "snp/commands/feature_rows.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

void handle(Service& service, const Json& /*arguments*/, const Answer& answer) {
  const StatusReport status = service.status();
  Json clients = Json::array();
  for (const ClientRow& row : status.clients)
    clients.push_back(Json{{"name", row.name},
                           {"pid", row.pid},
                           {"has_veto", row.has_veto},
                           {"events", row.events},
                           {"lost", row.lost},
                           {"questions", row.questions},
                           {"refusals", row.refusals},
                           {"unanswered", row.unanswered}});
  answer(Json{{"pid", status.pid},
              {"keeper_pid", status.keeper_pid},
              {"uptime_s", status.uptime_s},
              {"chimney", status.chimney},
              {"shards", status.shards},
              {"devices", status.devices},
              {"chimney_devices", status.device_switches},
              {"programs", status.programs},
              {"connections", status.connections},
              {"offloaded", status.offloaded},
              {"max_connections", status.max_connections},
              {"engine_restarts", status.engine_restarts},
              {"features", to_json(status.features)},
              {"clients", std::move(clients)}});
}

// What keeps connections in the host, and how each of them ends: one does not end with another.
std::string render_feature(const Json& feature) {
  const bool is_respected = feature.at("is_respected").get<bool>();
  std::string text = fmt::format("{:<15} {}{}\n", "feature", feature_name(feature),
                                 is_respected ? "" : " (a setting overrules it)");
  if (is_respected) text += fmt::format("{:<15} {}\n", "", feature.at("hint").get<std::string>());
  return text;
}

std::string render_client(const Json& client) {
  const auto number = [&](const char* key) { return client.at(key).get<std::uint64_t>(); };
  std::string text = fmt::format("{:<15} {} (pid {}): {} events, {} lost", "client",
                                 client.at("name").get<std::string>(), number("pid"),
                                 number("events"), number("lost"));
  if (client.at("has_veto").get<bool>())
    text += fmt::format("; veto: {} questions, {} refused, {} not answered", number("questions"),
                        number("refusals"), number("unanswered"));
  return text + "\n";
}

std::string render(const Json& result) {
  std::string text;
  for (const auto& [name, value] : result.items()) {
    if (name == "features" || name == "clients" || (name == "chimney_devices" && value.empty()))
      continue;
    std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    if (value.is_array()) {
      shown.clear();
      for (const Json& item : value)
        shown.append(shown.empty() ? "" : " ").append(item.get<std::string>());
    }
    text += fmt::format("{:<15} {}\n", name, shown);
  }
  for (const Json& feature : result.at("features"))
    text += render_feature(feature);
  for (const Json& client : result.at("clients"))
    text += render_client(client);
  return text;
}

}  // namespace

const CommandSpec kStatus{
    .path = "status",
    .help = "Show the snpd that serves this network namespace.",
    .arguments = {},
    .changes_things = false,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
