// What libsnp_netdma_dpdk.so exports: one function. Both sides are of one build, so its name has a
// number that changes with any type in its signature.
#pragma once

#include "snp/netdma/dmadev.h"

namespace snp::netdma {

using OpenDmadev = Result<std::unique_ptr<Channel>>(const DmadevOptions& options);

inline constexpr const char* kOpenDmadevName = "snp_netdma_open_dmadev_1";

}  // namespace snp::netdma
