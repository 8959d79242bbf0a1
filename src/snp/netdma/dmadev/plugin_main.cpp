// The only thing that libsnp_netdma_dpdk.so exports.
#include "snp/netdma/dmadev/dmadev_channel.h"
#include "snp/netdma/dmadev/eal.h"
#include "snp/netdma/dmadev_plugin.h"

namespace snp::netdma {

extern "C" __attribute__((visibility("default"))) OpenDmadev snp_netdma_open_dmadev_1;

Result<std::unique_ptr<Channel>> snp_netdma_open_dmadev_1(const DmadevOptions& options) {
  if (auto started = dmadev::start_eal(options); !started) return tl::unexpected(started.error());
  const auto device = dmadev::find_device(options.device);
  if (!device) return tl::unexpected(device.error());
  return dmadev::DmadevChannel::open(*device, options.device, options.depth);
}

}  // namespace snp::netdma
