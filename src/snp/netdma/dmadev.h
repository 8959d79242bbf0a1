// The backend `dmadev`: copy engines that DPDK 22.11 knows (I/OAT, DSA and others), opened by name.
// DPDK is in a library of its own, libsnp_netdma_dpdk.so, that is loaded when the first device is
// opened; without it everything else works. Start-up and control threads.
//
// Names, as DPDK has them: a PCI address for I/OAT ("0000:00:04.0"), with "-qN" for a queue of DSA
// under vfio, "wq0.0" for a queue that the kernel's idxd driver shares, "dma_skeleton" for DPDK's
// software device. One device is one channel: DPDK's devices serve one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "snp/netdma/channel.h"

namespace snp::netdma {

struct DmadevOptions {
  std::string device;
  std::uint32_t depth = 256;  // wanted; the device may offer less
  // All devices that this process will open: DPDK looks at the PCI bus once, when it starts.
  std::vector<std::string> all_devices = {};
  int cpu = -1;  // where DPDK's own threads run, those of a software device too; -1: anywhere
};

// One clear line when the library, DPDK or the device is missing, or the device is in use.
Result<std::unique_ptr<Channel>> open_dmadev(const DmadevOptions& options);

}  // namespace snp::netdma
