#include <map>
#include <set>

#include "snp/commands/command.h"
#include "snp/commands/netsh.h"
#include "snp/commands/snpd_options.h"
#include "snp/manual/pages.h"
#include "snp/settings/settings.h"

namespace snp::manual {
namespace {

// What may follow a path of words; an empty path is snp itself.
using Words = std::map<std::string, std::set<std::string>>;

void add_path(Words& words, std::string_view path) {
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find(' ', begin), path.size());
    words[std::string(path.substr(0, begin == 0 ? 0 : begin - 1))].emplace(
        path.substr(begin, end - begin));
    begin = end + 1;
  }
}

// The options in a line of usage: "[--json] [--count NUMBER]".
void add_options(std::set<std::string>& next, std::string_view usage) {
  for (std::size_t begin = 0; (begin = usage.find("[--", begin)) != std::string_view::npos;) {
    const std::size_t end = std::min(usage.find_first_of(" ]", begin), usage.size());
    const std::string_view option = usage.substr(begin + 1, end - begin - 1);
    if (option != "--") next.emplace(option);
    begin = end;
  }
}

void add_commands(Words& words) {
  for (const commands::LocalCommand& command : commands::local_commands()) {
    add_path(words, command.name);
    add_options(words[std::string(command.name)], command.arguments);
  }
  for (const commands::CommandSpec* command : commands::all_commands()) {
    const std::string path(command->path);
    add_path(words, path);
    std::set<std::string>& next = words[path];
    next.insert("--help");
    if (path != "netsh") next.insert("--json");
    for (const commands::Argument& argument : command->arguments)
      if (argument.is_flag() || argument.is_option()) next.emplace(argument.key());
  }
}

void add_netsh(Words& words) {
  for (const commands::NetshCommand& command : commands::all_netsh_commands()) {
    std::string path = "netsh";
    for (const std::string_view part : {command.context, command.words})
      if (!part.empty()) path += " " + std::string(part);
    add_path(words, path);
    for (const std::string& value : commands::complete_netsh(commands::split_netsh(path.substr(5))))
      words[path].insert(value);
  }
}

// A word of the command line that stands for a setting or a file.
void add_values(Words& words) {
  for (const settings::SettingInfo& info : settings::all_settings()) {
    const std::string name(info.name);
    for (const char* command : {"settings get", "settings set", "settings reset"})
      words[command].insert(name);
    std::string_view choices = info.choices;
    while (!choices.empty()) {
      const std::size_t bar = choices.find('|');
      words["settings set " + name].emplace(choices.substr(0, bar));
      choices.remove_prefix(bar == std::string_view::npos ? choices.size() : bar + 1);
    }
  }
}

std::string file_paths() {
  std::string paths;
  for (const commands::CommandSpec* command : commands::all_commands())
    for (const commands::Argument& argument : command->arguments)
      if (argument.name == "FILE")
        paths += (paths.empty() ? "'" : " | '") + std::string(command->path) + "'";
  return paths;
}

}  // namespace

std::string bash_completion() {
  Words words;
  add_commands(words);
  add_netsh(words);
  add_values(words);
  std::string text =
      "# Completion of snp(1) for bash. Made from the tables of snp; do not edit.\n"
      "_snp_words() {\n  case $1 in\n";
  for (const auto& [path, next] : words) {
    text += "    '" + path + "') echo '";
    for (const std::string& word : next)
      text += word + (word == *next.rbegin() ? "" : " ");
    text += "' ;;\n";
  }
  text += "    *) return 1 ;;\n  esac\n}\n\n";
  text +=
      "_snp() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} path= i\n"
      "  COMPREPLY=()\n"
      "  if [[ ${COMP_WORDS[1]} == run && $COMP_CWORD -gt 1 ]]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -c -- \"$current\")\n"
      "    return\n"
      "  fi\n"
      "  # As far as the words are known; what is not, and options, are arguments.\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    if _snp_words \"${path:+$path }${COMP_WORDS[i]}\" > /dev/null; then\n"
      "      path=${path:+$path }${COMP_WORDS[i]}\n"
      "    fi\n"
      "  done\n"
      "  case $path in\n"
      "    " +
      file_paths() +
      ")\n"
      "      mapfile -t COMPREPLY < <(compgen -f -- \"$current\") ;;\n"
      "  esac\n"
      "  mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W \"$(_snp_words \"$path\")\" -- "
      "\"$current\")\n"
      "}\n"
      "complete -F _snp snp\n";
  return text;
}

}  // namespace snp::manual
