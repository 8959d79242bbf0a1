#include <fmt/format.h>

#include "snp/commands/command.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

void handle(Service& service, const Json& /*arguments*/, const Answer& answer) {
  const StatusReport status = service.status();
  answer(Json{{"pid", status.pid},
              {"keeper_pid", status.keeper_pid},
              {"uptime_s", status.uptime_s},
              {"chimney", status.chimney},
              {"shards", status.shards},
              {"devices", status.devices},
              {"programs", status.programs},
              {"connections", status.connections},
              {"offloaded", status.offloaded},
              {"max_connections", status.max_connections},
              {"engine_restarts", status.engine_restarts}});
}

std::string render(const Json& result) {
  std::string text;
  for (const auto& [name, value] : result.items()) {
    std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    if (value.is_array()) {
      shown.clear();
      for (const Json& item : value)
        shown.append(shown.empty() ? "" : " ").append(item.get<std::string>());
    }
    text += fmt::format("{:<15} {}\n", name, shown);
  }
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
