#include "snp/settings/settings.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "snp/base/assert.h"

namespace snp::settings {
namespace {

constexpr SettingInfo number_row(Setting id, std::string_view name, std::string_view unit,
                                 std::int64_t value, std::int64_t min, std::int64_t max,
                                 Change change, std::string_view help) {
  return {id, SettingType::kNumber, change, name, unit, help, value, min, max, "",
          "", Element::kNone,       0};
}

constexpr SettingInfo text_row(Setting id, SettingType type, std::string_view name,
                               std::string_view value, std::string_view choices, Change change,
                               std::string_view help) {
  return {id, type, change, name, "", help, 0, 0, 0, value, choices, Element::kNone, 0};
}

constexpr SettingInfo list_row(Setting id, std::string_view name, Element element, std::size_t most,
                               Change change, std::string_view help) {
  return {id, SettingType::kList, change, name, "", help, 0, 0, 0, "", "", element, most};
}

constexpr SettingInfo kTable[] = {
#define SNP_NUMBER(symbol, name, unit, value, min, max, change, help) \
  number_row(Setting::symbol, name, unit, value, min, max, Change::change, help),
#define SNP_CHOICE(symbol, name, value, choices, change, help) \
  text_row(Setting::symbol, SettingType::kChoice, name, value, choices, Change::change, help),
#define SNP_TEXT(symbol, name, value, change, help) \
  text_row(Setting::symbol, SettingType::kText, name, value, "", Change::change, help),
#define SNP_LIST(symbol, name, element, most, change, help) \
  list_row(Setting::symbol, name, Element::element, most, Change::change, help),
#include "snp/settings/settings.def"
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

std::vector<std::string> split(const SettingInfo& info, std::string_view text) {
  const std::string_view separators = info.element == Element::kPort ? " ,\t" : ";";
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of(separators);
    if (end != 0) words.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return words;
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
    case SettingType::kList:
      return "at most " + std::to_string(info.most) + ", each " +
             std::string(allowed_element(info.element));
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
  SNP_ASSERT(info_of(id).type == SettingType::kChoice || info_of(id).type == SettingType::kText);
  return at(id).text;
}

const std::vector<std::string>& Settings::list(Setting id) const noexcept {
  SNP_ASSERT(info_of(id).type == SettingType::kList);
  return at(id).elements;
}

std::string Settings::to_text(Setting id) const {
  const SettingInfo& info = info_of(id);
  if (info.type == SettingType::kNumber) return std::to_string(at(id).number);
  if (info.type != SettingType::kList) return at(id).text;
  std::string text;
  for (const std::string& element : at(id).elements) {
    if (!text.empty()) text += info.element == Element::kPort ? ", " : ";";
    text += element;
  }
  return text;
}

bool Settings::is_default(Setting id) const {
  return at(id) == default_value(info_of(id));
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
  if (info->type == SettingType::kList) return set_list(*info, split(*info, value));
  if (info->type == SettingType::kChoice && !is_choice(info->choices, value))
    return refuse(*info, value);
  at(info->id).text = value;
  return {};
}

Result<> Settings::set_list(const SettingInfo& info, const std::vector<std::string>& elements) {
  if (info.type != SettingType::kList)
    return refuse(info, elements.empty() ? "[]" : elements.front());
  std::vector<std::string> accepted;
  for (const std::string& element : elements) {
    auto normal = normal_form(info.element, element);
    if (!normal) return refuse(info, element);
    if (std::find(accepted.begin(), accepted.end(), *normal) == accepted.end())
      accepted.push_back(std::move(*normal));
  }
  if (accepted.size() > info.most)
    return refuse(info, std::to_string(accepted.size()) + " elements");
  at(info.id).elements = std::move(accepted);
  return {};
}

void Settings::reset(Setting id) {
  at(id) = default_value(info_of(id));
}

Settings::Value Settings::default_value(const SettingInfo& info) {
  return {info.number, std::string(info.text), {}};
}

}  // namespace snp::settings
