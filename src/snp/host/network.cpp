#include "snp/host/network.h"

#include <algorithm>
#include <cerrno>
#include <compare>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "snp/host/netlink.h"

namespace snp::host {
namespace {

using Mac = std::array<std::uint8_t, 6>;

constexpr std::size_t kMostCachedPaths = 4096;
// States in which the kernel itself sends to the link address without asking first.
constexpr std::uint16_t kUsableNeighbour =
    NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;
constexpr int kNotificationBuffer = 1 << 20;

struct Route {
  std::uint32_t ifindex = 0;
  std::uint32_t mtu = 0;  // of the route, or as path MTU discovery found; 0: the device's
  std::optional<IpAddress> gateway;
  bool is_local = false;
};

struct Neighbour {
  std::uint16_t state = NUD_NONE;
  std::optional<Mac> mac;  // usable now
};

struct LinkEntry {
  Link link;
  bool is_ethernet = false;
  bool is_loopback = false;
};

struct PathKey {
  FourTuple flow;
  std::uint32_t bound_ifindex = 0;
  friend auto operator<=>(const PathKey&, const PathKey&) = default;
};

struct NeighbourKey {
  std::uint32_t ifindex = 0;
  IpAddress address;
  friend auto operator<=>(const NeighbourKey&, const NeighbourKey&) = default;
};

std::optional<Mac> mac_in(const nlattr* attribute) {
  Mac mac{};
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != mac.size())
    return std::nullopt;
  std::memcpy(mac.data(), mnl_attr_get_payload(attribute), mac.size());
  return mac;
}

template <class T>
const T& family_header(const nlmsghdr& header) {
  return *static_cast<const T*>(mnl_nlmsg_get_payload(&header));
}

template <class T>
bool holds(const nlmsghdr& header) {
  return mnl_nlmsg_get_payload_len(&header) >= sizeof(T);
}

std::pair<std::uint32_t, LinkEntry> read_link(const nlmsghdr& header) {
  const auto& info = family_header<ifinfomsg>(header);
  const Attributes<IFLA_MAX + 1> attributes(header, sizeof(ifinfomsg));
  LinkEntry entry;
  entry.link.ifindex = static_cast<std::uint32_t>(info.ifi_index);
  if (attributes[IFLA_IFNAME] != nullptr)
    entry.link.name = mnl_attr_get_str(attributes[IFLA_IFNAME]);
  const auto mac = mac_in(attributes[IFLA_ADDRESS]);
  entry.link.mac = mac.value_or(Mac{});
  entry.link.mtu = attributes.u32(IFLA_MTU);
  entry.link.is_up = (info.ifi_flags & IFF_UP) != 0 && (info.ifi_flags & IFF_RUNNING) != 0;
  entry.is_ethernet = info.ifi_type == ARPHRD_ETHER && mac.has_value();
  entry.is_loopback = (info.ifi_flags & IFF_LOOPBACK) != 0;
  return {entry.link.ifindex, entry};
}

Route read_route(const nlmsghdr& header) {
  const auto& info = family_header<rtmsg>(header);
  const Attributes<RTA_MAX + 1> attributes(header, sizeof(rtmsg));
  Route route;
  route.ifindex = attributes.u32(RTA_OIF);
  route.is_local = info.rtm_type == RTN_LOCAL;
  if (attributes[RTA_GATEWAY] != nullptr) {
    route.gateway = address_in(attributes[RTA_GATEWAY]);
  } else if (attributes[RTA_VIA] != nullptr &&
             mnl_attr_get_payload_len(attributes[RTA_VIA]) == sizeof(rtvia) + 16) {
    // An IPv6 gateway for an IPv4 destination (RFC 5549).
    IpAddress gateway;
    const auto* via = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attributes[RTA_VIA]));
    std::memcpy(gateway.bytes.data(), via + sizeof(rtvia), gateway.bytes.size());
    route.gateway = gateway;
  }
  if (attributes[RTA_METRICS] != nullptr)
    route.mtu = Attributes<RTAX_MAX + 1>(*attributes[RTA_METRICS]).u32(RTAX_MTU);
  return route;
}

Neighbour read_neighbour(const nlmsghdr& header) {
  const auto& info = family_header<ndmsg>(header);
  const Attributes<NDA_MAX + 1> attributes(header, sizeof(ndmsg));
  Neighbour neighbour;
  neighbour.state = info.ndm_state;
  if ((info.ndm_state & kUsableNeighbour) != 0) neighbour.mac = mac_in(attributes[NDA_LLADDR]);
  return neighbour;
}

