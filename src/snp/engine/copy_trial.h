// What a frame costs the shard when the CPU copies its payload, and when a copy engine does: a
// shard of its own, as in life but for the device, takes bursts of one size from a peer that is
// played here, and its turns are timed. So all that an engine costs beside the copy is in the
// figure: to number, keep, submit and ask, to look at the headers again when the copy is over, and
// to wait.
//
// One connection, whose frames are written and whose ring is read by the same thread: everything
// is in this CPU's cache, where an engine gains least. What it gains here it gains everywhere. Of
// many rounds the first quartile counts for the CPU and the third for the engine, so that a machine
// that does something else meanwhile makes nobody believe in a gain.
#pragma once

#include "snp/base/time.h"
#include "snp/netdma/calibration.h"
#include "snp/netdma/channel.h"

namespace snp::engine {

// Fills in SizeFigures::shard_cpu_ns and shard_engine_ns of every size that has been measured
// (netdma/measure.h), or Figures::failure. `budget`: of the whole; each size has three rounds at
// least. Nothing to do for an engine that is synchronous or has failed. Pre: nothing is
// outstanding. Post: nothing is, and the channel is armed. Start-up and command threads.
void measure_shard(netdma::Channel& channel, Duration budget, netdma::Figures& figures);

}  // namespace snp::engine
