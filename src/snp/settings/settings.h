// Run-time settings: typed values over one table (settings.def). Knows no file format (see
// config_file.h) and applies nothing by itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "snp/base/result.h"

namespace snp::settings {

enum class Setting : std::uint8_t {
#define SNP_NUMBER(symbol, name, unit, value, min, max, change, help) symbol,
#define SNP_CHOICE(symbol, name, value, choices, change, help) symbol,
#define SNP_TEXT(symbol, name, value, change, help) symbol,
#include "snp/settings/settings.def"
#undef SNP_NUMBER
#undef SNP_CHOICE
#undef SNP_TEXT
  kCount,
};

inline constexpr std::size_t kSettings = static_cast<std::size_t>(Setting::kCount);

enum class SettingType : std::uint8_t { kNumber, kChoice, kText };
enum class Change : std::uint8_t { kLive, kRestart };

struct SettingInfo {
  Setting id;
  SettingType type;
  Change change;
  std::string_view name, unit, help;
  std::int64_t number, min, max;  // kNumber
  std::string_view text;          // default of the others
  std::string_view choices;       // kChoice: separated by |
};

std::span<const SettingInfo> all_settings() noexcept;
const SettingInfo& info_of(Setting) noexcept;
const SettingInfo* find_setting(std::string_view name) noexcept;  // nullptr: no such setting

// "1..64 threads", "disabled|enabled|automatic", "text": what a value may be.
std::string allowed_values(const SettingInfo& info);

class Settings {
 public:
  Settings();  // the defaults

  // Pre: the setting is of that type.
  [[nodiscard]] std::int64_t number(Setting) const noexcept;
  [[nodiscard]] const std::string& text(Setting) const noexcept;

  [[nodiscard]] std::string to_text(Setting) const;
  [[nodiscard]] bool is_default(Setting) const;

  // From a person. Numbers of bytes take a suffix K, M or G. The error names the setting, the value
  // and what is allowed.
  Result<> set(std::string_view name, std::string_view value);
  Result<> set_number(const SettingInfo& info, std::int64_t value);
  void reset(Setting);

 private:
  struct Value {
    std::int64_t number = 0;
    std::string text;
  };
  Value& at(Setting id) noexcept { return values_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] const Value& at(Setting id) const noexcept {
    return values_[static_cast<std::size_t>(id)];
  }
  std::array<Value, kSettings> values_;
};

}  // namespace snp::settings
