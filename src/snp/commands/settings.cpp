#include "snp/settings/settings.h"

#include "snp/commands/command.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

using settings::SettingInfo;

Json to_json(const SettingInfo& info, const settings::Settings& values) {
  return Json{{"name", std::string(info.name)},
              {"value", values.to_text(info.id)},
              {"unit", std::string(info.unit)},
              {"is_default", values.is_default(info.id)},
              {"allowed", settings::allowed_values(info)},
              {"change", info.change == settings::Change::kLive ? "live" : "restart"},
              {"help", std::string(info.help)}};
}

void handle_list(Service& service, const Json& /*arguments*/, const Answer& answer) {
  Json list = Json::array();
  for (const SettingInfo& info : settings::all_settings())
    list.push_back(to_json(info, service.settings()));
  answer(Json{{"settings", std::move(list)}});
}

std::string render_list(const Json& result) {
  Table table({{"NAME"}, {"VALUE", Table::Align::kRight}, {"UNIT"}, {"CHANGE"}, {"HELP"}});
  for (const Json& row : result.at("settings")) {
    const auto text = [&](const char* key) { return row.at(key).get<std::string>(); };
    table.add_row({text("name"), text("value") + (row.at("is_default").get<bool>() ? "" : " *"),
                   text("unit"), text("change"), text("help")});
  }
  return table.to_text();
}

void handle_get(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  const SettingInfo* info = settings::find_setting(name);
  if (info == nullptr)
    return answer(
        fail(Errc::kNotFound, "there is no setting '" + name + "'; 'snp settings' lists them"));
  answer(to_json(*info, service.settings()));
}

std::string render_value(const Json& result) {
  return result.at("value").get<std::string>() + "\n";
}

void handle_set(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  const auto done = service.change_setting(name, argument_text(arguments, "VALUE"));
  if (!done) return answer(tl::unexpected(done.error()));
  answer(to_json(*settings::find_setting(name), service.settings()));
}

std::string render_change(const Json& result) {
  return result.at("name").get<std::string>() + " is " + result.at("value").get<std::string>() +
         "\n";
}

void handle_reset(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  if (!name.empty()) {
    const auto done = service.reset_setting(name);
    if (!done) return answer(tl::unexpected(done.error()));
    return answer(to_json(*settings::find_setting(name), service.settings()));
  }
  for (const SettingInfo& info : settings::all_settings()) {
    if (info.change != settings::Change::kLive) continue;
    const auto done = service.reset_setting(std::string(info.name));
    if (!done) return answer(tl::unexpected(done.error()));
  }
  handle_list(service, Json::object(), answer);
}

std::string render_reset(const Json& result) {
  return result.contains("settings") ? render_list(result) : render_change(result);
}

constexpr Argument kGetArguments[] = {{"NAME", "the setting", true}};
constexpr Argument kSetArguments[] = {{"NAME", "the setting", true},
                                      {"VALUE", "its new value", true}};
constexpr Argument kResetArguments[] = {{"NAME", "the setting; all that are live if left out"}};

}  // namespace

const CommandSpec kSettings{
    .path = "settings",
    .help = "List the settings; * marks those that differ from their default.",
    .arguments = {},
    .changes_things = false,
    .handle = handle_list,
    .render = render_list,
};

const CommandSpec kSettingsGet{
    .path = "settings get",
    .help = "Show the value of a setting.",
    .arguments = kGetArguments,
    .changes_things = false,
    .handle = handle_get,
    .render = render_value,
};

const CommandSpec kSettingsSet{
    .path = "settings set",
    .help =
        "Change a setting until snpd ends; to keep it, write it into snpd's configuration file.",
    .arguments = kSetArguments,
    .changes_things = true,
    .handle = handle_set,
    .render = render_change,
};

const CommandSpec kSettingsReset{
    .path = "settings reset",
    .help = "Give a setting, or all that can change live, the value that snpd was started with.",
    .arguments = kResetArguments,
    .changes_things = true,
    .handle = handle_reset,
    .render = render_reset,
};

}  // namespace snp::commands
