// What each command of netsh does. The row labels are the original's, its spelling too.
#include <algorithm>

#include <fmt/format.h>

#include "snp/commands/feature_rows.h"
#include "snp/commands/netdma_words.h"
#include "snp/commands/netsh.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

using settings::Setting;
using settings::Settings;

constexpr char kOk[] = "Ok.\n";
constexpr char kSwitchedOff[] = "Your System Administrator has disabled TCP Chimney.\n";

Result<std::string> change(Service& service, const Settings& wanted) {
  if (auto done = service.change_settings(wanted); !done) return tl::unexpected(done.error());
  return std::string(kOk);
}

std::string underlined(const std::string& title) {
  return title + "\n" + std::string(46, '-') + "\n";
}

std::string row(std::string_view label, std::string_view value) {
  return fmt::format("{:<36}: {}\n", label, value);
}

// --- show global, set global ---

std::string ecn_text(int value) {
  if (value == 2) return "enabled for incoming connections";
  return value == 0 ? "disabled" : "enabled";
}

// Reference 3.2: one line for each feature with which neither of the two goes together.
std::string not_for_whom(Service& service) {
  std::string text;
  for (const Json& feature : respected_json(service.status().features))
    text += "** Not for " + not_for(feature) + ".\n";
  return text;
}

Result<std::string> show_global(Service& service, const NetshValues& /*values*/) {
  const Settings& values = service.settings();
  const HostTcp host = service.host_tcp();
  const std::string& provider = values.text(Setting::kCongestionControl);
  std::string text = "Querying active state...\n\n" + underlined("TCP Global Parameters");
  text += row("Receive-Side Scaling State", values.text(Setting::kRss));
  text += row("Chimney Offload State", values.text(Setting::kChimney));
  text += row("NetDMA State", values.text(Setting::kNetdma));
  text += row("Direct Cache Acess (DCA)", values.text(Setting::kDca));
  text += row("Receive Window Auto-Tuning Level", host.is_autotuning ? "normal" : "disabled");
  text += row("Add-On Congestion Control Provider", provider == "host" ? "none" : provider);
  text += row("ECN Capability", ecn_text(host.ecn));
  text += row("RFC 1323 Timestamps", host.has_timestamps ? "enabled" : "disabled");
  for (const FeatureState& feature : service.features())
    if (!feature.is_operational)
      text += fmt::format("** {}: {}\n", feature.name, feature.statement);
  return text + not_for_whom(service);
}

constexpr NetshParameter kGlobalParameters[] = {
    {"rss", "disabled|enabled|default"},
    {"chimney", "disabled|enabled|automatic|default"},
    {"autotuninglevel", "disabled|highlyrestricted|restricted|normal|experimental"},
    {"congestionprovider", "<none|default|NAME>"},
    {"ecncapability", "disabled|enabled|default"},
    {"timestamps", "disabled|enabled|default"},
    {"netdma", "disabled|enabled|default"},
    {"dca", "disabled|enabled|default"},
};

Result<> set_one(Settings& wanted, Setting id, const std::optional<std::string>& value) {
  if (!value) return {};
  if (*value != "default") return wanted.set(settings::info_of(id).name, *value);
  wanted.reset(id);
  return {};
}

// The host's own TCP is not changed behind its administrator's back.
Failure belongs_to_host(std::string_view tag, std::string_view sysctl) {
  return fail(Errc::kUnsupported,
              fmt::format("{} belongs to the host stack, and the engine follows it: use sysctl {}",
                          tag, sysctl));
}

Result<std::string> set_global(Service& service, const NetshValues& values) {
  if (std::none_of(values.begin(), values.end(), [](const auto& value) { return value; }))
    return fail(Errc::kInvalid, "set global: give at least one parameter, as in chimney=automatic");
  if (values[2]) return belongs_to_host("autotuninglevel", "net.ipv4.tcp_moderate_rcvbuf");
  if (values[4]) return belongs_to_host("ecncapability", "net.ipv4.tcp_ecn");
  if (values[5]) return belongs_to_host("timestamps", "net.ipv4.tcp_timestamps");
  Settings wanted = service.stored_settings();
  std::optional<std::string> provider = values[3];
  if (provider == "none") provider = "host";
  const std::pair<Setting, std::optional<std::string>> changes[] = {
      {Setting::kRss, values[0]},
      {Setting::kChimney, values[1]},
      {Setting::kNetdma, values[6]},
      {Setting::kDca, values[7]},
      {Setting::kCongestionControl, provider}};
  for (const auto& [id, value] : changes)
    if (auto done = set_one(wanted, id, value); !done) return tl::unexpected(done.error());
  return change(service, wanted);
}

