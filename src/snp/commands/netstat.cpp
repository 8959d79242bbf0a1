// `snp netstat`: the connections of the host in the form of Windows, with the offload state.
#include <map>

#include <fmt/format.h>

#include "snp/commands/command.h"

namespace snp::commands {
namespace {

using stats::Mib;

struct StatisticsRow {
  std::string_view label;  // of Windows
  Mib counter;
};
constexpr StatisticsRow kIpRows[] = {{"Packets Received", Mib::kInReceives},
                                     {"Received Header Errors", Mib::kInHdrErrors},
                                     {"Received Packets Discarded", Mib::kInDiscards},
                                     {"Received Packets Delivered", Mib::kInDelivers},
                                     {"Output Requests", Mib::kOutRequests},
                                     {"Discarded Output Packets", Mib::kOutDiscards},
                                     {"Output Packet No Route", Mib::kOutNoRoutes}};
constexpr StatisticsRow kTcpRows[] = {{"Active Opens", Mib::kActiveOpens},
                                      {"Passive Opens", Mib::kPassiveOpens},
                                      {"Failed Connection Attempts", Mib::kAttemptFails},
                                      {"Reset Connections", Mib::kEstabResets},
                                      {"Current Connections", Mib::kCurrEstab},
                                      {"Segments Received", Mib::kInSegs},
                                      {"Segments Sent", Mib::kOutSegs},
                                      {"Segments Retransmitted", Mib::kRetransSegs}};

// Of host and target together, as Windows counts.
Json statistics_json(const stats::LedgerSources& ledger) {
  Json sections = Json::array();
  const auto add = [&](std::string_view title, std::span<const StatisticsRow> rows, auto&& total) {
    Json section{{"title", std::string(title)}, {"rows", Json::array()}};
    for (const StatisticsRow& row : rows)
      section["rows"].push_back(
          Json{{"label", std::string(row.label)}, {"value", total(row.counter)}});
    sections.push_back(std::move(section));
  };
  add("IPv4 Statistics", kIpRows,
      [&](Mib counter) { return stats::ledger_row(ledger, counter, stats::Family::kV4).total(); });
  add("IPv6 Statistics", kIpRows,
      [&](Mib counter) { return stats::ledger_row(ledger, counter, stats::Family::kV6).total(); });
  add("TCP Statistics for IPv4 and IPv6", kTcpRows,
      [&](Mib counter) { return stats::ledger_row(ledger, counter).total(); });
  return sections;
}

std::string render_statistics(const Json& sections) {
  std::string text;
  for (const Json& section : sections) {
    text += "\n" + section.at("title").get<std::string>() + "\n\n";
    for (const Json& row : section.at("rows"))
      text += fmt::format("  {:<34}  = {}\n", row.at("label").get<std::string>(),
                          row.at("value").get<std::uint64_t>());
  }
  return text;
}

void handle(Service& service, const Json& arguments, const Answer& answer) {
  if (arguments.contains("-s"))
    return answer(Json{{"statistics", statistics_json(service.stats().ledger)}});
  const auto sockets = service.tcp_sockets();
  if (!sockets) return answer(tl::unexpected(sockets.error()));
  std::map<FourTuple, ConnectionRow> attached;
  for (ConnectionRow& row : service.connections())
    attached.emplace(row.flow, std::move(row));
  Json rows = Json::array();
  for (const TcpSocket& socket : *sockets) {
    if (socket.is_listening && !arguments.contains("-a")) continue;
    const auto found = attached.find(socket.flow);
    const ConnectionRow* row = found == attached.end() ? nullptr : &found->second;
    // The kernel's socket of an offloaded connection is parked and knows nothing.
    const bool is_away = row != nullptr && !row->tcp_state.empty();
    Json json{{"local", to_string(socket.flow.local)},
              {"remote", to_string(socket.flow.remote)},
              {"state", is_away ? row->tcp_state : socket.state},
              {"offload_state", row == nullptr ? "InHost" : row->offload_state}};
    if (row != nullptr && row->pid != 0) json["pid"] = row->pid;
    rows.push_back(std::move(json));
  }
  answer(Json{{"has_pids", arguments.contains("-o")},
              {"has_offload_states", arguments.contains("-t")},
              {"connections", std::move(rows)}});
}

std::string render(const Json& result) {
  if (result.contains("statistics")) return render_statistics(result.at("statistics"));
  const bool has_pids = result.at("has_pids").get<bool>();
  const bool has_states = result.at("has_offload_states").get<bool>();
  const auto line = [&](std::string_view proto, std::string_view local, std::string_view remote,
                        std::string_view state, std::string_view pid, std::string_view offload) {
    std::string text = fmt::format("  {:<6} {:<22} {:<22} {:<15}", proto, local, remote, state);
    if (has_pids) text += fmt::format(" {:<8}", pid);
    if (has_states) text += " " + std::string(offload);
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  std::string text = "\nActive Connections\n\n" + line("Proto", "Local Address", "Foreign Address",
                                                       "State", "PID", "Offload State");
  for (const Json& row : result.at("connections")) {
    const auto word = [&](const char* key) { return row.at(key).get<std::string>(); };
    const std::string pid =
        row.contains("pid") ? std::to_string(row.at("pid").get<std::uint32_t>()) : "-";
    text += line("TCP", word("local"), word("remote"), word("state"), pid, word("offload_state"));
  }
  return text;
}

constexpr Argument kArguments[] = {
    {"-t", "show the offload state", false},
    {"-s", "statistics of IP and TCP instead, of host and target together", false},
    {"-a", "listening sockets, too", false},
    {"-n", "addresses and ports as numbers (always so)", false},
    {"-o", "show the process of connections of attached programs", false},
};

}  // namespace

const CommandSpec kNetstat{
    .path = "netstat",
    .help = "List the TCP connections of the host, as Windows' netstat does.",
    .arguments = kArguments,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
