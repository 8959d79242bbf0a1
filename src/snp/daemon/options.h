// snpd's command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "snp/settings/config_file.h"

namespace snp::daemon {

struct Options {
  std::string config_path;             // empty: none
  std::vector<std::string> overrides;  // NAME=VALUE of --set, --log-level
  std::vector<std::string> devices;    // of --device; replace those of the file
  pid_t private_pid = 0;               // end with this process and the last program
  int ready_fd = -1;                   // gets one byte when snpd serves
};

// Parses; prints help or what is wrong. The value is set when the process should end: its exit
// status.
std::optional<int> parse_options(int argc, char** argv, Options& options);

// Where changes are kept: --config, else /etc/snp/snp.toml. Empty: nowhere. What is changed in a
// private snpd ends with it.
std::string stored_config_path(const Options& options);

// The rules of policy stand beside the configuration: snp.toml, snp.rules.
std::string rules_path(const Options& options);
// Their text, empty if there is no file; not looked at.
Result<std::string> load_rules(const Options& options);

// Defaults, then the file (--config must be there, /etc/snp/snp.toml need not), then the command
// line.
Result<settings::Settings> load_config(const Options& options);

// "veth0,driver=af_packet". The driver may be left out.
struct DeviceChoice {
  std::string name;
  std::string driver = "af_packet";
};
Result<DeviceChoice> parse_device(const std::string& text);

}  // namespace snp::daemon