// --- statistics ---

constexpr NetshParameter kIndexParameters[] = {{"index", "<IDX>"}};

std::string chimney_state(const DeviceRow& device, const Settings& settings) {
  for (const std::string& text : settings.list(Setting::kChimneyDevices))
    if (const auto entry = settings::parse_device_switch(text);
        entry && entry->device == device.name) {
      if (!entry->is_ipv4_on && !entry->is_ipv6_on) return "disabled";
      if (!entry->is_ipv4_on || !entry->is_ipv6_on)
        return std::string(entry->is_ipv4_on ? "IPv4" : "IPv6") + " only";
    }
  if (!device.is_served) return "not served by snpd";
  return device.is_up ? "in use" : "down";
}

std::string list_devices(const std::vector<DeviceRow>& devices, const Settings& settings) {
  Table table({{"Idx", Table::Align::kRight},
               {"Interface"},
               {"Offloaded", Table::Align::kRight},
               {"Chimney"}});
  for (const DeviceRow& device : devices)
    table.add_row({std::to_string(device.ifindex), device.name, std::to_string(device.offloaded),
                   chimney_state(device, settings)});
  return table.to_text();
}

Result<std::string> show_chimneystats(Service& service, const NetshValues& values) {
  if (service.settings().text(Setting::kChimney) == "disabled") return std::string(kSwitchedOff);
  const auto devices = service.devices();
  if (!values[0]) return list_devices(devices, service.settings());
  const auto found = std::find_if(devices.begin(), devices.end(), [&](const DeviceRow& device) {
    return std::to_string(device.ifindex) == *values[0] || device.name == *values[0];
  });
  if (found == devices.end())
    return fail(Errc::kNotFound,
                "there is no interface '" + *values[0] + "'; 'show chimneystats' lists them");
  return underlined(
             fmt::format("Chimney Statistics of Interface {} ({})", found->ifindex, found->name)) +
         row("Chimney", chimney_state(*found, service.settings())) +
         row("Offloaded Connections", std::to_string(found->offloaded)) +
         row("Bytes Received by Them", std::to_string(found->bytes_in)) +
         row("Bytes Sent by Them", std::to_string(found->bytes_out)) +
         row("Packets Received by Them", std::to_string(found->frames_in)) +
         row("Packets Received with Errors", std::to_string(found->errors_in)) +
         row("Segments Sent by Them", std::to_string(found->segments_out)) +
         row("Segments Retransmitted by Them", std::to_string(found->retransmits));
}

Result<std::string> show_netdmastats(Service& service, const NetshValues& /*values*/) {
  const NetdmaReport report = service.netdma();
  stats::CopyCount by[2];  // the CPU, the engine
  for (std::size_t i = 0; i < stats::kCopyOutcomes; ++i) {
    const auto outcome = static_cast<stats::CopyOutcome>(i);
    const stats::CopyCount count = report.counts.of(outcome);
    stats::CopyCount& sum = by[path_of(outcome) == "engine" ? 1 : 0];
    sum.copies += count.copies;
    sum.bytes += count.bytes;
  }
  const auto counted = [&](stats::NetdmaMetric metric) {
    return std::to_string(report.counts.metrics[metric]);
  };
  return underlined("NetDMA Statistics") +
         row("NetDMA State", report.is_enabled ? "enabled" : "disabled") +
         row("Copy Engine", report.engine.empty() ? "none" : report.engine) +
         row("Channels", std::to_string(report.channels)) +
         row("Channels in Quarantine", std::to_string(report.quarantined)) +
         row("Copies by the Engine", std::to_string(by[1].copies)) +
         row("Bytes Copied by the Engine", std::to_string(by[1].bytes)) +
         row("Copies by the CPU", std::to_string(by[0].copies)) +
         row("Bytes Copied by the CPU", std::to_string(by[0].bytes)) +
         row("Copies Waited for at Once", counted(stats::NetdmaMetric::kWaitsAtOnce)) +
         row("Engine Stopped", counted(stats::NetdmaMetric::kAborts)) +
         fmt::format("** {}.\n", state_of(report)) + not_for_whom(service);
}

// --- applications ---

constexpr NetshParameter kAddApplicationParameters[] = {{"application", "<PATH>", true},
                                                        {"state", "enabled|disabled"}};
constexpr NetshParameter kDeleteApplicationParameters[] = {{"application", "<PATH>", true}};

