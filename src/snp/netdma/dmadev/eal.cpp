#include "snp/netdma/dmadev/eal.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>

#include <pthread.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>

namespace snp::netdma::dmadev {
namespace {

constexpr std::string_view kSkeleton = "dma_skeleton";

// "0000:6a:01.0" of "0000:6a:01.0-q3"; empty: it is no PCI device.
std::string pci_address(const std::string& name) {
  const std::string address = name.substr(0, name.find('-'));
  const bool is_pci = std::count(address.begin(), address.end(), ':') >= 1 &&
                      address.find('.') != std::string::npos;
  return is_pci ? address : std::string();
}

std::string cpu_list(const cpu_set_t& cpus) {
  std::string list;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &cpus)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
  return list;
}

std::vector<std::string> arguments(const DmadevOptions& options, const cpu_set_t& cpus) {
  std::vector<std::string> words = {"snpd", "--no-huge", "--no-telemetry", "--no-shconf",
                                    "--log-level=*:error", "-m", "32",
                                    // One logical core, which floats over all that we may use.
                                    "--lcores=0@(" + cpu_list(cpus) + ")"};
  bool has_pci = false;
  for (const std::string& name : options.all_devices) {
    const std::string address = pci_address(name);
    if (address.empty()) continue;
    has_pci = true;
    words.insert(words.end(), {"-a", address});
  }
  // Devices without IOMMU would need physical addresses, which only huge pages have.
  words.emplace_back("--iova-mode=va");
  if (!has_pci) words.emplace_back("--no-pci");
  return words;
}

// In a thread of its own: it becomes DPDK's main core, and is pinned as such. What DPDK starts
// inherits that all signals are blocked (snpd reads them from a descriptor).
Result<> initialise(const DmadevOptions& options) {
  Result<> result;
  std::thread starter([&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (options.cpu >= 0)
      CPU_SET(static_cast<std::size_t>(options.cpu), &cpus);
    else
      ::pthread_getaffinity_np(::pthread_self(), sizeof cpus, &cpus);
    ::pthread_setaffinity_np(::pthread_self(), sizeof cpus, &cpus);
    std::vector<std::string> words = arguments(options, cpus);
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words)
      argv.push_back(word.data());
    argv.push_back(nullptr);
    if (::rte_eal_init(static_cast<int>(words.size()), argv.data()) < 0)
      result = fail(Errc::kSystem, std::string("DPDK does not start: ") + rte_strerror(rte_errno));
  });
  starter.join();
  return result;
}

std::string known_devices() {
  std::string list;
  for (std::int16_t device = rte_dma_next_dev(0); device >= 0;
       device = rte_dma_next_dev(static_cast<std::int16_t>(device + 1))) {
    rte_dma_info info{};
    if (rte_dma_info_get(device, &info) == 0)
      list += std::string(list.empty() ? "" : ", ") + info.dev_name;
  }
  return list;
}

}  // namespace

Result<> start_eal(const DmadevOptions& options) {
  static std::mutex mutex;
  static std::optional<Result<>> outcome;
  const std::lock_guard lock(mutex);
  if (!outcome) outcome = initialise(options);
  return *outcome;
}

Result<std::int16_t> find_device(const std::string& name) {
  int id = rte_dma_get_dev_id_by_name(name.c_str());
  if (id < 0 && name.starts_with(kSkeleton)) {
    rte_eal_hotplug_add("vdev", name.c_str(), "");
    id = rte_dma_get_dev_id_by_name(name.c_str());
  }
  if (id >= 0) return static_cast<std::int16_t>(id);
  const std::string known = known_devices();
  if (!known.empty()) return fail(Errc::kNotFound, "DPDK knows no such device, but " + known);
  return fail(Errc::kNotFound,
              "DPDK knows no such device; is it bound to vfio-pci, or a queue of idxd whose name "
              "begins with dpdk_?");
}

}  // namespace snp::netdma::dmadev
