#include "snp/rss/backends/restore.h"

#include <map>

#include <net/if.h>

#include "snp/rss/backends/card.h"
#include "snp/rss/backends/rps.h"

namespace snp::rss {

void restore_devices(Journal& journal, const Sysfs& sysfs,
                     const std::function<void(const std::string&)>& say) {
  std::map<std::uint32_t, std::string> devices;
  for (const JournalLine& line : journal.lines())
    devices[line.ifindex] = line.device;
  for (const auto& [ifindex, name] : devices) {
    const bool is_there = ::if_nametoindex(name.c_str()) == ifindex;
    const EthtoolCall gone = [](void*) { return -ENODEV; };
    for (const auto& done :
         {restore_rps(name, ifindex, sysfs, journal),
          restore_card(name, ifindex, is_there ? ethtool_of(name) : gone, journal)})
      if (!done) say(name + " cannot be put back as it was: " + done.error().message);
  }
}

}  // namespace snp::rss