class RtnetlinkNetwork final : public Network {
 public:
  Result<> start();
  Result<Path> find_path(const FourTuple& flow, std::uint32_t bound_ifindex) override;
  Result<Link> find_link(const std::string& name) override;
  [[nodiscard]] int fd() const noexcept override { return notifications_.get(); }
  void dispatch(const std::function<void(const Change&)>& on_change) override;
  void confirm_neighbour(std::uint32_t ifindex, const IpAddress& next_hop) override;

 private:
  Result<> subscribe();
  Result<> read_links();
  Result<> read_rules();
  Result<Route> find_route(const FourTuple& flow, std::uint32_t bound_ifindex);
  Result<Neighbour> find_neighbour(const NeighbourKey& key);
  Result<> change_neighbour(const NeighbourKey& key, std::uint16_t flags, std::uint16_t state,
                            std::uint8_t neighbour_flags);
  Result<Mac> resolve(const NeighbourKey& key);
  Result<Path> look_up_path(const FourTuple& flow, std::uint32_t bound_ifindex);

  std::optional<Change> on_notification(const nlmsghdr& header);
  std::optional<Change> on_link(const nlmsghdr& header);
  std::optional<Change> on_neighbour(const nlmsghdr& header);
  void on_overflow(const std::function<void(const Change&)>& on_change);

  NetlinkSocket requests_;
  UniqueFd notifications_;
  std::map<std::uint32_t, LinkEntry> links_;
  std::map<PathKey, Path> paths_;  // without ports, unless some rule looks at them
  bool has_port_rules_ = false;
  // Neighbours that find_path() has named; without a value: not resolved when it was last seen.
  std::map<NeighbourKey, std::optional<Mac>> neighbours_;
};

Result<> RtnetlinkNetwork::start() {
  auto requests = NetlinkSocket::open();
  if (!requests) return Failure(requests.error());
  requests_ = std::move(*requests);
  // Notifications first, so that no change is lost between them and the first look.
  if (auto subscribed = subscribe(); !subscribed) return subscribed;
  if (auto read = read_links(); !read) return read;
  return read_rules();
}

Result<> RtnetlinkNetwork::subscribe() {
  notifications_.reset(
      ::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!notifications_.is_open()) return fail_errno("rtnetlink notifications");
  // A socket without a number of its own is taken for the sender, the kernel, and told nothing.
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  if (::bind(notifications_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
    return fail_errno("rtnetlink notifications, bind");
  ::setsockopt(notifications_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kNotificationBuffer,
               sizeof kNotificationBuffer);
  for (const int group :
       {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
        RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE}) {
    if (::setsockopt(notifications_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
                     sizeof group) != 0)
      return fail_errno("rtnetlink notifications, joining a group");
  }
  return {};
}

Result<> RtnetlinkNetwork::read_links() {
  links_.clear();
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP);
  request.put_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  return requests_.ask(request, [this](const nlmsghdr& header) {
    if (header.nlmsg_type == RTM_NEWLINK && holds<ifinfomsg>(header))
      links_.insert(read_link(header));
  });
}

// Policy routing by port makes connections to the same peer differ.
Result<> RtnetlinkNetwork::read_rules() {
  has_port_rules_ = false;
  NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP);
  request.put_header<fib_rule_hdr>().family = AF_UNSPEC;
  return requests_.ask(request, [this](const nlmsghdr& header) {
    if (header.nlmsg_type != RTM_NEWRULE || !holds<fib_rule_hdr>(header)) return;
    const Attributes<FRA_MAX + 1> attributes(header, sizeof(fib_rule_hdr));
    for (const int type : {FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE})
      if (attributes[static_cast<std::size_t>(type)] != nullptr) has_port_rules_ = true;
  });
}

Result<Link> RtnetlinkNetwork::find_link(const std::string& name) {
  if (auto read = read_links(); !read) return Failure(read.error());
  for (const auto& [ifindex, entry] : links_)
    if (entry.link.name == name) return entry.link;
  return fail(Errc::kNotFound, "there is no network device '" + name +
                                   "' in this namespace; 'ip link' lists those there are");
}

