#include <algorithm>

#include "snp/commands/command.h"

namespace snp::commands {
namespace {

constexpr const CommandSpec* kAll[] = {
    &kConnections, &kWhy,         &kOffload,      &kUpload,        &kStats,      &kStatus,
    &kSettings,    &kSettingsGet, &kSettingsSet,  &kSettingsReset, &kReg,        &kRegQuery,
    &kRegAdd,      &kRegDelete,   &kRegExport,    &kRegImport,     &kPolicy,     &kPolicyShow,
    &kPolicyCheck, &kPolicyLoad,  &kNetsh,        &kNetstat,       &kRss,        &kRssHash,
    &kRssShow,     &kRssSet,      &kRssRebalance, &kNetdma,        &kNetdmaShow, &kNetdmaCalibrate,
    &kDoctor,
};

const Argument* find_argument(const CommandSpec& command, std::string_view name) {
  for (const Argument& argument : command.arguments)
    if (argument.key() == name) return &argument;
  return nullptr;
}

bool has_right_type(const Argument& argument, const Json& value) {
  if (argument.is_flag()) return value.is_boolean();
  if (!argument.is_rest()) return value.is_string();
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const Json& word) { return word.is_string(); });
}

}  // namespace

std::span<const CommandSpec* const> all_commands() noexcept {
  return kAll;
}

const CommandSpec* find_command(std::string_view path) noexcept {
  for (const CommandSpec* command : kAll)
    if (command->path == path) return command;
  return nullptr;
}

Result<> check_arguments(const CommandSpec& command, const Json& arguments) {
  if (!arguments.is_object()) return fail(Errc::kProtocol, "the arguments are no JSON object");
  for (const auto& [name, value] : arguments.items()) {
    const Argument* argument = find_argument(command, name);
    if (argument == nullptr)
      return fail(Errc::kInvalid, std::string(command.path) + " has no argument " + name);
    if (!has_right_type(*argument, value))
      return fail(Errc::kInvalid, "argument " + name + " has the wrong type");
  }
  for (const Argument& argument : command.arguments)
    if (argument.is_required && !arguments.contains(argument.key()))
      return fail(Errc::kInvalid, std::string(command.path) + " needs " +
                                      std::string(argument.name) + ": " +
                                      std::string(argument.help));
  return {};
}

std::string argument_text(const Json& arguments, std::string_view name) {
  const auto found = arguments.find(name);
  return found == arguments.end() ? std::string() : found->get<std::string>();
}

std::vector<std::string> argument_words(const Json& arguments, std::string_view name) {
  const auto found = arguments.find(name);
  return found == arguments.end() ? std::vector<std::string>()
                                  : found->get<std::vector<std::string>>();
}

Result<FourTuple> argument_flow(const Json& arguments) {
  const std::string text = argument_text(arguments, "FLOW");
  const auto flow = parse_four_tuple(text);
  if (!flow)
    return fail(Errc::kInvalid, "'" + text +
                                    "' is no flow; give LOCAL-REMOTE as 'snp connections' shows "
                                    "them, like 10.0.0.1:80-10.0.0.2:40000");
  return *flow;
}

}  // namespace snp::commands
