#include "snp/cli/app.h"

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "snp/cli/bench.h"
#include "snp/cli/client.h"
#include "snp/cli/events.h"
#include "snp/cli/netsh_shell.h"
#include "snp/cli/run.h"
#include "snp/commands/command.h"
#include "snp/commands/snpd_options.h"

namespace snp::cli {
namespace {

using commands::CommandSpec;
using commands::Json;

// What CLI11 fills in for one command.
struct Words {
  const CommandSpec* command = nullptr;
  CLI::App* app = nullptr;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<std::string>> rests;
  std::map<std::string, bool> flags;
  bool is_json = false;

  [[nodiscard]] Json arguments() const {
    Json json = Json::object();
    for (const auto& [name, value] : texts)
      if (!value.empty()) json[name] = value;
    for (const auto& [name, words] : rests)
      if (!words.empty()) json[name] = words;
    for (const auto& [name, value] : flags)
      if (value) json[name] = true;
    return json;
  }
};

void add_arguments(Words& words) {
  for (const commands::Argument& argument : words.command->arguments) {
    const std::string name(argument.key());
    const std::string help(argument.help);
    if (argument.is_flag()) {
      words.app->add_flag(name, words.flags[name], help);
      continue;
    }
    // CLI11 wants plain names; the table's may show alternatives.
    const std::string plain = name.substr(0, name.find('|'));
    auto* option = argument.is_rest() ? words.app->add_option(plain, words.rests[name], help)
                                      : words.app->add_option(plain, words.texts[name], help);
    option->option_text(argument.is_option() ? std::string(argument.name.substr(name.size() + 1))
                        : argument.is_rest() ? "..."
                                             : " ");
    if (argument.is_required) option->required();
  }
  words.app->add_flag("--json", words.is_json, "answer in JSON");
}

std::vector<std::unique_ptr<Words>> add_commands(CLI::App& app) {
  std::vector<std::unique_ptr<Words>> all;
  std::map<std::string, CLI::App*> parents;
  for (const CommandSpec* command : commands::all_commands()) {
    const std::string path(command->path);
    const std::size_t blank = path.rfind(' ');
    CLI::App* parent = blank == std::string::npos ? &app : parents.at(path.substr(0, blank));
    const std::string word = blank == std::string::npos ? path : path.substr(blank + 1);
    auto words = std::make_unique<Words>();
    words->command = command;
    words->app = parent->add_subcommand(word, std::string(command->help));
    parents[path] = words->app;
    add_arguments(*words);
    all.push_back(std::move(words));
  }
  return all;
}

Result<Json> answer(const CommandSpec& command, const Json& arguments) {
  Result<Json> prepared = command.prepare != nullptr ? command.prepare(arguments) : arguments;
  if (!prepared || command.handle == nullptr) return prepared;
  Result<Json> result = ask(command, *prepared);
  if (!result && result.error().code == Errc::kNotFound && command.without_snpd != nullptr)
    return command.without_snpd(*prepared);
  if (!result || command.deliver == nullptr) return result;
  if (auto done = command.deliver(arguments, *result); !done) return tl::unexpected(done.error());
  return result;
}

int perform(const Words& words) {
  const auto result = answer(*words.command, words.arguments());
  if (!result) {
    std::fprintf(stderr, "snp: %s\n", result.error().message.c_str());
    return kFailed;
  }
  const std::string text = words.is_json ? result->dump(2) + "\n" : words.command->render(*result);
  const bool is_written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  const bool is_good = words.command->is_success == nullptr || words.command->is_success(*result);
  return is_written && is_good ? kDone : kFailed;
}

// `snp run [--] PROGRAM [ARGUMENTS]`: everything after PROGRAM is the program's own.
int perform_run(int argc, char** argv) {
  int first = 2;
  if (first < argc && std::string_view(argv[first]) == "--") ++first;
  const bool is_option = first == 2 && first < argc && argv[first][0] == '-';
  if (first < argc && !is_option) return run_program(argv + first);
  std::fprintf(stderr, "snp: give a program: snp run [--] PROGRAM [ARGUMENT]...\n");
  return kUsage;
}

// One line, whatever CLI11 has to say.
int usage_error(const std::string& what) {
  std::fprintf(stderr, "snp: %s; 'snp --help' and 'snp COMMAND --help' tell more\n", what.c_str());
  return kUsage;
}

// CLI11 does not know what those of the command line itself take.
class OwnUsage final : public CLI::Formatter {
 public:
  explicit OwnUsage(const commands::LocalCommand& command)
      : usage_("Usage: snp " + std::string(command.name) + " " + std::string(command.arguments)) {}

  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
    return usage_ + "\n";
  }

 private:
  std::string usage_;
};

bool is_known(const CLI::App& app, const std::string& word) {
  return !app.get_subcommands([&](const CLI::App* sub) { return sub->get_name() == word; }).empty();
}

bool is_help(std::string_view word) {
  return word == "-h" || word == "--help";
}

}  // namespace

int run_app(int argc, char** argv) {
  if (argc >= 2 && std::string_view(argv[1]) == "run" && !(argc >= 3 && is_help(argv[2])))
    return perform_run(argc, argv);
  if (argc >= 2 && std::string_view(argv[1]) == "netsh" && !(argc >= 3 && is_help(argv[2])))
    return run_netsh(argc - 2, argv + 2);
  if (argc >= 2 && std::string_view(argv[1]) == "events" && !(argc >= 3 && is_help(argv[2])))
    return run_events(argc - 2, argv + 2);
  if (argc >= 2 && std::string_view(argv[1]) == "bench") return run_bench(argv + 2);
  CLI::App app("Offload TCP connections of unmodified programs, look at them, bring them home.",
               "snp");
  app.require_subcommand(1);
  for (const commands::LocalCommand& command : commands::local_commands())
    app.add_subcommand(std::string(command.name), std::string(command.help))
        ->formatter(std::make_shared<OwnUsage>(command));
  const auto all = add_commands(app);
  if (argc < 2) return usage_error("give a command");
  if (argv[1][0] != '-' && !is_known(app, argv[1]))
    return usage_error("there is no command '" + std::string(argv[1]) + "'");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : usage_error(error.what());
  }
  // The most specific one that was named: "settings get" comes after "settings".
  const Words* chosen = nullptr;
  for (const auto& words : all)
    if (words->app->parsed()) chosen = words.get();
  return chosen == nullptr ? kUsage : perform(*chosen);
}

}  // namespace snp::cli