Result<Route> RtnetlinkNetwork::find_route(const FourTuple& flow, std::uint32_t bound_ifindex) {
  NetlinkRequest request(RTM_GETROUTE, 0);
  auto& route = request.put_header<rtmsg>();
  route.rtm_family = family_of(flow.remote.address);
  route.rtm_dst_len = prefix_bits_of(flow.remote.address);
  route.rtm_src_len = prefix_bits_of(flow.local.address);
  request.put_address(RTA_DST, flow.remote.address);
  request.put_address(RTA_SRC, flow.local.address);
  if (bound_ifindex != 0) request.put_u32(RTA_OIF, bound_ifindex);
  request.put_u8(RTA_IP_PROTO, IPPROTO_TCP);
  request.put_u16(RTA_SPORT, htons(flow.local.port));
  request.put_u16(RTA_DPORT, htons(flow.remote.port));
  std::optional<Route> found;
  const auto asked = requests_.ask(request, [&found](const nlmsghdr& header) {
    if (header.nlmsg_type == RTM_NEWROUTE && holds<rtmsg>(header)) found = read_route(header);
  });
  if (!asked && asked.error().sys_errno == 0) return Failure(asked.error());
  if (!asked || !found || found->ifindex == 0)
    return fail(Errc::kNotFound, "no route from " + to_string(flow.local.address) + " to " +
                                     to_string(flow.remote.address) + ", see 'ip route get'");
  return *found;
}

Result<Neighbour> RtnetlinkNetwork::find_neighbour(const NeighbourKey& key) {
  NetlinkRequest request(RTM_GETNEIGH, 0);
  auto& neighbour = request.put_header<ndmsg>();
  neighbour.ndm_family = family_of(key.address);
  neighbour.ndm_ifindex = static_cast<std::int32_t>(key.ifindex);
  request.put_address(NDA_DST, key.address);
  Neighbour found;
  const auto asked = requests_.ask(request, [&found](const nlmsghdr& header) {
    if (header.nlmsg_type == RTM_NEWNEIGH && holds<ndmsg>(header)) found = read_neighbour(header);
  });
  // ENOENT: the host has no entry yet.
  if (!asked && asked.error().sys_errno != ENOENT) return Failure(asked.error());
  return found;
}

Result<> RtnetlinkNetwork::change_neighbour(const NeighbourKey& key, std::uint16_t flags,
                                            std::uint16_t state, std::uint8_t neighbour_flags) {
  NetlinkRequest request(RTM_NEWNEIGH, static_cast<std::uint16_t>(NLM_F_ACK | flags));
  auto& neighbour = request.put_header<ndmsg>();
  neighbour.ndm_family = family_of(key.address);
  neighbour.ndm_ifindex = static_cast<std::int32_t>(key.ifindex);
  neighbour.ndm_state = state;
  neighbour.ndm_flags = neighbour_flags;
  request.put_address(NDA_DST, key.address);
  return requests_.ask(request, [](const nlmsghdr&) {});
}

// NTF_USE is what the kernel does with an entry when it sends a packet: it resolves an entry that
// is not there and verifies a stale one. No entry becomes permanent by it.
Result<Mac> RtnetlinkNetwork::resolve(const NeighbourKey& key) {
  const auto neighbour = find_neighbour(key);
  if (!neighbour) return Failure(neighbour.error());
  neighbours_[key] = neighbour->mac;
  if (!neighbour->mac || neighbour->state == NUD_STALE) {
    const auto asked = change_neighbour(key, NLM_F_CREATE, NUD_NONE, NTF_USE);
    if (!asked) return Failure(asked.error());
  }
  if (!neighbour->mac)
    return fail(Errc::kBusy, "the link address of " + to_string(key.address) +
                                 " is not known yet; the host has been told to ask for it");
  return *neighbour->mac;
}

Result<Path> RtnetlinkNetwork::look_up_path(const FourTuple& flow, std::uint32_t bound_ifindex) {
  const auto route = find_route(flow, bound_ifindex);
  if (!route) return Failure(route.error());
  const auto entry = links_.find(route->ifindex);
  if (entry == links_.end())
    return fail(Errc::kBusy, "the device of the route is not known yet (just made)");
  const LinkEntry& device = entry->second;
  Path path;
  path.ifindex = route->ifindex;
  path.local_mac = device.link.mac;
  path.next_hop = route->gateway.value_or(flow.remote.address);
  const std::uint32_t mtu =
      route->mtu != 0 ? std::min(route->mtu, device.link.mtu) : device.link.mtu;
  path.mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu, 65535));
  path.is_loopback = route->is_local || device.is_loopback;
  if (path.is_loopback) return path;
  if (!device.is_ethernet)
    return fail(Errc::kUnsupported, "device '" + device.link.name +
                                        "' carries no Ethernet frames; the connection stays in "
                                        "the host");
  const auto mac = resolve({path.ifindex, path.next_hop});
  if (!mac) return Failure(mac.error());
  path.next_hop_mac = *mac;
  return path;
}

