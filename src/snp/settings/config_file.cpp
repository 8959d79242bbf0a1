#include "snp/settings/config_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>

#include <toml++/toml.h>

namespace snp::settings {
namespace {

std::string place(const std::string& path, const toml::source_position& at) {
  return path + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

// Lines and columns count from 1, columns in characters; the byte there.
std::size_t offset_of(std::string_view text, const toml::source_position& at) {
  std::size_t offset = 0;
  for (auto line = at.line; line > 1 && offset < text.size(); --line)
    offset = std::min(text.find('\n', offset), text.size() - 1) + 1;
  const auto is_inside = [&] { return (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80; };
  for (auto column = at.column; column > 1 && offset < text.size(); --column) {
    ++offset;
    while (offset < text.size() && is_inside())
      ++offset;
  }
  return offset;
}

std::string_view source_text(std::string_view text, const toml::source_region& source) {
  const std::size_t begin = offset_of(text, source.begin);
  const std::size_t end = offset_of(text, source.end);
  return end < begin ? std::string_view() : text.substr(begin, end - begin);
}

Result<> refuse(const SettingInfo& info, std::string_view value) {
  const std::string_view first_line = value.substr(0, value.find('\n'));
  return fail(Errc::kInvalid, "setting '" + std::string(info.name) + "': '" +
                                  std::string(first_line) + "' is not allowed; give " +
                                  allowed_values(info));
}

Result<> read_list(const SettingInfo& info, const toml::array& array, std::string_view source,
                   Settings& values) {
  std::vector<std::string> elements;
  for (const toml::node& item : array) {
    if (const auto number = item.value_exact<std::int64_t>())
      elements.push_back(std::to_string(*number));
    else if (const auto text = item.value_exact<std::string>())
      elements.push_back(*text);
    else
      return refuse(info, source);
  }
  return values.set_list(info, elements);
}

Result<> read_entry(std::string_view key, const toml::node& node, std::string_view source,
                    Settings& values) {
  const SettingInfo* info = find_setting(key);
  if (info == nullptr)
    return fail(Errc::kNotFound, "there is no setting '" + std::string(key) + "'");
  if (const auto number = node.value_exact<std::int64_t>())
    return values.set_number(*info, *number);
  if (const auto text = node.value_exact<std::string>()) return values.set(key, *text);
  if (info->type == SettingType::kList && node.is_array())
    return read_list(*info, *node.as_array(), source, values);
  return refuse(*info, source);
}

Result<toml::table> parse_table(std::string_view text, const std::string& path) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(Errc::kInvalid,
                place(path, error.source().begin) + ": " + std::string(error.description()));
  }
}

// Bytes of the old text and what stands there in the new one.
struct Edit {
  std::size_t begin, end;
  std::string text;
};

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 32 && c != 127) {
      out += c;
      continue;
    }
    std::array<char, 8> escape{};
    std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
    out += escape.data();
  }
  return out + "\"";
}

std::string value_text(const SettingInfo& info, const Settings& values) {
  if (info.type == SettingType::kNumber) return std::to_string(values.number(info.id));
  if (info.type != SettingType::kList) return quoted(values.text(info.id));
  std::string text;
  for (const std::string& element : values.list(info.id)) {
    if (!text.empty()) text += ", ";
    text += info.element == Element::kPort ? element : quoted(element);
  }
  return "[" + text + "]";
}

std::string line_of(const SettingInfo& info, const Settings& values) {
  return std::string(info.name) + " = " + value_text(info, values) + "\n";
}

Edit edit_one(std::string_view text, const toml::table& table, const SettingInfo& info,
              const Settings& after) {
  const auto found = table.find(info.name);
  const bool is_default = after.is_default(info.id);
  if (found == table.end()) {
    std::string line = is_default ? "" : line_of(info, after);
    if (!line.empty() && !text.empty() && text.back() != '\n') line.insert(0, "\n");
    return {text.size(), text.size(), std::move(line)};
  }
  const std::size_t value_end = offset_of(text, found->second.source().end);
  if (!is_default)
    return {offset_of(text, found->second.source().begin), value_end, value_text(info, after)};
  toml::source_position line_begin = found->first.source().begin;
  line_begin.column = 1;
  const std::size_t line_end = std::min(text.find('\n', value_end), text.size() - 1) + 1;
  return {offset_of(text, line_begin), line_end, ""};
}

}  // namespace

Result<Settings> parse_config(std::string_view text, const std::string& path,
                              const Settings& base) {
  const auto table = parse_table(text, path);
  if (!table) return tl::unexpected(table.error());
  Settings values = base;
  for (const auto& [key, node] : *table) {
    auto done = read_entry(key.str(), node, source_text(text, node.source()), values);
    if (!done) {
      const toml::source_region& source = node.is_table() ? key.source() : node.source();
      return with_context(place(path, source.begin), done.error());
    }
  }
  return values;
}

Result<Settings> read_config(const std::string& path, const Settings& base) {
  std::ifstream file(path);
  if (!file) return fail_errno("cannot read the configuration file " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_config(text.str(), path, base);
}

std::string to_toml(const Settings& values) {
  std::string text;
  for (const SettingInfo& info : all_settings())
    if (!values.is_default(info.id)) text += line_of(info, values);
  return text;
}

Result<std::string> edit_config(std::string_view text, const std::string& path,
                                const Settings& before, const Settings& after) {
  const auto table = parse_table(text, path);
  if (!table) return tl::unexpected(table.error());
  auto wanted = parse_config(text, path, {});
  if (!wanted) return tl::unexpected(wanted.error());
  std::vector<Edit> edits;
  for (const SettingInfo& info : all_settings()) {
    if (before.is_same(info.id, after)) continue;
    wanted->copy(info.id, after);
    edits.push_back(edit_one(text, *table, info, after));
  }
  // From the back, so that the offsets in front stay true.
  std::stable_sort(edits.begin(), edits.end(),
                   [](const Edit& a, const Edit& b) { return a.begin > b.begin; });
  std::string edited(text);
  for (const Edit& edit : edits)
    edited.replace(edit.begin, edit.end - edit.begin, edit.text);
  const auto read_back = parse_config(edited, path, {});
  const bool is_right =
      read_back && std::all_of(all_settings().begin(), all_settings().end(), [&](const auto& info) {
        return read_back->is_same(info.id, *wanted);
      });
  if (!is_right)
    return fail(Errc::kUnsupported,
                path + ": written in a way that snpd cannot change; change the setting there");
  return edited;
}

}  // namespace snp::settings
