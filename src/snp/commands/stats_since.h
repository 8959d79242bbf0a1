// `snp stats --since FILE`: what has risen since an earlier answer. Nothing is ever set back: the
// counters are everybody's, and each reader has its own beginning (decision 14).
#pragma once

#include "snp/commands/command.h"

namespace snp::commands {

// Both are answers of `stats`; `before` comes from a file, and may be anything. Counters are
// differences, what is as it is now stays as it is, quantiles of times (of all hand-overs so far)
// are null. kInvalid: it is no such answer, or of another snpd.
Result<Json> risen_since(const Json& before, const Json& now);

}  // namespace snp::commands