Result<Path> RtnetlinkNetwork::find_path(const FourTuple& flow, std::uint32_t bound_ifindex) {
  PathKey key{flow, bound_ifindex};
  if (!has_port_rules_) key.flow.local.port = key.flow.remote.port = 0;
  if (const auto known = paths_.find(key); known != paths_.end()) return known->second;
  auto path = look_up_path(flow, bound_ifindex);
  if (path) {
    if (paths_.size() >= kMostCachedPaths) paths_.clear();
    paths_.emplace(key, *path);
  }
  return path;
}

// As if a packet of the host had been answered: forward progress (RFC 4861 7.3.1). An entry that an
// administrator made is left alone.
void RtnetlinkNetwork::confirm_neighbour(std::uint32_t ifindex, const IpAddress& next_hop) {
  const NeighbourKey key{ifindex, next_hop};
  const auto neighbour = find_neighbour(key);
  if (!neighbour || !neighbour->mac || (neighbour->state & (NUD_PERMANENT | NUD_NOARP)) != 0)
    return;
  // Without NLM_F_CREATE and without an address: only an entry that is there and valid is touched.
  // A failure means that it has just gone, and the next send will ask for it anew.
  (void)change_neighbour(key, NLM_F_REPLACE, NUD_REACHABLE, 0);
}

std::optional<Network::Change> RtnetlinkNetwork::on_link(const nlmsghdr& header) {
  if (!holds<ifinfomsg>(header)) return std::nullopt;
  auto [ifindex, entry] = read_link(header);
  const auto known = links_.find(ifindex);
  if (header.nlmsg_type == RTM_DELLINK) {
    links_.erase(ifindex);
  } else {
    // Counters and the like are announced, too; only what a path is made of counts.
    if (known != links_.end() && known->second.link.mac == entry.link.mac &&
        known->second.link.mtu == entry.link.mtu && known->second.link.is_up == entry.link.is_up &&
        known->second.link.name == entry.link.name)
      return std::nullopt;
    links_[ifindex] = entry;
  }
  paths_.clear();
  return Change{Change::Kind::kLink, ifindex, {}};
}

std::optional<Network::Change> RtnetlinkNetwork::on_neighbour(const nlmsghdr& header) {
  if (!holds<ndmsg>(header)) return std::nullopt;
  const auto& info = family_header<ndmsg>(header);
  const Attributes<NDA_MAX + 1> attributes(header, sizeof(ndmsg));
  const NeighbourKey key{static_cast<std::uint32_t>(info.ndm_ifindex),
                         address_in(attributes[NDA_DST])};
  const auto known = neighbours_.find(key);
  if (known == neighbours_.end()) return std::nullopt;
  const auto mac = header.nlmsg_type == RTM_DELNEIGH ? std::nullopt : read_neighbour(header).mac;
  if (known->second == mac) return std::nullopt;
  known->second = mac;
  std::erase_if(paths_, [&key](const auto& path) {
    return path.second.ifindex == key.ifindex && path.second.next_hop == key.address;
  });
  return Change{Change::Kind::kNeighbour, key.ifindex, key.address};
}

std::optional<Network::Change> RtnetlinkNetwork::on_notification(const nlmsghdr& header) {
  switch (header.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return on_link(header);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return on_neighbour(header);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      if (!holds<ifaddrmsg>(header)) return std::nullopt;
      paths_.clear();
      return Change{Change::Kind::kAddress, family_header<ifaddrmsg>(header).ifa_index, {}};
    case RTM_NEWRULE:
    case RTM_DELRULE:
      if (!read_rules()) has_port_rules_ = true;  // at worst the cache helps less
      paths_.clear();
      return Change{Change::Kind::kRoute, 0, {}};
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      paths_.clear();
      return Change{Change::Kind::kRoute, 0, {}};
    default:
      return std::nullopt;
  }
}

// Some notifications were lost: everything may have changed.
void RtnetlinkNetwork::on_overflow(const std::function<void(const Change&)>& on_change) {
  paths_.clear();
  // A failure leaves no devices, and find_path() says kBusy until the next notification.
  (void)read_links();
  for (const auto kind : {Change::Kind::kLink, Change::Kind::kAddress, Change::Kind::kRoute})
    on_change({kind, 0, {}});
}

void RtnetlinkNetwork::dispatch(const std::function<void(const Change&)>& on_change) {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;
  while (true) {
    const ssize_t got = ::recv(notifications_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == ENOBUFS) {
      on_overflow(on_change);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    int left = static_cast<int>(got);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left))
      if (const auto change = on_notification(*header)) on_change(*change);
  }
}

}  // namespace

Result<std::unique_ptr<Network>> Network::open() {
  auto network = std::make_unique<RtnetlinkNetwork>();
  if (auto started = network->start(); !started) return Failure(started.error());
  return network;
}

}  // namespace snp::host
