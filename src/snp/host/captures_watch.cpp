// Captures on the loopback device. Local connections have no packets while they are offloaded, so a
// packet socket that waits for them brings them home; a capture on any other device gets copies of
// the target's frames and needs nothing.
#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "snp/host/features.h"
#include "snp/host/notifications.h"

namespace snp::host {
namespace {

constexpr const char* kSockets = "/proc/thread-self/net/packet";

// A line of kSockets: sk RefCnt Type Proto Iface R Rmem User Inode.
struct PacketSocket {
  unsigned protocol = 0;  // as in the Ethernet header
  unsigned ifindex = 0;   // 0: every device
  bool is_hooked = false;
};

bool parse(const std::string& line, PacketSocket& out) {
  std::istringstream words(line);
  std::string address, references, type;
  int hooked = 0;
  words >> address >> references >> type >> std::hex >> out.protocol >> std::dec >> out.ifindex >>
      hooked;
  out.is_hooked = hooked != 0;
  return !words.fail();
}

bool sees_loopback(const PacketSocket& socket, unsigned loopback) {
  constexpr std::array<unsigned, 3> kOfTcp = {ETH_P_ALL, ETH_P_IP, ETH_P_IPV6};
  const bool is_there = socket.ifindex == 0 || socket.ifindex == loopback;
  return socket.is_hooked && is_there &&
         std::find(kOfTcp.begin(), kOfTcp.end(), socket.protocol) != kOfTcp.end();
}

// Told by the promiscuous mode of lo, which programs that capture on a device switch on. What comes
// without (on every device at once, or on purpose) is announced to nobody: there the watch is
// blind.
class CapturesWatch final : public FeatureWatch {
 public:
  explicit CapturesWatch(Notifications notifications) : notifications_(std::move(notifications)) {}

  [[nodiscard]] int fd() const noexcept override { return notifications_.fd(); }
  bool drain() override {
    return notifications_.drain([](const nlmsghdr& header) {
      if (mnl_nlmsg_get_payload_len(&header) < sizeof(ifinfomsg)) return false;
      return (static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&header))->ifi_flags &
              IFF_LOOPBACK) != 0;
    });
  }
  [[nodiscard]] bool is_blind() const noexcept override { return true; }
  Result<Features> look() override;

 private:
  Notifications notifications_;
};

Result<Features> CapturesWatch::look() {
  std::ifstream in(kSockets);
  if (!in) return fail_errno(std::string("cannot read ") + kSockets);
  const unsigned loopback = ::if_nametoindex("lo");
  Features features;
  std::string line;
  while (std::getline(in, line)) {
    PacketSocket socket;
    if (!parse(line, socket) || !sees_loopback(socket, loopback)) continue;
    const char* where = socket.ifindex == 0 ? "a capture on every device" : "a capture on lo";
    if (features.empty() || features.back().what != where)
      features.push_back(
          {chimney::Reason::kCapture, where, [](const FlowView& view) { return view.is_local; }});
  }
  return features;
}

}  // namespace

Result<WatchPtr> watch_captures() {
  auto notifications = Notifications::open(NETLINK_ROUTE, {RTNLGRP_LINK});
  if (!notifications) return Failure(notifications.error());
  return std::make_unique<CapturesWatch>(std::move(*notifications));
}

}  // namespace snp::host
