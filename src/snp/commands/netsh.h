// The language of Windows' netsh, as far as it concerns what snp does: contexts, commands,
// parameters and their abbreviations. Both programs share it: snp finds out what a line means,
// completes it and helps; snpd carries it out.
//
//   netsh interface tcp set global chimney=automatic rss=enabled
//         `--context--' `--words-' `-parameters, by tag or in order-'
//
// Every word may be shortened as long as it stays unambiguous; case does not matter.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/commands/service.h"

namespace snp::commands {

struct NetshParameter {
  std::string_view tag;
  std::string_view values;  // "enabled|disabled", or "<PATH>" for anything
  bool is_required = false;
};

// The values that were given, in the order of the parameters; empty: not given.
using NetshValues = std::vector<std::optional<std::string>>;

struct NetshCommand {
  std::string_view context;  // "interface tcp"
  std::string_view words;    // "set global"
  std::string_view help;
  std::span<const NetshParameter> parameters;
  bool changes_things = false;
  Result<std::string> (*run)(Service& service, const NetshValues& values) = nullptr;
};

std::span<const NetshCommand> all_netsh_commands() noexcept;

// What a line means. Nothing but a context: `command` is nullptr.
struct NetshLine {
  std::string context;  // in full
  const NetshCommand* command = nullptr;
  NetshValues values;
};
Result<NetshLine> parse_netsh(const std::vector<std::string>& words);

// As a shell does it: blanks separate, quotes hold together, = stands for itself.
std::vector<std::string> split_netsh(std::string_view line);

// What may come after these words, for completion.
std::vector<std::string> complete_netsh(const std::vector<std::string>& words);

// The commands of a context and the contexts in it; the usage of a command.
std::string netsh_help(std::string_view context);
std::string netsh_usage(const NetshCommand& command);

}  // namespace snp::commands
