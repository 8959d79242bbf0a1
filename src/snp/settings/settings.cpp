#include "snp/settings/settings.h"

#include <charconv>
#include <limits>

#include "snp/base/assert.h"

namespace snp::settings {
namespace {

constexpr SettingInfo kTable[] = {
#define SNP_NUMBER(symbol, name, unit, value, min, max, change, help) \
  {Setting::symbol,                                                   \
   SettingType::kNumber,                                              \
   Change::change,                                                    \
   name,                                                              \
   unit,                                                              \
   help,                                                              \
   value,                                                             \
   min,                                                               \
   max,                                                               \
   "",                                                                \
   ""},
#define SNP_CHOICE(symbol, name, value, choices, change, help) \
  {Setting::symbol, SettingType::kChoice, Change::change, name, "", help, 0, 0, 0, value, choices},
#define SNP_TEXT(symbol, name, value, change, help) \
  {Setting::symbol, SettingType::kText, Change::change, name, "", help, 0, 0, 0, value, ""},
#include "snp/settings/settings.def"
#undef SNP_NUMBER
#undef SNP_CHOICE
#undef SNP_TEXT
};
static_assert(std::size(kTable) == kSettings);

Failure refuse(const SettingInfo& info, std::string_view value) {
  return fail(Errc::kInvalid, "setting '" + std::string(info.name) + "': '" + std::string(value) +
                                  "' is not allowed; give " + allowed_values(info));
}

bool is_choice(std::string_view choices, std::string_view value) {
  while (!choices.empty()) {
    const std::size_t bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) break;
    choices.remove_prefix(bar + 1);
  }
  return false;
}

std::int64_t factor_of(char suffix) {
  switch (suffix) {
    case 'K':
      return 1LL << 10;
    case 'M':
      return 1LL << 20;
    case 'G':
      return 1LL << 30;
    default:
      return 1;
  }
}

std::optional<std::int64_t> parse_number(std::string_view text, bool is_bytes) {
  std::int64_t factor = 1;
  if (is_bytes && !text.empty()) factor = factor_of(text.back());
  if (factor != 1) text.remove_suffix(1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > std::numeric_limits<std::int64_t>::max() / factor || number < 0) return std::nullopt;
  return number * factor;
}

}  // namespace

std::span<const SettingInfo> all_settings() noexcept {
  return kTable;
}

const SettingInfo& info_of(Setting id) noexcept {
  SNP_ASSERT(id < Setting::kCount);
  return kTable[static_cast<std::size_t>(id)];
}

const SettingInfo* find_setting(std::string_view name) noexcept {
  for (const SettingInfo& info : kTable)
    if (info.name == name) return &info;
  return nullptr;
}

std::string allowed_values(const SettingInfo& info) {
  switch (info.type) {
    case SettingType::kNumber: {
      std::string range = std::to_string(info.min) + ".." + std::to_string(info.max);
      if (!info.unit.empty()) range += " " + std::string(info.unit);
      return range;
    }
    case SettingType::kChoice:
      return std::string(info.choices);
    case SettingType::kText:
      return "text";
  }
  return {};
}

Settings::Settings() {
  for (const SettingInfo& info : kTable)
    reset(info.id);
}

std::int64_t Settings::number(Setting id) const noexcept {
  SNP_ASSERT(info_of(id).type == SettingType::kNumber);
  return at(id).number;
}

const std::string& Settings::text(Setting id) const noexcept {
  SNP_ASSERT(info_of(id).type != SettingType::kNumber);
  return at(id).text;
}

std::string Settings::to_text(Setting id) const {
  return info_of(id).type == SettingType::kNumber ? std::to_string(at(id).number) : at(id).text;
}

bool Settings::is_default(Setting id) const {
  const SettingInfo& info = info_of(id);
  return at(id).number == info.number && at(id).text == info.text;
}

Result<> Settings::set_number(const SettingInfo& info, std::int64_t value) {
  if (info.type != SettingType::kNumber || value < info.min || value > info.max)
    return refuse(info, std::to_string(value));
  at(info.id).number = value;
  return {};
}

Result<> Settings::set(std::string_view name, std::string_view value) {
  const SettingInfo* info = find_setting(name);
  if (info == nullptr)
    return fail(Errc::kNotFound,
                "there is no setting '" + std::string(name) + "'; 'snp settings' lists them");
  if (info->type == SettingType::kNumber) {
    const auto number = parse_number(value, info->unit == "bytes");
    if (!number || *number < info->min || *number > info->max) return refuse(*info, value);
    at(info->id).number = *number;
    return {};
  }
  if (info->type == SettingType::kChoice && !is_choice(info->choices, value))
    return refuse(*info, value);
  at(info->id).text = value;
  return {};
}

void Settings::reset(Setting id) {
  const SettingInfo& info = info_of(id);
  at(id) = {info.number, std::string(info.text)};
}

}  // namespace snp::settings
