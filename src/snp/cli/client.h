// Asks the snpd of this network namespace: one command, one answer.
#pragma once

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/commands/command.h"

namespace snp::cli {

// A session with the snpd of this network namespace. The error says how to get a snpd.
Result<UniqueFd> connect_snpd();
// The answer to what was sent; the error is snpd's.
Result<commands::Json> receive_result(int socket);

// The error is snpd's, or says how to get a snpd.
Result<commands::Json> ask(const commands::CommandSpec& command, const commands::Json& arguments);

}  // namespace snp::cli
