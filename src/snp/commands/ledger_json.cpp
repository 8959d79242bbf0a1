#include "snp/commands/ledger_json.h"

#include <utility>

#include "snp/commands/table.h"

namespace snp::commands {
namespace {

using stats::Mib;
using stats::MibGroup;
using stats::MibInfo;

Json row_json(const stats::LedgerRow& row) {
  return Json{{"host", row.host ? Json(*row.host) : Json(nullptr)},
              {"target", row.target},
              {"local", row.local},
              {"total", row.host ? Json(row.total()) : Json(nullptr)}};
}

// `row_of(Mib)` gives the JSON of a row.
template <class RowOf>
Json groups_json(RowOf&& row_of) {
  Json groups{{"tcp", Json::object()}, {"ip", Json::object()}};
  const auto table = stats::all_mib_counters();
  for (std::size_t i = 0; i < table.size(); ++i)
    groups[table[i].group == MibGroup::kTcp ? "tcp" : "ip"][std::string(table[i].name)] =
        row_of(static_cast<Mib>(i));
  return groups;
}

std::uint64_t rest(std::uint64_t all, std::uint64_t part) {
  return all > part ? all - part : 0;
}

Json link_json(const DeviceLedger& device) {
  using P = stats::PathMetric;
  constexpr std::uint64_t kEthernetHeaderBytes = 14;
  stats::PathCounters path;
  for (const stats::PathCounters& family : device.paths)
    path.merge(family);
  const auto row = [](std::uint64_t all, std::uint64_t target) {
    return Json{{"host", rest(all, target)}, {"target", target}, {"local", 0}, {"total", all}};
  };
  return Json{
      {"InFrames", row(device.link.frames_in, path[P::kTakenFrames])},
      {"InBytes", row(device.link.bytes_in,
                      path[P::kTakenOctets] + kEthernetHeaderBytes * path[P::kTakenFrames])},
      {"OutFrames", row(device.link.frames_out, path[P::kFramesOut])},
      {"OutBytes", row(device.link.bytes_out,
                       path[P::kOctetsOut] + kEthernetHeaderBytes * path[P::kFramesOut])}};
}

std::string cell(const Json& value) {
  return value.is_null() ? "-" : std::to_string(value.get<std::uint64_t>());
}

void add_rows(Table& table, const Json& rows) {
  for (const auto& [name, row] : rows.items())
    table.add_row({name, cell(row.at("host")), cell(row.at("target")), cell(row.at("local")),
                   cell(row.at("total"))});
}

Table make_table(const char* title) {
  using Align = Table::Align;
  return Table({{title},
                {"HOST", Align::kRight},
                {"TARGET", Align::kRight},
                {"LOCAL", Align::kRight},
                {"TOTAL", Align::kRight}});
}

void add_metrics(Json& rows, std::span<const stats::MetricInfo> table, const std::string& name) {
  for (const stats::MetricInfo& metric : table)
    if (name.empty() || metric.name == name)
      rows.push_back(Json{{"name", std::string(metric.name)},
                          {"kind", std::string(to_string(metric.kind))},
                          {"sentence", std::string(metric.sentence)},
                          {"whose", ""}});
}

}  // namespace

Json ledger_json(const stats::LedgerSources& sources) {
  return groups_json([&](Mib counter) {
    Json row = row_json(stats::ledger_row(sources, counter));
    row["corrected"] = stats::correction(sources, counter);
    return row;
  });
}

Json ledger_json(const stats::LedgerSources& sources, stats::Family family) {
  return groups_json(
      [&](Mib counter) { return row_json(stats::ledger_row(sources, counter, family)); });
}

Json ledger_json(const DeviceLedger& device) {
  Json json = groups_json([&](Mib counter) {
    std::uint64_t target = 0;
    for (const stats::PathCounters& path : device.paths)
      target += stats::target_part(path, counter);
    return row_json({std::nullopt, target, 0});
  });
  json["name"] = device.name;
  json["ifindex"] = device.ifindex;
  json["link"] = link_json(device);
  json["ip6"] = Json::object();
  const auto table = stats::all_mib_counters();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].group != MibGroup::kIp) continue;
    const auto counter = static_cast<Mib>(i);
    stats::LedgerSources sources;
    sources.paths[1] = device.paths[1];
    if (device.host_ip6) sources.host.ip[1] = *device.host_ip6;
    stats::LedgerRow row = stats::ledger_row(sources, counter, stats::Family::kV6);
    if (!device.host_ip6) row.host.reset();
    json["ip6"][std::string(table[i].name)] = row_json(row);
  }
  return json;
}

std::string render_ledger(const Json& ledger) {
  Table tcp = make_table("TCP");
  add_rows(tcp, ledger.at("tcp"));
  Table ip = make_table("IP");
  add_rows(ip, ledger.at("ip"));
  return tcp.to_text() + "\n" + ip.to_text();
}

std::string render_device_ledger(const Json& device) {
  Table link = make_table("LINK");
  add_rows(link, device.at("link"));
  Table ip6 = make_table("IPv6");
  add_rows(ip6, device.at("ip6"));
  return device.at("name").get<std::string>() + "\n\n" + link.to_text() + "\n" +
         render_ledger(device) + "\n" + ip6.to_text();
}

std::optional<Json> explain_counters(const std::string& name) {
  Json rows = Json::array();
  for (const MibInfo& counter : stats::all_mib_counters())
    if (name.empty() || counter.name == name)
      rows.push_back(Json{{"name", std::string(counter.name)},
                          {"kind", std::string(to_string(counter.kind))},
                          {"sentence", std::string(counter.meaning)},
                          {"whose", std::string(counter.whose)}});
  add_metrics(rows, stats::metrics_of(stats::PathMetric{}), name);
  add_metrics(rows, stats::metrics_of(stats::EngineMetric{}), name);
  if (rows.empty()) return std::nullopt;
  return rows;
}

std::string render_explanations(const Json& rows) {
  std::string text;
  for (const Json& row : rows) {
    const auto word = [&](const char* key) { return row.at(key).get<std::string>(); };
    text += word("name") + " (" + word("kind") + ")\n    " + word("sentence") + "\n";
    if (!word("whose").empty()) text += "    " + word("whose") + "\n";
  }
  return text;
}

}  // namespace snp::commands
