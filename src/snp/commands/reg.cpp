// `snp reg`: the settings under their names in the registry of the original, in the words of
// Windows' reg.exe.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "snp/commands/command.h"
#include "snp/commands/files.h"
#include "snp/settings/config_file.h"
#include "snp/settings/reg_file.h"
#include "snp/settings/registry.h"

namespace snp::commands {
namespace {

using settings::RegistryData;
using settings::RegistryInfo;
using settings::RegistryKind;

// What follows `reg add`, `query` and `delete`: [KEY] [/v NAME] [/t TYPE] [/d DATA] [/s SEPARATOR]
// [/va] [/f].
struct Words {
  std::optional<std::string> name, type, data, separator;
  bool is_all = false;
};

bool is_same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == y;
  });
}

Result<Words> parse_words(const std::vector<std::string>& given) {
  Words words;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string& word = given[i];
    if (is_same_word(word, "/f")) continue;  // nothing asks back here
    if (is_same_word(word, "/va") || is_same_word(word, "/ve")) {
      words.is_all = is_same_word(word, "/va");
      continue;
    }
    std::optional<std::string>* place = is_same_word(word, "/v")   ? &words.name
                                        : is_same_word(word, "/t") ? &words.type
                                        : is_same_word(word, "/d") ? &words.data
                                        : is_same_word(word, "/s") ? &words.separator
                                                                   : nullptr;
    if (place != nullptr) {
      if (++i == given.size())
        return fail(Errc::kInvalid, "reg: " + word + " needs a word after it");
      *place = given[i];
      continue;
    }
    if (i != 0 || word.empty() || word.front() == '/')
      return fail(Errc::kInvalid, "reg: '" + word + "' is not understood; see 'snp reg --help'");
    if (!settings::is_registry_key(word))
      return fail(Errc::kNotFound, "reg: there is no key '" + word + "'; the only one is " +
                                       std::string(settings::kRegistryKey));
  }
  return words;
}

Result<const RegistryInfo*> find_value(const std::string& name) {
  const RegistryInfo* info = settings::find_registry_value(name);
  if (info == nullptr)
    return fail(Errc::kNotFound,
                "reg: there is no value '" + name + "'; 'snp reg query' lists them");
  return info;
}

const char* type_name(const RegistryInfo& info) {
  return info.kind == RegistryKind::kMultiString ? "REG_MULTI_SZ" : "REG_DWORD";
}

Json to_json(const RegistryInfo& info, const settings::Settings& values) {
  const RegistryData data = settings::registry_data(info, values);
  Json json{{"name", std::string(info.name)}, {"type", type_name(info)}};
  if (const auto* number = std::get_if<std::uint32_t>(&data))
    json["data"] = *number;
  else
    json["data"] = std::get<std::vector<std::string>>(data);
  json["setting"] = std::string(settings::info_of(info.setting).name);
  return json;
}

std::string data_text(const Json& data) {
  if (data.is_number()) return fmt::format("{:#x}", data.get<std::uint32_t>());
  std::string text;
  for (const Json& string : data)
    text += (text.empty() ? "" : "\\0") + string.get<std::string>();
  return text;
}

// --- query ---

void handle_query(Service& service, const Json& arguments, const Answer& answer) {
  const auto words = parse_words(argument_words(arguments, "WORD"));
  if (!words) return answer(tl::unexpected(words.error()));
  Json rows = Json::array();
  if (words->name) {
    const auto info = find_value(*words->name);
    if (!info) return answer(tl::unexpected(info.error()));
    rows.push_back(to_json(**info, service.stored_settings()));
  } else {
    for (const RegistryInfo& info : settings::all_registry_values())
      rows.push_back(to_json(info, service.stored_settings()));
  }
  answer(Json{{"key", std::string(settings::kRegistryKey)}, {"values", std::move(rows)}});
}

std::string render_query(const Json& result) {
  std::string text = "\n" + result.at("key").get<std::string>() + "\n";
  for (const Json& row : result.at("values"))
    text += fmt::format("    {}    {}    {}\n", row.at("name").get<std::string>(),
                        row.at("type").get<std::string>(), data_text(row.at("data")));
  return text + "\n";
}

// --- add, delete, import ---

void change(Service& service, const settings::Settings& wanted,
            const std::vector<std::string>& ignored, const Answer& answer) {
  if (auto done = service.change_settings(wanted); !done)
    return answer(tl::unexpected(done.error()));
  for (const std::string& line : ignored)
    service.log(line);
  answer(Json{{"ignored", ignored}});
}

