#include "snp/commands/command.h"
#include "snp/commands/row_json.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

void handle(Service& service, const Json& /*arguments*/, const Answer& answer) {
  Json rows = Json::array();
  for (const ConnectionRow& row : service.connections())
    rows.push_back(to_json(row));
  answer(Json{{"connections", std::move(rows)}});
}

std::string render(const Json& result) {
  using Align = Table::Align;
  Table table({{"LOCAL"},
               {"REMOTE"},
               {"PID", Align::kRight},
               {"PROGRAM"},
               {"STATE"},
               {"TARGET"},
               {"SHARD", Align::kRight},
               {"REASON"},
               {"IN", Align::kRight},
               {"OUT", Align::kRight},
               {"HAND-OVERS", Align::kRight},
               {"QUIET", Align::kRight},
               {"PEER"}});
  for (const Json& row : result.at("connections")) {
    const auto text = [&](const char* key) { return row.at(key).get<std::string>(); };
    const auto number = [&](const char* key) { return row.at(key).get<std::uint64_t>(); };
    const bool is_in_host = text("target").empty();
    const bool has_peer = number("peer_pid") != 0;
    table.add_row(
        {text("local"), text("remote"), number("pid") == 0 ? "-" : std::to_string(number("pid")),
         text("program"), text("offload_state"), is_in_host ? "-" : text("target"),
         text("target") == "engine" ? std::to_string(number("shard")) : "-", text("reason"),
         human_bytes(number("bytes_in")), human_bytes(number("bytes_out")),
         std::to_string(number("hand_overs")),
         number("hand_overs") == 0 ? "-" : human_us(number("last_quiet_us")),
         has_peer ? text("peer_program") + " " + std::to_string(number("peer_pid")) : "-"});
  }
  return table.to_text();
}

}  // namespace

const CommandSpec kConnections{
    .path = "connections",
    .help = "List every connection of every attached program: who carries it, and why.",
    .arguments = {},
    .changes_things = false,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
