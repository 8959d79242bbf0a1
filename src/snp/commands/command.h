// One command of `snp`: its words, help and arguments, what snpd does for it, and how the answer
// looks as text. Both programs share the table: snpd calls `handle`, snp calls `render`. A new
// command is a file of its own and a line in registry.cpp.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "snp/base/result.h"
#include "snp/commands/service.h"

namespace snp::commands {

using Json = nlohmann::ordered_json;
using Answer = std::function<void(Result<Json>)>;

struct Argument {
  // "FLOW" a word, "WORD..." all words that are left, "--all" a flag, "--program PATH" an option.
  std::string_view name;
  std::string_view help;
  bool is_required = false;

  [[nodiscard]] bool is_option() const noexcept {
    return name.front() == '-' && name.find(' ') != std::string_view::npos;
  }
  [[nodiscard]] bool is_flag() const noexcept { return name.front() == '-' && !is_option(); }
  [[nodiscard]] bool is_rest() const noexcept { return name.ends_with("..."); }
  // Under which the arguments have it.
  [[nodiscard]] std::string_view key() const noexcept {
    if (is_rest()) return name.substr(0, name.size() - 3);
    return name.substr(0, name.find(' '));
  }
};

struct CommandSpec {
  std::string_view path;  // words, separated by one blank
  std::string_view help;
  std::span<const Argument> arguments;
  bool changes_things = false;                       // root or the owner of snpd only
  bool (*changes)(const Json& arguments) = nullptr;  // instead, where it depends
  void (*handle)(Service& service, const Json& arguments, const Answer& answer) = nullptr;
  std::string (*render)(const Json& result) = nullptr;
  // In snp, before snpd is asked: reads the files that are named; gives what handle() gets. Without
  // handle() it is the answer, and no snpd is needed.
  Result<Json> (*prepare)(const Json& arguments) = nullptr;
  // In snp, with the answer: writes the file that is named, or changes the answer by what is there.
  Result<> (*deliver)(const Json& arguments, Json& result) = nullptr;

  // In snp, instead of handle() when no snpd serves; without it that is an error.
  Result<Json> (*without_snpd)(const Json& arguments) = nullptr;
  // Whether the answer is success, for the exit status; without it every answer is.
  bool (*is_success)(const Json& result) = nullptr;

  [[nodiscard]] bool is_change(const Json& given) const {
    return changes != nullptr ? changes(given) : changes_things;
  }
};

std::span<const CommandSpec* const> all_commands() noexcept;
const CommandSpec* find_command(std::string_view path) noexcept;

// Checks `arguments` against the command's table before handle() sees them: an object, known names,
// texts for words and options, true for flags, a list of texts for the rest, nothing required
// missing.
Result<> check_arguments(const CommandSpec& command, const Json& arguments);

// The text of an argument; empty when it was not given. Pre: check_arguments() passed.
std::string argument_text(const Json& arguments, std::string_view name);
std::vector<std::string> argument_words(const Json& arguments, std::string_view name);
Result<FourTuple> argument_flow(const Json& arguments);  // FLOW

// The commands, each in the file of its name.
extern const CommandSpec kConnections, kOffload, kUpload, kWhy, kStats, kStatus;
extern const CommandSpec kSettings, kSettingsGet, kSettingsSet, kSettingsReset;
extern const CommandSpec kReg, kRegQuery, kRegAdd, kRegDelete, kRegExport, kRegImport;
extern const CommandSpec kPolicy, kPolicyShow, kPolicyCheck, kPolicyLoad;
extern const CommandSpec kNetsh, kNetstat, kDoctor;
extern const CommandSpec kRss, kRssHash, kRssShow, kRssSet, kRssRebalance;
extern const CommandSpec kNetdma, kNetdmaShow, kNetdmaCalibrate;

}  // namespace snp::commands
