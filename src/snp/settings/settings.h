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
#include <vector>

#include "snp/base/result.h"
#include "snp/settings/elements.h"

namespace snp::settings {

enum class Setting : std::uint8_t {
#define SNP_NUMBER(symbol, ...) symbol,
#define SNP_CHOICE(symbol, ...) symbol,
#define SNP_TEXT(symbol, ...) symbol,
#define SNP_LIST(symbol, ...) symbol,
#include "snp/settings/settings.def"
  kCount,
};

inline constexpr std::size_t kSettings = static_cast<std::size_t>(Setting::kCount);

enum class SettingType : std::uint8_t { kNumber, kChoice, kText, kList };
enum class Change : std::uint8_t { kLive, kRestart };

struct SettingInfo {
  Setting id;
  SettingType type;
  Change change;
  std::string_view name, unit, help;
  std::int64_t number, min, max;  // kNumber
  std::string_view text;          // default of the others
  std::string_view choices;       // kChoice: separated by |
  Element element;                // kList
  std::size_t most;               // kList: elements
};

std::span<const SettingInfo> all_settings() noexcept;
const SettingInfo& info_of(Setting) noexcept;
const SettingInfo* find_setting(std::string_view name) noexcept;  // nullptr: no such setting

// "1..64 threads", "disabled|enabled|automatic", "text", "at most 12 ports, 1..65535": what a value
// may be.
std::string allowed_values(const SettingInfo& info);

class Settings {
 public:
  Settings();  // the defaults

  // Pre: the setting is of that type.
  [[nodiscard]] std::int64_t number(Setting) const noexcept;
  [[nodiscard]] const std::string& text(Setting) const noexcept;
  [[nodiscard]] const std::vector<std::string>& list(Setting) const noexcept;  // in normal form

  [[nodiscard]] std::string to_text(Setting) const;  // ports with ", " between, other elements ";"
  [[nodiscard]] bool is_default(Setting) const;
  [[nodiscard]] bool is_same(Setting id, const Settings& other) const {
    return at(id) == other.at(id);
  }

  // From a person. Numbers of bytes take a suffix K, M or G; elements of a list stand between
  // commas or blanks if they are ports, else between semicolons. The error names the setting, the
  // value and what is allowed, and nothing is changed.
  Result<> set(std::string_view name, std::string_view value);
  Result<> set_number(const SettingInfo& info, std::int64_t value);
  Result<> set_list(const SettingInfo& info, const std::vector<std::string>& elements);
  void reset(Setting);
  void copy(Setting id, const Settings& from) { at(id) = from.at(id); }

 private:
  struct Value {
    std::int64_t number = 0;
    std::string text;
    std::vector<std::string> elements;
    bool operator==(const Value&) const = default;
  };
  static Value default_value(const SettingInfo& info);
  Value& at(Setting id) noexcept { return values_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] const Value& at(Setting id) const noexcept {
    return values_[static_cast<std::size_t>(id)];
  }
  std::array<Value, kSettings> values_;
};

}  // namespace snp::settings
