#include "snp/settings/settings.h"

#include "snp/commands/command.h"
#include "snp/commands/table.h"

namespace snp::commands {
namespace {

using settings::SettingInfo;

Json to_json(const SettingInfo& info, const Service& service) {
  const bool is_live = info.change == settings::Change::kLive;
  const settings::Settings& stored = service.stored_settings();
  Json json{{"name", std::string(info.name)},
            {"value", service.settings().to_text(info.id)},
            {"unit", std::string(info.unit)},
            {"is_default", service.settings().is_default(info.id)},
            {"allowed", settings::allowed_values(info)},
            {"change", is_live ? "live" : "restart"},
            {"help", std::string(info.help)}};
  if (!is_live && !stored.is_same(info.id, service.settings()))
    json["after_restart"] = stored.to_text(info.id);
  return json;
}

Failure no_such_setting(const std::string& name) {
  return fail(Errc::kNotFound, "there is no setting '" + name + "'; 'snp settings' lists them");
}

void handle_list(Service& service, const Json& /*arguments*/, const Answer& answer) {
  Json list = Json::array();
  for (const SettingInfo& info : settings::all_settings())
    list.push_back(to_json(info, service));
  answer(Json{{"settings", std::move(list)}});
}

std::string render_list(const Json& result) {
  Table table({{"NAME"}, {"VALUE", Table::Align::kRight}, {"UNIT"}, {"CHANGE"}, {"HELP"}});
  for (const Json& row : result.at("settings")) {
    const auto text = [&](const char* key) { return row.at(key).get<std::string>(); };
    std::string value = text("value") + (row.at("is_default").get<bool>() ? "" : " *");
    if (row.contains("after_restart")) value += " (then " + text("after_restart") + ")";
    table.add_row({text("name"), value, text("unit"), text("change"), text("help")});
  }
  return table.to_text();
}

void handle_get(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  const SettingInfo* info = settings::find_setting(name);
  if (info == nullptr) return answer(no_such_setting(name));
  answer(to_json(*info, service));
}

std::string render_value(const Json& result) {
  return result.at("value").get<std::string>() + "\n";
}

void change(Service& service, const settings::Settings& wanted, const SettingInfo& info,
            const Answer& answer) {
  if (auto done = service.change_settings(wanted); !done)
    return answer(tl::unexpected(done.error()));
  Json json = to_json(info, service);
  json["is_stored"] = service.is_storing();
  answer(std::move(json));
}

void handle_set(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  settings::Settings wanted = service.stored_settings();
  if (auto done = wanted.set(name, argument_text(arguments, "VALUE")); !done)
    return answer(tl::unexpected(done.error()));
  change(service, wanted, *settings::find_setting(name), answer);
}

std::string render_change(const Json& result) {
  const auto text = [&](const char* key) { return result.at(key).get<std::string>(); };
  std::string line = text("name") + " is " + text("value");
  if (result.contains("after_restart"))
    line += ", and " + text("after_restart") + " when snpd starts again";
  if (!result.at("is_stored").get<bool>()) line += " until this private snpd ends";
  return line + "\n";
}

void handle_reset(Service& service, const Json& arguments, const Answer& answer) {
  const std::string name = argument_text(arguments, "NAME");
  settings::Settings wanted = service.stored_settings();
  if (!name.empty()) {
    const SettingInfo* info = settings::find_setting(name);
    if (info == nullptr) return answer(no_such_setting(name));
    wanted.reset(info->id);
    return change(service, wanted, *info, answer);
  }
  for (const SettingInfo& info : settings::all_settings())
    if (info.change == settings::Change::kLive) wanted.reset(info.id);
  if (auto done = service.change_settings(wanted); !done)
    return answer(tl::unexpected(done.error()));
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
    .help = "Change a setting, now if it can change live, and in snpd's configuration file.",
    .arguments = kSetArguments,
    .changes_things = true,
    .handle = handle_set,
    .render = render_change,
};

const CommandSpec kSettingsReset{
    .path = "settings reset",
    .help =
        "Give a setting, or all that can change live, its default, also in the configuration file.",
    .arguments = kResetArguments,
    .changes_things = true,
    .handle = handle_reset,
    .render = render_reset,
};

}  // namespace snp::commands
