// Takes the figures for calibration.h, but the shard's (engine/copy_trial.h): lets the CPU and an
// engine make the same copies. The memory is warm where a packet's is (the caller has just written
// the source) and the destination is used in turn, as a ring. Start-up and command threads; never a
// shard's while it carries connections.
#pragma once

#include "snp/netdma/calibration.h"
#include "snp/netdma/channel.h"

namespace snp::netdma {

struct MeasureOptions {
  Duration budget = milliseconds(60);    // of the whole; but a size has three rounds at least
  Duration patience = milliseconds(20);  // an engine that finishes nothing for so long has failed
};

// Pre: nothing is outstanding. Post: nothing is, and the channel is armed; a channel that failed
// was aborted. Figures::failure says what went wrong.
Figures measure(Channel& channel, const MeasureOptions& options = {});

}  // namespace snp::netdma