std::string render_change(const Json& result) {
  std::string text;
  for (const Json& line : result.at("ignored"))
    text += line.get<std::string>() + "\n";
  return text + "The operation completed successfully.\n";
}

Result<RegistryData> parse_data(const RegistryInfo& info, const Words& words) {
  if (words.type &&
      !is_same_word(*words.type,
                    info.kind == RegistryKind::kMultiString ? "reg_multi_sz" : "reg_dword"))
    return fail(Errc::kInvalid, "reg: the type of " + std::string(info.name) + " is " +
                                    type_name(info) + ", not " + *words.type);
  const std::string data = words.data.value_or("");
  if (info.kind == RegistryKind::kMultiString) {
    const std::string separator = words.separator.value_or("\\0");
    std::vector<std::string> strings;
    std::size_t begin = 0;
    for (std::size_t end = 0; !separator.empty() && end != std::string::npos;
         begin = end + separator.size()) {
      end = data.find(separator, begin);
      strings.push_back(data.substr(begin, end == std::string::npos ? end : end - begin));
      if (end == std::string::npos) break;
    }
    return strings;
  }
  const bool is_hex = data.size() > 2 && data[0] == '0' && (data[1] == 'x' || data[1] == 'X');
  const std::string_view digits = std::string_view(data).substr(is_hex ? 2 : 0);
  std::uint32_t number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, is_hex ? 16 : 10);
  if (error != std::errc{} || end != digits.data() + digits.size())
    return fail(Errc::kInvalid, "reg: '" + data + "' is no REG_DWORD; give 1 or 0x1");
  return number;
}

void handle_add(Service& service, const Json& arguments, const Answer& answer) {
  const auto words = parse_words(argument_words(arguments, "WORD"));
  if (!words) return answer(tl::unexpected(words.error()));
  if (!words->name) return answer(fail(Errc::kInvalid, "reg add: give /v NAME"));
  const auto info = find_value(*words->name);
  if (!info) return answer(tl::unexpected(info.error()));
  const auto data = parse_data(**info, *words);
  if (!data) return answer(tl::unexpected(data.error()));
  settings::Settings wanted = service.stored_settings();
  std::vector<std::string> ignored;
  if (auto done = settings::set_registry_data(**info, *data, wanted, ignored); !done)
    return answer(tl::unexpected(done.error()));
  change(service, wanted, ignored, answer);
}

void handle_delete(Service& service, const Json& arguments, const Answer& answer) {
  const auto words = parse_words(argument_words(arguments, "WORD"));
  if (!words) return answer(tl::unexpected(words.error()));
  if (words->is_all == words->name.has_value())
    return answer(fail(Errc::kInvalid, "reg delete: give /v NAME or /va"));
  settings::Settings wanted = service.stored_settings();
  if (words->name) {
    const auto info = find_value(*words->name);
    if (!info) return answer(tl::unexpected(info.error()));
    wanted.reset((*info)->setting);
  } else {
    for (const RegistryInfo& info : settings::all_registry_values())
      wanted.reset(info.setting);
  }
  change(service, wanted, {}, answer);
}

// What a file says of our values, the last word on each. snpd gets this for FILE, not a path.
Result<Json> prepare_import(const Json& arguments) {
  const std::string path = argument_text(arguments, "FILE");
  const auto bytes = read_file(path);
  if (!bytes) return tl::unexpected(bytes.error());
  const auto entries = settings::parse_reg_file(*bytes);
  if (!entries) return with_context(path, entries.error());
  Json values = Json::object();
  std::uint64_t others = 0;
  for (const settings::RegEntry& entry : *entries) {
    const bool is_ours = settings::is_registry_key(entry.key);
    const RegistryInfo* info = settings::find_registry_value(entry.name);
    if (entry.kind == settings::RegEntry::Kind::kDeleteKey && is_ours) {
      for (const RegistryInfo& each : settings::all_registry_values())
        values[std::string(each.name)] = nullptr;
      continue;
    }
    if (!is_ours || info == nullptr || entry.kind == settings::RegEntry::Kind::kDeleteKey) {
      ++others;
      continue;
    }
    Json& value = values[std::string(info->name)];
    value = nullptr;
    if (entry.kind == settings::RegEntry::Kind::kDeleteValue) continue;
    const auto data = settings::registry_data_of(entry);
    if (!data) return with_context(path, data.error());
    if (const auto* number = std::get_if<std::uint32_t>(&*data))
      value = *number;
    else
      value = std::get<std::vector<std::string>>(*data);
  }
  return Json{{"FILE", Json{{"path", path}, {"values", values}, {"others", others}}.dump()}};
}

