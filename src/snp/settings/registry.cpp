#include "snp/settings/registry.h"

#include <algorithm>

namespace snp::settings {
namespace {

constexpr RegistryInfo kTable[] = {
#define SNP_REGISTRY(symbol, name, kind) {Setting::symbol, name, RegistryKind::kind},
#include "snp/settings/settings.def"
};

constexpr std::string_view kDisabled = "disabled";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_same_text(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view take_part(std::string_view& key) {
  const std::size_t end = key.find('\\');
  const std::string_view part = key.substr(0, end);
  key.remove_prefix(end == std::string_view::npos ? key.size() : end + 1);
  return part;
}

bool is_control_set(std::string_view part) {
  for (const std::string_view name :
       {"CurrentControlSet", "ControlSet001", "ControlSet002", "ControlSet003"})
    if (is_same_text(part, name)) return true;
  return false;
}

// The way of being on when it was off: the default if that is one, else the first that is none of
// `disabled`.
std::string on_value(const SettingInfo& info) {
  if (info.text != kDisabled) return std::string(info.text);
  return std::string(info.choices.substr(0, info.choices.find('|')));
}

Result<> set_switch(const RegistryInfo& info, std::uint32_t value, Settings& values) {
  if (value > 1)
    return fail(Errc::kInvalid, std::string(info.name) + ": " + std::to_string(value) +
                                    " is not allowed; give 0 (off) or 1 (on)");
  const SettingInfo& setting = info_of(info.setting);
  if (value == 0) return values.set(setting.name, kDisabled);
  if (values.text(info.setting) != kDisabled) return {};  // on already, in its own way
  return values.set(setting.name, on_value(setting));
}

}  // namespace

std::span<const RegistryInfo> all_registry_values() noexcept {
  return kTable;
}

const RegistryInfo* find_registry_value(std::string_view name) noexcept {
  for (const RegistryInfo& info : kTable)
    if (is_same_text(info.name, name)) return &info;
  return nullptr;
}

bool is_registry_key(std::string_view key) noexcept {
  const std::string_view hive = take_part(key);
  if (!is_same_text(hive, "HKEY_LOCAL_MACHINE") && !is_same_text(hive, "HKLM")) return false;
  if (!is_same_text(take_part(key), "SYSTEM") || !is_control_set(take_part(key))) return false;
  return is_same_text(take_part(key), "Services") && is_same_text(take_part(key), "Tcpip") &&
         is_same_text(take_part(key), "Parameters") && key.empty();
}

RegistryData registry_data(const RegistryInfo& info, const Settings& values) {
  switch (info.kind) {
    case RegistryKind::kSwitch:
      return std::uint32_t{values.text(info.setting) != kDisabled};
    case RegistryKind::kNumber:
      return static_cast<std::uint32_t>(values.number(info.setting));
    case RegistryKind::kMultiString:
      break;
  }
  return values.list(info.setting);
}

Result<> set_registry_data(const RegistryInfo& info, const RegistryData& data, Settings& values,
                           std::vector<std::string>& ignored) {
  const SettingInfo& setting = info_of(info.setting);
  if (info.kind != RegistryKind::kMultiString) {
    const auto* number = std::get_if<std::uint32_t>(&data);
    if (number == nullptr)
      return fail(Errc::kInvalid, std::string(info.name) + ": its type is REG_DWORD");
    if (info.kind == RegistryKind::kSwitch) return set_switch(info, *number, values);
    return values.set_number(setting, *number);
  }
  const auto* strings = std::get_if<std::vector<std::string>>(&data);
  if (strings == nullptr)
    return fail(Errc::kInvalid, std::string(info.name) + ": its type is REG_MULTI_SZ");
  std::string text;
  for (const std::string& string : *strings)
    text += string + " ";
  const PortList list = read_port_list(text);
  for (const std::string& line : list.ignored)
    ignored.push_back(std::string(info.name) + ": ignored " + line);
  return values.set_list(setting, list.ports);
}

}  // namespace snp::settings
