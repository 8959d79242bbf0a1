// Bridging and forwarding. Forwarding concerns nobody by itself: only with address translation may
// a forwarded connection be given the four-tuple of one of ours (reference 3.2, the trap).
#include <map>
#include <memory>
#include <set>

#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "snp/host/links.h"
#include "snp/host/netlink.h"
#include "snp/host/notified_watch.h"

namespace snp::host {
namespace {

constexpr std::size_t kMostNamed = 8;  // devices in one line of text

Feature bridge_feature(const LinkDetails& link) {
  std::string what = "device " + link.name;
  what += link.is_bridge ? " is a bridge" : " is a port of bridge " + link.master;
  return {chimney::Reason::kBridge, std::move(what), [name = link.name](const FlowView& view) {
            return view.device.empty() || view.device == name;
          }};
}

Result<std::set<int>> find_forwarding(NetlinkSocket& socket, std::uint8_t family) {
  std::set<int> found;
  NetlinkRequest request(RTM_GETNETCONF, NLM_F_DUMP);
  request.put_header<netconfmsg>().ncm_family = family;
  auto asked = socket.ask(request, [&](const nlmsghdr& header) {
    if (header.nlmsg_type != RTM_NEWNETCONF ||
        mnl_nlmsg_get_payload_len(&header) < sizeof(netconfmsg))
      return;
    const Attributes<NETCONFA_MAX + 1> attributes(header, sizeof(netconfmsg));
    if (attributes.u32(NETCONFA_FORWARDING) != 0)
      found.insert(static_cast<int>(attributes.u32(NETCONFA_IFINDEX)));
  });
  if (!asked) return Failure(asked.error());
  return found;
}

// One for all devices of a family; without any: none.
void add_forwarding(const std::vector<LinkDetails>& links, const std::set<int>& forwarding,
                    bool is_v4, Features& out) {
  std::set<std::string> devices;
  for (const LinkDetails& link : links)
    if (!link.is_loopback && forwarding.contains(static_cast<int>(link.ifindex)))
      devices.insert(link.name);
  if (devices.empty()) return;
  std::string what = std::string(is_v4 ? "IPv4" : "IPv6") + " forwarding over";
  std::size_t named = 0;
  for (const std::string& name : devices)
    if (++named <= kMostNamed) what += " " + name;
  if (named > kMostNamed) what += " and others";
  out.push_back({chimney::Reason::kForwarding, std::move(what),
                 [devices = std::move(devices), is_v4](const FlowView& view) {
                   return !view.is_local && view.flow.remote.address.is_v4() == is_v4 &&
                          (view.device.empty() || devices.contains(view.device));
                 }});
}

class RoutingWatch final : public NotifiedWatch {
 public:
  using NotifiedWatch::NotifiedWatch;

  Result<Features> look() override;
};

Result<Features> RoutingWatch::look() {
  auto socket = NetlinkSocket::open();
  if (!socket) return Failure(socket.error());
  const auto links = list_links();
  if (!links) return Failure(links.error());
  Features features;
  for (const LinkDetails& link : *links)
    if (link.is_bridge || link.is_bridge_port) features.push_back(bridge_feature(link));
  for (const bool is_v4 : {true, false}) {
    const auto forwarding = find_forwarding(*socket, is_v4 ? AF_INET : AF_INET6);
    if (!forwarding) return Failure(forwarding.error());
    add_forwarding(*links, *forwarding, is_v4, features);
  }
  return features;
}

}  // namespace

Result<WatchPtr> watch_routing() {
  auto notifications = Notifications::open(
      NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF});
  if (!notifications) return Failure(notifications.error());
  return std::make_unique<RoutingWatch>(std::move(*notifications));
}

}  // namespace snp::host
