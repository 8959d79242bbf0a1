// Asks the snpd of this network namespace: one command, one answer.
#pragma once

#include "snp/base/result.h"
#include "snp/commands/command.h"

namespace snp::cli {

// The error is snpd's, or says how to get a snpd.
Result<commands::Json> ask(const commands::CommandSpec& command, const commands::Json& arguments);

}  // namespace snp::cli
