#include "snp/host/device_offloads.h"

#include <algorithm>
#include <cstring>

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "snp/base/unique_fd.h"

namespace snp::host {
namespace {

struct Option {
  std::uint32_t command;
  const char* name;
};
constexpr Option kOptions[] = {{ETHTOOL_GTXCSUM, "TCP Transmit Checksum"},
                               {ETHTOOL_GRXCSUM, "TCP Receive Checksum"},
                               {ETHTOOL_GTSO, "TCP Large Send"}};

bool is_on(int socket, const std::string& device, std::uint32_t command) {
  ethtool_value value{command, 0};
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&value);
  return ::ioctl(socket, SIOCETHTOOL, &request) == 0 && value.data != 0;
}

}  // namespace

std::vector<DeviceOffloads> list_device_offloads() {
  std::vector<DeviceOffloads> devices;
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifaddrs* list = nullptr;
  if (!socket.is_open() || ::getifaddrs(&list) != 0) return devices;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_PACKET) continue;
    sockaddr_ll link{};
    std::memcpy(&link, entry->ifa_addr, sizeof link);
    if (link.sll_hatype != ARPHRD_ETHER) continue;
    DeviceOffloads device{static_cast<std::uint32_t>(link.sll_ifindex),
                          entry->ifa_name,
                          (entry->ifa_flags & IFF_UP) != 0,
                          {}};
    for (const Option& option : kOptions)
      if (is_on(socket.get(), device.name, option.command)) device.names.emplace_back(option.name);
    devices.push_back(std::move(device));
  }
  ::freeifaddrs(list);
  std::sort(devices.begin(), devices.end(),
            [](const auto& a, const auto& b) { return a.ifindex < b.ifindex; });
  return devices;
}

}  // namespace snp::host
