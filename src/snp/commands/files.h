// Files that a command line names, read by snp.
#pragma once

#include <string>

#include "snp/base/result.h"

namespace snp::commands {

Result<std::string> read_file(const std::string& path);  // at most 64 MB

}  // namespace snp::commands
