// What `snp netdma`, `snp netsh` and the list of features say of NetDMA, in one place.
#pragma once

#include <string>
#include <string_view>

#include "snp/commands/service.h"

namespace snp::commands {

// "engine" or "cpu": who did it in the end.
std::string_view path_of(stats::CopyOutcome outcome) noexcept;

// Copies of this size go to the engine, and why or why not.
bool has_engine(const NetdmaReport& report, std::size_t size_class);
std::string why_of(const NetdmaReport& report, std::size_t size_class);

// What it does at all, in one sentence without the full stop.
std::string state_of(const NetdmaReport& report);

}  // namespace snp::commands
