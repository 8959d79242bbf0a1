// DPDK's environment, started once in a process and in nobody's way: no huge pages, no files, no
// telemetry, no signal handlers; its threads block all signals, and no thread of ours is pinned.
#pragma once

#include <cstdint>
#include <string>

#include "snp/base/result.h"
#include "snp/netdma/dmadev.h"

namespace snp::netdma::dmadev {

// Starts it, or says again what came of it the first time. Any control thread, one at a time.
Result<> start_eal(const DmadevOptions& options);

// DPDK's number of a device. Software devices ("dma_skeleton", with any digits after it) are made
// when asked for; others must have been there, and PCI devices named, when DPDK started.
Result<std::int16_t> find_device(const std::string& name);

}  // namespace snp::netdma::dmadev
