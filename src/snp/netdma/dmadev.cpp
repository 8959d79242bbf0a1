#include "snp/netdma/dmadev.h"

#include <array>
#include <cstdlib>

#include <dlfcn.h>
#include <unistd.h>

#include "snp/netdma/dmadev_plugin.h"

namespace snp::netdma {
namespace {

constexpr const char* kLibrary = "libsnp_netdma_dpdk.so";

// Where the executable stands, without a final slash.
std::string own_folder() {
  std::array<char, 4096> path{};
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string whole(path.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  const std::size_t slash = whole.rfind('/');
  return slash == std::string::npos ? "." : whole.substr(0, slash);
}

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