Result<> import_value(const RegistryInfo& info, const Json& value, settings::Settings& wanted,
                      std::vector<std::string>& ignored) {
  if (value.is_null()) {
    wanted.reset(info.setting);
    return {};
  }
  RegistryData data = std::uint32_t{0};
  if (value.is_number_unsigned())
    data = value.get<std::uint32_t>();
  else
    data = value.get<std::vector<std::string>>();
  return settings::set_registry_data(info, data, wanted, ignored);
}

void handle_import(Service& service, const Json& arguments, const Answer& answer) {
  settings::Settings wanted = service.stored_settings();
  std::vector<std::string> ignored;
  const Json file = Json::parse(argument_text(arguments, "FILE"));
  for (const auto& [name, value] : file.at("values").items()) {
    const auto info = find_value(name);
    if (!info) return answer(tl::unexpected(info.error()));
    if (auto done = import_value(**info, value, wanted, ignored); !done)
      return answer(with_context(file.at("path").get<std::string>(), done.error()));
  }
  if (const auto others = file.at("others").get<std::uint64_t>(); others > 0)
    ignored.push_back(fmt::format("ignored {} entries that are not of snp", others));
  change(service, wanted, ignored, answer);
}

// --- export ---

void handle_export(Service& service, const Json& /*arguments*/, const Answer& answer) {
  answer(Json{{"settings", settings::to_toml(service.stored_settings())}});
}

Result<> deliver_export(const Json& arguments, Json& result) {
  const auto values =
      settings::parse_config(result.at("settings").get<std::string>(), "snpd's settings", {});
  if (!values) return tl::unexpected(values.error());
  return settings::replace_file(argument_text(arguments, "FILE"),
                                settings::write_reg_file(*values));
}

std::string render_export(const Json& /*result*/) {
  return "The operation completed successfully.\n";
}

constexpr Argument kQueryArguments[] = {
    {"WORD...", "[KEY] [/v NAME]; every value if no name is given", false}};
constexpr Argument kAddArguments[] = {
    {"WORD...", "[KEY] /v NAME [/t TYPE] /d DATA [/s SEPARATOR] [/f]", true}};
constexpr Argument kDeleteArguments[] = {{"WORD...", "[KEY] /v NAME [/f], or /va for all", true}};
constexpr Argument kExportArguments[] = {{"FILE", "the .reg file to write", true}};
constexpr Argument kImportArguments[] = {{"FILE", "the .reg file to read", true}};

}  // namespace

const CommandSpec kReg{
    .path = "reg",
    .help = "The settings that Windows has in the registry, under their names there.",
    .arguments = {},
    .handle = handle_query,
    .render = render_query,
};

const CommandSpec kRegQuery{
    .path = "reg query",
    .help = "Show values of the key HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters.",
    .arguments = kQueryArguments,
    .handle = handle_query,
    .render = render_query,
};

const CommandSpec kRegAdd{
    .path = "reg add",
    .help = "Set a value: the setting behind it changes live and in snpd's configuration file.",
    .arguments = kAddArguments,
    .changes_things = true,
    .handle = handle_add,
    .render = render_change,
};

const CommandSpec kRegDelete{
    .path = "reg delete",
    .help =
        "Delete a value: the setting behind it gets its default (an absent EnableTCPA means on).",
    .arguments = kDeleteArguments,
    .changes_things = true,
    .handle = handle_delete,
    .render = render_change,
};

const CommandSpec kRegExport{
    .path = "reg export",
    .help = "Write the values into a .reg file that Windows can import.",
    .arguments = kExportArguments,
    .handle = handle_export,
    .render = render_export,
    .deliver = deliver_export,
};

const CommandSpec kRegImport{
    .path = "reg import",
    .help = "Set the values that a .reg file of Windows names, all of them or none.",
    .arguments = kImportArguments,
    .changes_things = true,
    .handle = handle_import,
    .render = render_change,
    .prepare = prepare_import,
};

}  // namespace snp::commands
