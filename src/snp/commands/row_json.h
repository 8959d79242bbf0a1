// A connection as JSON, the same for every command that shows one.
#pragma once

#include "snp/commands/command.h"

namespace snp::commands {

Json to_json(const ConnectionRow& row);

}  // namespace snp::commands
