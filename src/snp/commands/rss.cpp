// snp rss: the hash of a packet, where it goes, and what the balancer does about it.
#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>

#include "snp/commands/command.h"
#include "snp/commands/table.h"
#include "snp/rss/hash_type.h"
#include "snp/rss/toeplitz.h"
#include "snp/settings/settings.h"

namespace snp::commands {
namespace {

struct HashEnd {
  IpAddress address;
  std::optional<std::uint16_t> port;
};

std::optional<HashEnd> parse_end(const std::string& text) {
  if (const auto endpoint = parse_endpoint(text)) return HashEnd{endpoint->address, endpoint->port};
  if (const auto address = parse_address(text)) return HashEnd{*address, std::nullopt};
  return std::nullopt;
}

std::string hex(std::uint32_t value) {
  return fmt::format("0x{:08x}", value);
}

Result<HashEnd> argument_end(const Json& arguments, std::string_view name) {
  const std::string text = argument_text(arguments, name);
  if (const auto end = parse_end(text)) return *end;
  return fail(Errc::kInvalid, "'" + text +
                                  "' is no address; give 10.0.0.1, 10.0.0.1:80, fd00::1 or "
                                  "[fd00::1]:80");
}

Result<Json> hash(const Json& arguments) {
  rss::HashKey key = rss::kVerificationKey;
  if (const std::string text = argument_text(arguments, "--key"); !text.empty()) {
    const auto parsed = rss::parse_key(text);
    if (!parsed)
      return fail(Errc::kInvalid, "INVALID_LENGTH: a hash key is 80 hexadecimal digits (40 bytes)");
    key = *parsed;
  }
  const auto source = argument_end(arguments, "SRC");
  if (!source) return tl::unexpected(source.error());
  const auto destination = argument_end(arguments, "DST");
  if (!destination) return tl::unexpected(destination.error());
  if (source->address.is_v4() != destination->address.is_v4())
    return fail(Errc::kInvalid, "source and destination are of different families");
  if (source->port.has_value() != destination->port.has_value())
    return fail(Errc::kInvalid, "give a port to both ends or to none");
  rss::PacketFields packet;
  packet.source = source->address;
  packet.destination = destination->address;
  packet.source_port = source->port.value_or(0);
  packet.destination_port = destination->port.value_or(0);
  packet.transport = source->port ? rss::Transport::kTcp : rss::Transport::kOther;
  const rss::Toeplitz toeplitz(key);
  const auto input = select_input(packet, rss::kIpv4 | rss::kIpv6 | rss::kTcpIpv4 | rss::kTcpIpv6);
  Json json{{"hash", hex(toeplitz.hash(input->span()))},
            {"type", rss::to_string(input->type)},
            {"path", toeplitz.path()}};
  return json;
}

std::string render_hash(const Json& result) {
  return result.at("hash").get<std::string>() + " " + result.at("type").get<std::string>() + "\n";
}

Json types_of(rss::HashTypes types) {
  Json names = Json::array();
  for (std::uint32_t bit = rss::kIpv4; bit <= rss::kUdpIpv6Ex; bit <<= 1)
    if ((types & bit) != 0) names.push_back(rss::to_string(static_cast<rss::HashType>(bit)));
  return names;
}

Json shards_of(const RssReport& report) {
  Json rows = Json::array();
  for (std::size_t shard = 0; shard < report.connections.size(); ++shard) {
    std::uint64_t buckets = 0;
    std::uint64_t packets = 0;
    for (std::size_t bucket = 0; bucket < report.table.size(); ++bucket) {
      if (report.table[bucket] != shard) continue;
      ++buckets;
      if (bucket < report.packets.size()) packets += report.packets[bucket];
    }
    rows.push_back({{"shard", shard},
                    {"buckets", buckets},
                    {"packets", packets},
                    {"connections", report.connections[shard]}});
  }
  return rows;
}

Json host_of(const RssReport& report) {
  Json rows = Json::array();
  for (const HostRssRow& row : report.host)
    rows.push_back({{"device", row.device},
                    {"backend", row.backend},
                    {"why", row.why},
                    {"failed", row.has_failed},
                    {"cpu_set", row.cpu_set},
                    {"cpus", row.cpus},
                    {"balancing", row.is_balancing},
                    {"table", row.table},
                    {"queues", row.queues},
                    {"packets", row.packets},
                    {"remark", row.remark},
                    {"buckets_moved", row.buckets_moved},
                    {"last_moves", row.last_moves},
                    {"elephants", row.elephants}});
  return rows;
}

void handle_show(Service& service, const Json& /*arguments*/, const Answer& answer) {
  const RssReport report = service.rss();
  answer(Json{{"enabled", report.is_enabled},
              {"profile", report.profile},
              {"balancing", report.is_balancing},
              {"key", report.key},
              {"types", types_of(report.types)},
              {"default_shard", report.default_shard},
              {"shards", shards_of(report)},
              {"table", report.table},
              {"packets", report.packets},
              {"buckets_moved", report.buckets_moved},
              {"connections_moved", report.connections_moved},
              {"connections_stayed", report.connections_stayed},
              {"quiet_p99_us", report.quiet_p99_us},
              {"last_moves", report.last_moves},
              {"elephants", report.elephants},
              {"host", host_of(report)}});
}

std::string lines_of(const Json& list, std::string_view prefix) {
  std::string text;
  for (const Json& line : list)
    text += std::string(prefix) + line.get<std::string>() + "\n";
  return text;
}

std::string render_device(const Json& row) {
  const auto text_of = [&](const char* key) { return row.at(key).get<std::string>(); };
  std::string text = fmt::format("{:<15} {}: {}\n", "host, " + text_of("device"),
                                 text_of("backend"), text_of("why"));
  if (text_of("cpus").empty()) return text;
  text += fmt::format("{:<15} CPUs {} of {}{}\n", "", text_of("cpus"), text_of("cpu_set"),
                      row.at("balancing").get<bool>() ? ", balancing" : "");
  if (!text_of("remark").empty()) text += fmt::format("{:<15} {}\n", "", text_of("remark"));
  // How many buckets each CPU has, and packets where they are counted.
  std::map<std::uint32_t, std::array<std::uint64_t, 2>> cpus;
  const Json& table = row.at("table");
  const Json& packets = row.at("packets");
  for (std::size_t bucket = 0; bucket < table.size(); ++bucket) {
    auto& [buckets, sum] = cpus[table[bucket].get<std::uint32_t>()];
    ++buckets;
    if (bucket < packets.size()) sum += packets[bucket].get<std::uint64_t>();
  }
  for (const auto& [cpu, counts] : cpus)
    text += fmt::format("{:<15} CPU {}: {} buckets", "", cpu, counts[0]) +
            (packets.empty() ? "\n" : fmt::format(", {} packets\n", counts[1]));
  if (!row.at("elephants").empty())
    text += fmt::format("{:<15} heavy buckets, cannot be divided: {}\n", "",
                        row.at("elephants").dump());
  return text + lines_of(row.at("last_moves"), fmt::format("{:<15} moved ", ""));
}

std::string render_show(const Json& result) {
  std::string types;
  for (const Json& type : result.at("types"))
    types += (types.empty() ? "" : " ") + type.get<std::string>();
  std::string text = fmt::format(
      "{:<15} {}\n{:<15} {}{}\n{:<15} {}\n{:<15} {}\n{:<15} {} entries\n", "engine",
      result.at("enabled").get<bool>() ? "enabled" : "disabled: everything on one shard", "profile",
      result.at("profile").get<std::string>(),
      result.at("balancing").get<bool>() ? ", balancing" : ", not balancing", "hashed",
      types.empty() ? "nothing" : types, "key", result.at("key").get<std::string>(), "table",
      result.at("table").size());
  text += fmt::format("{:<15} {} buckets, {} connections (quiet p99 {} us), {} could not\n",
                      "moved", result.at("buckets_moved").get<std::uint64_t>(),
                      result.at("connections_moved").get<std::uint64_t>(),
                      result.at("quiet_p99_us").get<std::uint32_t>(),
                      result.at("connections_stayed").get<std::uint64_t>());
  Table table({{"SHARD", Table::Align::kRight},
               {"BUCKETS", Table::Align::kRight},
               {"PACKETS", Table::Align::kRight},
               {"CONNECTIONS", Table::Align::kRight}});
  for (const Json& row : result.at("shards"))
    table.add_row({row.at("shard").dump(), row.at("buckets").dump(), row.at("packets").dump(),
                   row.at("connections").dump()});
  text += table.to_text() + lines_of(result.at("elephants"), "heavy, cannot be divided: ") +
          lines_of(result.at("last_moves"), "moved ");
  for (const Json& device : result.at("host"))
    text += render_device(device);
  return text;
}

// "profile" stands for the setting rss_profile.
// What the original calls it when this setting cannot be so (reference 5.5).
std::string_view error_name(std::string_view word) {
  if (word == "key") return "INVALID_LENGTH";
  if (word == "base_cpu" || word == "avoid_cpus") return "INVALID_DATA";
  return "INVALID_PARAMETER";
}

void handle_set(Service& service, const Json& arguments, const Answer& answer) {
  const std::string word = argument_text(arguments, "NAME");
  const std::string name = word == "enabled" ? "rss" : "rss_" + word;
  const settings::SettingInfo* info = settings::find_setting(name);
  if (info == nullptr) {
    std::string known = "enabled";
    for (const settings::SettingInfo& each : settings::all_settings())
      if (each.name.starts_with("rss_")) known += ", " + std::string(each.name.substr(4));
    return answer(fail(Errc::kNotFound, "'" + word + "' is none of " + known));
  }
  const std::string value = argument_text(arguments, "VALUE");
  settings::Settings wanted = service.stored_settings();
  const bool is_switch = word == "enabled" && (value == "yes" || value == "no");
  const std::string said = !is_switch ? value : value == "yes" ? "enabled" : "disabled";
  if (auto done = wanted.set(name, said); !done)
    return answer(with_context(std::string(error_name(word)), done.error()));
  if (auto done = service.change_settings(wanted); !done)
    return answer(tl::unexpected(done.error()));
  answer(Json{{"name", name}, {"value", service.settings().to_text(info->id)}});
}

std::string render_set(const Json& result) {
  return result.at("name").get<std::string>() + " is " + result.at("value").get<std::string>() +
         "\n";
}

void handle_rebalance(Service& service, const Json& arguments, const Answer& answer) {
  const bool is_dry = arguments.contains("--dry-run");
  const RssBalance balance = service.rebalance(is_dry);
  answer(Json{{"dry_run", is_dry},
              {"imbalance_before", balance.imbalance_before},
              {"imbalance_after", balance.imbalance_after},
              {"moves", balance.moves},
              {"heavy_buckets", balance.heavy_buckets}});
}

std::string render_rebalance(const Json& result) {
  const auto percent = [&](const char* key) { return result.at(key).get<double>() * 100; };
  if (result.at("moves").empty())
    return fmt::format("nothing to move: imbalance {:.1f} %\n", percent("imbalance_before"));
  const bool is_dry = result.at("dry_run").get<bool>();
  return lines_of(result.at("moves"), is_dry ? "would move " : "moved ") +
         fmt::format("imbalance {:.1f} % -> {:.1f} %\n", percent("imbalance_before"),
                     percent("imbalance_after"));
}

constexpr Argument kHashArguments[] = {
    {"--key HEX", "40 bytes; the published verification key if left out"},
    {"SRC", "ADDRESS or ADDRESS:PORT, as in the packet", true},
    {"DST", "ADDRESS or ADDRESS:PORT, as in the packet", true}};
constexpr Argument kSetArguments[] = {
    {"NAME",
     "enabled, backend, base_cpu, max_cpus, avoid_cpus, profile, balancing, ipv4, ipv6, key or "
     "table_size",
     true},
    {"VALUE", "its new value", true}};
constexpr Argument kRebalanceArguments[] = {{"--dry-run", "only say what it would do"}};

}  // namespace

const CommandSpec kRss{
    .path = "rss",
    .help = "Receive-side scaling: how received packets are spread over shards and CPUs.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kRssHash{
    .path = "rss hash",
    .help = "Compute the hash of a packet: of its addresses, or with the ports of TCP.",
    .arguments = kHashArguments,
    .render = render_hash,
    .prepare = hash,
};

const CommandSpec kRssShow{
    .path = "rss show",
    .help = "Show how received packets are distributed, and what the balancer moved and why.",
    .arguments = {},
    .handle = handle_show,
    .render = render_show,
};

const CommandSpec kRssSet{
    .path = "rss set",
    .help = "Change a setting of receive-side scaling; connections follow at once.",
    .arguments = kSetArguments,
    .changes_things = true,
    .handle = handle_set,
    .render = render_set,
};

const CommandSpec kRssRebalance{
    .path = "rss rebalance",
    .help = "Let the balancer look now, and move what it would move.",
    .arguments = kRebalanceArguments,
    .changes = [](const Json& arguments) { return !arguments.contains("--dry-run"); },
    .handle = handle_rebalance,
    .render = render_rebalance,
};

}  // namespace snp::commands
