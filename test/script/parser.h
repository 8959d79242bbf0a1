// Text to Script. Refuses what it does not understand, with its place.
#pragma once

#include <string>
#include <string_view>

#include "snp/base/result.h"

#include "test/script/script.h"

namespace snp::script {

// The error's message begins with "path:line:column: ".
Result<Script> parse_script(const std::string& path, std::string_view source);
Result<Script> load_script(const std::string& path);

}  // namespace snp::script
