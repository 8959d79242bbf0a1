// The lines `--name=value` at the beginning of a script.
#pragma once

#include <string_view>

#include "snp/base/result.h"

#include "test/script/script.h"

namespace snp::script {

// `option` without its dashes. Fails with what is wrong with it.
Result<> apply_option(std::string_view option, Setup& setup);

// After the last option: what depends on several. Fails when they contradict each other.
Result<> complete(Setup& setup);

// "0.25" in seconds, exact to a nanosecond; or with a unit: 250ms, 40us, 3s. Nothing: not a time.
std::optional<Duration> parse_duration(std::string_view text);
std::optional<std::uint32_t> parse_number(std::string_view text);

}  // namespace snp::script
