#include "snp/daemon/options.h"

#include <cerrno>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "snp/commands/files.h"
#include "snp/commands/snpd_options.h"

namespace snp::daemon {

std::optional<int> parse_options(int argc, char** argv, Options& options) {
  CLI::App app("Serve this network namespace: carry TCP connections of attached programs.", "snpd");
  std::string log_level;
  bool is_foreground = true;
  const auto add = [&app](const char* name, auto& place) {
    const commands::OptionText& text = commands::snpd_option(name);
    app.add_option(name, place, std::string(text.help))->option_text(std::string(text.value));
  };
  add("--config", options.config_path);
  add("--device", options.devices);
  add("--set", options.overrides);
  add("--log-level", log_level);
  app.add_flag("--foreground", is_foreground,
               std::string(commands::snpd_option("--foreground").help));
  add("--private", options.private_pid);
  add("--ready-fd", options.ready_fd);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "snpd: %s; 'snpd --help' tells more\n", error.what());
    return 2;
  }
  if (!log_level.empty()) options.overrides.push_back("log_level=" + log_level);
  return std::nullopt;
}

std::string stored_config_path(const Options& options) {
  if (options.private_pid != 0) return {};
  return options.config_path.empty() ? settings::kDefaultConfigPath : options.config_path;
}

std::string rules_path(const Options& options) {
  std::string path =
      options.config_path.empty() ? settings::kDefaultConfigPath : options.config_path;
  constexpr std::string_view kToml = ".toml";
  if (path.ends_with(kToml)) path.resize(path.size() - kToml.size());
  return path + ".rules";
}

Result<std::string> load_rules(const Options& options) {
  const std::string path = rules_path(options);
  auto text = commands::read_file(path);
  if (!text && text.error().sys_errno == ENOENT) return std::string();
  return text;
}

Result<settings::Settings> load_config(const Options& options) {
  settings::Settings config;
  const bool is_default = options.config_path.empty();
  auto read = settings::read_config(is_default ? settings::kDefaultConfigPath : options.config_path,
                                    config);
  if (read)
    config = std::move(*read);
  else if (!is_default || read.error().sys_errno != ENOENT)
    return read;
  if (!options.devices.empty()) {
    const auto& info = settings::info_of(settings::Setting::kDevices);
    if (auto done = config.set_list(info, options.devices); !done)
      return tl::unexpected(done.error());
  }
  for (const std::string& text : options.overrides) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos)
      return fail(Errc::kInvalid, "--set " + text + ": give NAME=VALUE");
    auto done = config.set(text.substr(0, equals), text.substr(equals + 1));
    if (!done) return tl::unexpected(done.error());
  }
  return config;
}

Result<DeviceChoice> parse_device(const std::string& text) {
  DeviceChoice choice;
  const std::size_t comma = text.find(',');
  choice.name = text.substr(0, comma);
  if (comma != std::string::npos) {
    constexpr std::string_view kKey = "driver=";
    const std::string option = text.substr(comma + 1);
    if (option.compare(0, kKey.size(), kKey) != 0)
      return fail(Errc::kInvalid, "--device " + text + ": give DEV[,driver=NAME]");
    choice.driver = option.substr(kKey.size());
  }
  if (choice.driver != "af_packet")
    return fail(Errc::kInvalid, "--device " + text + ": there is no driver '" + choice.driver +
                                    "'; give driver=af_packet");
  return choice;
}

}  // namespace snp::daemon
