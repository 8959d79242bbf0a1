#include "snp/netdma/dmadev.h"

#include <cstdlib>

#include <dlfcn.h>
#include <unistd.h>

#include "snp/base/own_folder.h"
#include "snp/netdma/dmadev_plugin.h"

namespace snp::netdma {
namespace {

constexpr const char* kLibrary = "libsnp_netdma_dpdk.so";

Result<std::string> find_library() {
  const std::string folder = own_folder();
  for (const std::string& path :
       {folder + "/../lib/" + kLibrary, folder + "/../lib/snp/" + kLibrary,
        std::string("/usr/lib/snp/") + kLibrary})
    if (::access(path.c_str(), R_OK) == 0) return path;
  return fail(Errc::kNotFound, std::string(kLibrary) +
                                   " is not installed: build snp with "
                                   "SNP_DPDK=ON (Debian: libdpdk-dev)");
}

Result<OpenDmadev*> load() {
  const auto path = find_library();
  if (!path) return tl::unexpected(path.error());
  // Stays loaded: DPDK cannot be started twice in a process. Its own symbols stay its own.
  void* const library = ::dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr)  // dlerror() is this thread's
    return fail(Errc::kNotFound, std::string("DPDK is not installed (Debian: librte-meta-dma): ") +
                                     ::dlerror());  // NOLINT(concurrency-mt-unsafe)
  auto* const open = reinterpret_cast<OpenDmadev*>(::dlsym(library, kOpenDmadevName));
  if (open == nullptr)
    return fail(Errc::kUnsupported, *path + " belongs to another version of snp");
  return open;
}

}  // namespace

Result<std::unique_ptr<Channel>> open_dmadev(const DmadevOptions& options) {
  const auto open = load();
  if (!open) return with_context("dmadev " + options.device, open.error());
  auto channel = (*open)(options);
  if (!channel) return with_context("dmadev " + options.device, channel.error());
  return channel;
}

}  // namespace snp::netdma
