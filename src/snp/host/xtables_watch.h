// The watch of iptables-legacy with another way to hear of changes, for tests: see
// watch_iptables().
#pragma once

#include "snp/base/result.h"
#include "snp/host/features.h"
#include "snp/host/kernel_calls.h"

namespace snp::host {

Result<WatchPtr> watch_xtables(const OpenCalls& open_calls);

}  // namespace snp::host
