// snpd's configuration file: TOML, the keys are the names of settings, and `devices`.
//
//   devices = ["eth0", "veth1,driver=af_packet"]
//   chimney = "automatic"
//   ring_bytes = "512K"
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"
#include "snp/settings/settings.h"

namespace snp::settings {

struct Config {
  Settings settings;
  std::vector<std::string> devices;
};

// The whole file or nothing: the first mistake is the error, "FILE:LINE:COLUMN: what; what is
// allowed". Values not named in the file keep what `base` says.
Result<Config> read_config(const std::string& path, const Config& base);
Result<Config> parse_config(std::string_view text, const std::string& path, const Config& base);

}  // namespace snp::settings
