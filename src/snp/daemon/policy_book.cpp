#include "snp/daemon/policy_book.h"

#include <array>
#include <climits>
#include <cstdlib>

#include "snp/commands/rule_limits.h"

namespace snp::daemon {
namespace {

using settings::Setting;
using settings::Settings;

std::vector<std::uint16_t> ports_of(const Settings& values, Setting id) {
  std::vector<std::uint16_t> ports;
  for (const std::string& text : values.list(id))
    if (const auto port = settings::parse_port(text)) ports.push_back(*port);
  return ports;
}

// /usr/bin/redis-server is a symbolic link; a process knows only where it leads.
void add_target(std::vector<std::string>& paths, const std::string& path) {
  std::array<char, PATH_MAX> real{};
  if (::realpath(path.c_str(), real.data()) != nullptr && path != real.data())
    paths.emplace_back(real.data());
}

chimney::Mode mode_of(const std::string& text) {
  if (text == "disabled") return chimney::Mode::kDisabled;
  return text == "enabled" ? chimney::Mode::kEnabled : chimney::Mode::kAutomatic;
}

}  // namespace

Result<> PolicyBook::set_rules(const std::string& text, const std::string& name,
                               const Settings& settings) {
  const auto shards = static_cast<std::uint32_t>(settings.number(Setting::kShards));
  auto rules = chimney::parse_rules(text, name, commands::rule_limits(shards));
  if (!rules) return tl::unexpected(rules.error());
  for (chimney::Rule& rule : *rules)
    for (chimney::Condition& condition : rule.conditions)
      if (condition.what == chimney::Condition::What::kProgram)
        for (std::size_t i = 0, n = condition.names.size(); i < n; ++i)
          if (condition.names[i].front() == '/')
            add_target(condition.names, std::string(condition.names[i]));
  policy_.rules = std::move(*rules);
  return {};
}

void PolicyBook::follow(const Settings& settings) {
  policy_.mode = mode_of(settings.text(Setting::kChimney));
  policy_.enabled_local = ports_of(settings, Setting::kEnabledLocalPorts);
  policy_.enabled_remote = ports_of(settings, Setting::kEnabledRemotePorts);
  policy_.disabled_local = ports_of(settings, Setting::kDisabledLocalPorts);
  policy_.disabled_remote = ports_of(settings, Setting::kDisabledRemotePorts);
  policy_.applications.clear();
  for (const std::string& text : settings.list(Setting::kChimneyApplications))
    if (const auto entry = settings::parse_application(text)) {
      chimney::Application application{{entry->path}, entry->is_enabled};
      add_target(application.paths, entry->path);
      policy_.applications.push_back(std::move(application));
    }
  policy_.devices.clear();
  for (const std::string& text : settings.list(Setting::kChimneyDevices))
    if (const auto entry = settings::parse_device_switch(text))
      policy_.devices.push_back({entry->device, entry->is_ipv4_on, entry->is_ipv6_on});
  policy_.port_pairs.clear();
  for (const std::string& text : settings.list(Setting::kChimneyPorts))
    if (const auto pair = settings::parse_port_pair(text))
      policy_.port_pairs.push_back({pair->local, pair->remote});
  policy_.automatic_bytes = static_cast<std::uint64_t>(settings.number(Setting::kAutomaticBytes));
  policy_.automatic_calls = static_cast<std::uint64_t>(settings.number(Setting::kAutomaticCalls));
}

}  // namespace snp::daemon