Result<std::string> show_applications(Service& service, const NetshValues& /*values*/) {
  const auto& list = service.settings().list(Setting::kChimneyApplications);
  if (list.empty()) return std::string("\n");
  Table table({{"Application"}, {"State"}});
  for (const std::string& text : list)
    if (const auto entry = settings::parse_application(text))
      table.add_row({entry->path, entry->is_enabled ? "enabled" : "disabled"});
  return table.to_text();
}

// Without the row of this program, whatever its state.
std::vector<std::string> without(const std::vector<std::string>& list, const std::string& path) {
  std::vector<std::string> kept;
  for (const std::string& text : list)
    if (const auto entry = settings::parse_application(text); entry && entry->path != path)
      kept.push_back(text);
  return kept;
}

Result<std::string> store_list(Service& service, Setting id, const std::vector<std::string>& list) {
  Settings wanted = service.stored_settings();
  if (auto done = wanted.set_list(settings::info_of(id), list); !done)
    return tl::unexpected(done.error());
  return change(service, wanted);
}

Result<std::string> add_application(Service& service, const NetshValues& values) {
  auto list = without(service.stored_settings().list(Setting::kChimneyApplications), *values[0]);
  list.push_back(settings::to_string(
      settings::ApplicationEntry{*values[0], values[1].value_or("enabled") == "enabled"}));
  return store_list(service, Setting::kChimneyApplications, list);
}

Result<std::string> delete_application(Service& service, const NetshValues& values) {
  const auto& list = service.stored_settings().list(Setting::kChimneyApplications);
  const auto kept = without(list, *values[0]);
  if (kept.size() == list.size())
    return fail(Errc::kNotFound, "the table has no application '" + *values[0] + "'");
  return store_list(service, Setting::kChimneyApplications, kept);
}

// --- ports ---

constexpr NetshParameter kPortParameters[] = {{"localport", "<*|1-65535>", true},
                                              {"remoteport", "<*|1-65535>", true}};

Result<std::string> show_ports(Service& service, const NetshValues& /*values*/) {
  const auto& list = service.settings().list(Setting::kChimneyPorts);
  if (list.empty()) return std::string("\n");
  Table table({{"Local Port", Table::Align::kRight}, {"Remote Port", Table::Align::kRight}});
  for (const std::string& text : list) {
    const std::size_t colon = text.find(':');
    table.add_row({text.substr(0, colon), text.substr(colon + 1)});
  }
  return table.to_text();
}

Result<std::string> add_port(Service& service, const NetshValues& values) {
  auto list = service.stored_settings().list(Setting::kChimneyPorts);
  list.push_back(*values[0] + ":" + *values[1]);
  return store_list(service, Setting::kChimneyPorts, list);
}

Result<std::string> delete_port(Service& service, const NetshValues& values) {
  auto list = service.stored_settings().list(Setting::kChimneyPorts);
  if (std::erase(list, *values[0] + ":" + *values[1]) == 0)
    return fail(Errc::kNotFound, "the table has no ports " + *values[0] + " and " + *values[1]);
  return store_list(service, Setting::kChimneyPorts, list);
}

// --- reset, dump ---

// Everything that this context sets.
constexpr Setting kOfTcp[] = {Setting::kChimney,
                              Setting::kRss,
                              Setting::kNetdma,
                              Setting::kDca,
                              Setting::kCongestionControl,
                              Setting::kChimneyApplications,
                              Setting::kChimneyPorts};

Result<std::string> reset_tcp(Service& service, const NetshValues& /*values*/) {
  Settings wanted = service.stored_settings();
  for (const Setting id : kOfTcp)
    wanted.reset(id);
  return change(service, wanted);
}

Result<std::string> dump_tcp(Service& service, const NetshValues& /*values*/) {
  const Settings& values = service.stored_settings();
  const std::string& provider = values.text(Setting::kCongestionControl);
  std::string text =
      "\n# ----------------------------------\n# TCP Configuration\n"
      "# ----------------------------------\npushd interface tcp\n\nreset\n";
  text += fmt::format("set global rss={} chimney={} congestionprovider={} netdma={} dca={}\n",
                      values.text(Setting::kRss), values.text(Setting::kChimney),
                      provider == "host" ? "none" : provider, values.text(Setting::kNetdma),
                      values.text(Setting::kDca));
  for (const std::string& row_text : values.list(Setting::kChimneyApplications))
    if (const auto entry = settings::parse_application(row_text))
      text += fmt::format("add chimneyapplication application=\"{}\" state={}\n", entry->path,
                          entry->is_enabled ? "enabled" : "disabled");
  for (const std::string& row_text : values.list(Setting::kChimneyPorts)) {
    const std::size_t colon = row_text.find(':');
    text += fmt::format("add chimneyport localport={} remoteport={}\n", row_text.substr(0, colon),
                        row_text.substr(colon + 1));
  }
  return text + "\npopd\n# End of TCP configuration\n";
}

