// The keeper: the parent process of snpd. Small, one thread; it owns what must survive the engine
// (steering, flow records, duplicates of parked sockets, arenas) and starts engines one after the
// other. It carries no data and decides nothing while the engine lives.
#pragma once

#include "snp/base/result.h"
#include "snp/daemon/options.h"

namespace snp::daemon {

// Runs until told to stop. An error is one line for the person who started snpd.
Result<> run_keeper(const Options& options);

}  // namespace snp::daemon
