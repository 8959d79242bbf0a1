#include "snp/daemon/local_links.h"

#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>

namespace snp::daemon {

std::vector<std::string> links_that_are_up() {
  std::vector<std::string> names;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return names;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_PACKET) continue;
    const auto* link = reinterpret_cast<const sockaddr_ll*>(entry->ifa_addr);
    if (link->sll_hatype == ARPHRD_ETHER && (entry->ifa_flags & IFF_UP) != 0)
      names.emplace_back(entry->ifa_name);
  }
  ::freeifaddrs(list);
  return names;
}

}  // namespace snp::daemon
