#include "snp/settings/config_file.h"

#include <fstream>
#include <sstream>

#include <toml++/toml.h>

namespace snp::settings {
namespace {

std::string place(const std::string& path, const toml::source_region& source) {
  return path + ":" + std::to_string(source.begin.line) + ":" + std::to_string(source.begin.column);
}

Result<> read_devices(const toml::node& node, std::vector<std::string>& devices) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return fail(Errc::kInvalid, "devices: give a list of texts");
  devices.clear();
  for (const toml::node& item : *list) {
    const auto name = item.value_exact<std::string>();
    if (!name) return fail(Errc::kInvalid, "devices: give a list of texts");
    devices.push_back(*name);
  }
  return {};
}

Result<> read_entry(std::string_view key, const toml::node& node, Config& config) {
  if (key == "devices") return read_devices(node, config.devices);
  const SettingInfo* info = find_setting(key);
  if (info == nullptr)
    return fail(Errc::kNotFound, "there is no setting '" + std::string(key) + "'");
  if (const auto number = node.value_exact<std::int64_t>())
    return config.settings.set_number(*info, *number);
  if (const auto text = node.value_exact<std::string>()) return config.settings.set(key, *text);
  return fail(Errc::kInvalid, "setting '" + std::string(key) + "': give " + allowed_values(*info));
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& path, const Config& base) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(Errc::kInvalid,
                place(path, error.source()) + ": " + std::string(error.description()));
  }
  Config config = base;
  for (const auto& [key, node] : table) {
    auto done = read_entry(key.str(), node, config);
    if (!done) {
      const toml::source_region& source = node.is_table() ? key.source() : node.source();
      return with_context(place(path, source), done.error());
    }
  }
  return config;
}

Result<Config> read_config(const std::string& path, const Config& base) {
  std::ifstream file(path);
  if (!file) return fail_errno("cannot read the configuration file " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_config(text.str(), path, base);
}

}  // namespace snp::settings
