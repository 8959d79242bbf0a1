// IPsec: XFRM policies and states. What a policy or state does not select is left alone.
#include <cstring>
#include <memory>

#include <linux/xfrm.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "snp/host/netlink.h"
#include "snp/host/notified_watch.h"
#include "snp/host/xfrm_rules.h"

namespace snp::host {
namespace {

IpAddress address_of(const xfrm_address_t& address, std::uint16_t family) {
  IpAddress out;
  if (family == AF_INET) {
    out = IpAddress::v4(0, 0, 0, 0);
    std::memcpy(&out.bytes[12], &address.a4, sizeof address.a4);
  } else {
    std::memcpy(out.bytes.data(), &address.a6, sizeof address.a6);
  }
  return out;
}

void add_net(Field field, const xfrm_address_t& address, std::uint8_t bits, std::uint16_t family,
             XfrmRule& out) {
  if (bits == 0) return;
  Condition condition;
  condition.field = field;
  if (const auto range = range_of_prefix(address_of(address, family), bits))
    condition.addresses.push_back(*range);
  else
    condition.is_open = true;
  out.conditions.push_back(std::move(condition));
}

void add_port(Field field, std::uint16_t port, std::uint16_t mask, XfrmRule& out) {
  if (mask == 0) return;
  Condition condition;
  condition.field = field;
  condition.is_open = mask != 0xffff;
  condition.ports.push_back({ntohs(port), ntohs(port)});
  out.conditions.push_back(std::move(condition));
}

void read_selector(const xfrm_selector& selector, XfrmRule& out) {
  out.is_for_others = selector.proto != 0 && selector.proto != IPPROTO_TCP;
  if (selector.family == AF_INET || selector.family == AF_INET6) {
    Condition family;
    family.is_v4 = selector.family == AF_INET;
    out.conditions.push_back(family);
  }
  add_net(Field::kSource, selector.saddr, selector.prefixlen_s, selector.family, out);
  add_net(Field::kDestination, selector.daddr, selector.prefixlen_d, selector.family, out);
  add_port(Field::kSourcePort, selector.sport, selector.sport_mask, out);
  add_port(Field::kDestinationPort, selector.dport, selector.dport_mask, out);
}

template <class T>
bool read_body(const nlmsghdr& header, T& out) {
  if (mnl_nlmsg_get_payload_len(&header) < sizeof out) return false;
  std::memcpy(&out, mnl_nlmsg_get_payload(&header), sizeof out);
  return true;
}

std::string selector_text(const xfrm_selector& selector) {
  const auto net = [&](const xfrm_address_t& address, std::uint8_t bits) {
    return to_string(address_of(address, selector.family)) + "/" + std::to_string(bits);
  };
  return "src " + net(selector.saddr, selector.prefixlen_s) + " dst " +
         net(selector.daddr, selector.prefixlen_d);
}

void read_policy(const nlmsghdr& header, std::vector<XfrmRule>& out) {
  xfrm_userpolicy_info info{};
  if (!read_body(header, info) || info.dir > XFRM_POLICY_OUT) return;  // of a socket, or forwarded
  const Attributes<XFRMA_MAX + 1> attributes(header, sizeof info);
  XfrmRule rule;
  rule.heading = info.dir == XFRM_POLICY_OUT ? Heading::kOut : Heading::kIn;
  rule.order = info.priority;
  rule.index = info.index;
  rule.lets_pass = info.action == XFRM_POLICY_ALLOW && attributes[XFRMA_TMPL] == nullptr;
  rule.what = std::string("ip xfrm policy: ") + selector_text(info.sel) + " dir " +
              (info.dir == XFRM_POLICY_OUT ? "out" : "in");
  read_selector(info.sel, rule);
  // Packets carry these only by other rules.
  rule.may_not_match = attributes[XFRMA_MARK] != nullptr || attributes[XFRMA_IF_ID] != nullptr ||
                       attributes[XFRMA_SEC_CTX] != nullptr || info.sel.ifindex != 0;
  out.push_back(std::move(rule));
}

// In transport mode a state without a selector is for the packets between its two ends.
void read_state(const nlmsghdr& header, std::vector<XfrmRule>& out) {
  xfrm_usersa_info info{};
  if (!read_body(header, info)) return;
  XfrmRule rule;
  rule.what = "ip xfrm state: src " + to_string(address_of(info.saddr, info.family)) + " dst " +
              to_string(address_of(info.id.daddr, info.family));
  xfrm_selector selector = info.sel;
  if (selector.family == AF_UNSPEC && info.mode == XFRM_MODE_TRANSPORT) {
    selector.family = info.family;
    selector.saddr = info.saddr;
    selector.daddr = info.id.daddr;
    selector.prefixlen_s = selector.prefixlen_d = info.family == AF_INET ? 32 : 128;
  }
  read_selector(selector, rule);
  out.push_back(std::move(rule));
}

class XfrmWatch final : public NotifiedWatch {
 public:
  using NotifiedWatch::NotifiedWatch;

  Result<Features> look() override;
};

Result<Features> XfrmWatch::look() {
  auto socket = NetlinkSocket::open(NETLINK_XFRM);
  if (!socket) return Failure(socket.error());
  std::vector<XfrmRule> policies, states;
  NetlinkRequest ask_policies(XFRM_MSG_GETPOLICY, NLM_F_DUMP);
  if (auto asked =
          socket->ask(ask_policies, [&](const nlmsghdr& header) { read_policy(header, policies); });
      !asked)
    return with_context("ip xfrm policy", asked.error());
  NetlinkRequest ask_states(XFRM_MSG_GETSA, NLM_F_DUMP);
  if (auto asked =
          socket->ask(ask_states, [&](const nlmsghdr& header) { read_state(header, states); });
      !asked)
    return with_context("ip xfrm state", asked.error());
  return features_of_xfrm(std::move(policies), std::move(states));
}

}  // namespace

Result<WatchPtr> watch_xfrm() {
  auto notifications =
      Notifications::open(NETLINK_XFRM, {XFRMNLGRP_POLICY, XFRMNLGRP_SA, XFRMNLGRP_EXPIRE});
  if (!notifications) return Failure(notifications.error());
  return std::make_unique<XfrmWatch>(std::move(*notifications));
}

}  // namespace snp::host
