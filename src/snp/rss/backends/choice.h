// Which backend a device gets, and the sentence that says why. Pure but for look_at().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "snp/rss/backends/backend.h"
#include "snp/rss/backends/cpumap.h"
#include "snp/rss/backends/ethtool.h"
#include "snp/rss/backends/sysfs.h"

namespace snp::rss {

struct DeviceFacts {
  std::string name;
  std::uint32_t ifindex = 0;
  std::string driver;              // "virtio_net"; empty: not known
  bool is_physical = false;        // has hardware, or the hypervisor's, behind it
  std::uint32_t queues = 0;        // that receive; 0: it does not say
  std::uint32_t card_entries = 0;  // of its own table; 0: it has none
  bool has_rps = false;
  std::string rps_missing;  // why not
};

DeviceFacts look_at(const std::string& device, std::uint32_t ifindex, const EthtoolCall& card,
                    const Sysfs& sysfs);

struct Choice {
  BackendKind kind = BackendKind::kNone;
  XdpMode mode = XdpMode::kGeneric;
  bool waits_for_load = false;  // only once one CPU is not enough
  std::string why;
};

// `wanted`: the setting rss_backend for this device, "automatic" or a name of a backend. `cpus`:
// how many CPUs the set has. `is_shaped`: somebody has said how packets are to be spread; as long
// as nobody has, a card that spreads them by itself is right. kUnsupported: it was asked for, and
// the device cannot do it.
Result<Choice> choose_backend(std::string_view wanted, const DeviceFacts& device, std::size_t cpus,
                              bool is_shaped);

}  // namespace snp::rss