// --- interface ip ---

constexpr NetshParameter kChimneyParameters[] = {{"state", "enabled|disabled", true}};

Result<std::string> set_chimney(Service& service, const NetshValues& values) {
  Settings wanted = service.stored_settings();
  if (auto done = set_one(wanted, Setting::kChimney, values[0]); !done)
    return tl::unexpected(done.error());
  return change(service, wanted);
}

Result<std::string> show_offload(Service& service, const NetshValues& /*values*/) {
  std::string text;
  for (const DeviceRow& device : service.devices()) {
    text += fmt::format("\nOffload Options for interface \"{}\" with index: {}\n", device.name,
                        device.ifindex);
    for (const std::string& option : device.task_offloads)
      text += option + "\n";
  }
  return text;
}

constexpr std::string_view kTcp = "interface tcp";
constexpr NetshCommand kCommands[] = {
    {"", "dump", "Displays a configuration script.", {}, false, dump_tcp},
    {"interface", "dump", "Displays a configuration script.", {}, false, dump_tcp},
    {"interface ip", "set chimney", "Switches TCP Chimney offload on or off.", kChimneyParameters,
     true, set_chimney},
    {"interface ip",
     "show offload",
     "Displays what the interfaces do for the host.",
     {},
     false,
     show_offload},
    {"interface ipv4", "set chimney", "Switches TCP Chimney offload on or off.", kChimneyParameters,
     true, set_chimney},
    {"interface ipv4",
     "show offload",
     "Displays what the interfaces do for the host.",
     {},
     false,
     show_offload},
    {"interface ipv6",
     "show offload",
     "Displays what the interfaces do for the host.",
     {},
     false,
     show_offload},
    {kTcp, "add chimneyapplication", "Adds an application to the TCP Chimney offload table.",
     kAddApplicationParameters, true, add_application},
    {kTcp, "add chimneyport", "Adds a port filter to the TCP Chimney table.", kPortParameters, true,
     add_port},
    {kTcp, "delete chimneyapplication",
     "Deletes an application from the TCP Chimney offload table.", kDeleteApplicationParameters,
     true, delete_application},
    {kTcp, "delete chimneyport", "Deletes a port filter from the TCP Chimney table.",
     kPortParameters, true, delete_port},
    {kTcp, "dump", "Displays a configuration script.", {}, false, dump_tcp},
    {kTcp, "reset", "Resets all TCP parameters to their defaults.", {}, true, reset_tcp},
    {kTcp, "set global", "Sets global TCP parameters.", kGlobalParameters, true, set_global},
    {kTcp,
     "show chimneyapplications",
     "Shows the applications in the TCP Chimney offload table.",
     {},
     false,
     show_applications},
    {kTcp,
     "show chimneyports",
     "Shows the port filters in the TCP Chimney table.",
     {},
     false,
     show_ports},
    {kTcp, "show chimneystats", "Shows TCP Chimney statistics by interface.", kIndexParameters,
     false, show_chimneystats},
    {kTcp, "show global", "Shows global TCP parameters.", {}, false, show_global},
    {kTcp, "show netdmastats", "Shows NetDMA statistics.", {}, false, show_netdmastats},
};

// --- the command of snp ---

void handle(Service& service, const Json& arguments, const Answer& answer) {
  const auto line = parse_netsh(argument_words(arguments, "WORD"));
  if (!line) return answer(tl::unexpected(line.error()));
  if (line->command == nullptr) return answer(Json{{"text", netsh_help(line->context)}});
  const auto text = line->command->run(service, line->values);
  if (!text) return answer(tl::unexpected(text.error()));
  answer(Json{{"text", *text}});
}

bool changes(const Json& arguments) {
  const auto line = parse_netsh(argument_words(arguments, "WORD"));
  return line && line->command != nullptr && line->command->changes_things;
}

std::string render(const Json& result) {
  return result.at("text").get<std::string>();
}

constexpr Argument kArguments[] = {
    {"WORD...", "a command of netsh; an interactive shell if there is none", false}};

}  // namespace

std::span<const NetshCommand> all_netsh_commands() noexcept {
  return kCommands;
}

const CommandSpec kNetsh{
    .path = "netsh",
    .help = "Look at settings and change them in the words of Windows' netsh.",
    .arguments = kArguments,
    .changes = changes,
    .handle = handle,
    .render = render,
};

}  // namespace snp::commands
