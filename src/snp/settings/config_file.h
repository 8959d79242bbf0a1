// snpd's configuration file: TOML, the keys are the names of settings. People edit it, and so does
// snpd when a setting is changed live; what people wrote beside it (comments, order) stays.
//
//   devices = ["eth0", "veth1,driver=af_packet"]
//   chimney = "automatic"
//   ring_bytes = "512K"
//   disabled_local_ports = [22, 3306]
#pragma once

#include <string>
#include <string_view>

#include "snp/base/result.h"
#include "snp/settings/settings.h"

namespace snp::settings {

inline constexpr char kDefaultConfigPath[] = "/etc/snp/snp.toml";

// The whole file or nothing: the first mistake is the error, "FILE:LINE:COLUMN: what; what is
// allowed". Values not named in the file keep what `base` says.
Result<Settings> read_config(const std::string& path, const Settings& base);
Result<Settings> parse_config(std::string_view text, const std::string& path, const Settings& base);

// "name = value\n" for each setting that is not at its default.
std::string to_toml(const Settings& values);

// The text with every setting that differs between `before` and `after` as in `after`; a setting at
// its default has no line. Checked: what comes out says what it should.
Result<std::string> edit_config(std::string_view text, const std::string& path,
                                const Settings& before, const Settings& after);

// Does so with a file, which need not exist yet: under a lock, and on disk before it returns.
// Either the old or the new file is there, whatever happens (temporary file, fsync, rename).
Result<> store_changes(const std::string& path, const Settings& before, const Settings& after);

// Such a replacement of a whole file; makes its folder.
Result<> replace_file(const std::string& path, std::string_view text);

}  // namespace snp::settings
