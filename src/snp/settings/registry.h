// The settings under the names that the original has in the registry (reference 2.1, 2.3), and how
// their values look there. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "snp/base/result.h"
#include "snp/settings/settings.h"

namespace snp::settings {

inline constexpr std::string_view kRegistryKey =
    "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters";

enum class RegistryKind : std::uint8_t {
  kSwitch,       // REG_DWORD: 0 "disabled", 1 on. A choice with two ways of being on keeps its way
  kNumber,       // REG_DWORD
  kMultiString,  // REG_MULTI_SZ: ports (reference 2.2)
};

struct RegistryInfo {
  Setting setting;
  std::string_view name;
  RegistryKind kind;
};

std::span<const RegistryInfo> all_registry_values() noexcept;
const RegistryInfo* find_registry_value(std::string_view name) noexcept;  // case does not matter

// Is it our key? HKLM and CurrentControlSet may be written as ControlSet001 to 003; case and a last
// backslash do not matter.
bool is_registry_key(std::string_view key) noexcept;

using RegistryData = std::variant<std::uint32_t, std::vector<std::string>>;  // by kind

// Every value exists; at the default of its setting when nobody has set it.
RegistryData registry_data(const RegistryInfo& info, const Settings& values);

// What was ignored of a list of ports is appended to `ignored`, one line each.
Result<> set_registry_data(const RegistryInfo& info, const RegistryData& data, Settings& values,
                           std::vector<std::string>& ignored);

}  // namespace snp::settings
