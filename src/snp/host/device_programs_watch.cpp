// Programs and filters of other owners on devices: XDP, and tc at clsact or ingress. Filters that
// only choose a class of a qdisc see the target's frames, too, and are left alone.
#include <memory>
#include <set>
#include <string_view>

#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "snp/host/links.h"
#include "snp/host/netlink.h"
#include "snp/host/notified_watch.h"
#include "snp/host/program_names.h"

namespace snp::host {
namespace {

constexpr std::string_view kOurs = kOurPrograms;

Feature on_device(const std::string& device, std::string what) {
  return {chimney::Reason::kDeviceProgram, std::move(what),
          [device](const FlowView& view) { return view.device.empty() || view.device == device; }};
}

const tcmsg* tc_message(const nlmsghdr& header) {
  if (mnl_nlmsg_get_payload_len(&header) < sizeof(tcmsg)) return nullptr;
  return static_cast<const tcmsg*>(mnl_nlmsg_get_payload(&header));
}

// The devices that have hooks for filters.
Result<std::set<std::uint32_t>> find_hooks(NetlinkSocket& socket) {
  std::set<std::uint32_t> found;
  NetlinkRequest request(RTM_GETQDISC, NLM_F_DUMP);
  request.put_header<tcmsg>().tcm_family = AF_UNSPEC;
  auto asked = socket.ask(request, [&](const nlmsghdr& header) {
    const tcmsg* message = tc_message(header);
    if (message == nullptr) return;
    const std::string kind = text_in(Attributes<TCA_MAX + 1>(header, sizeof(tcmsg))[TCA_KIND]);
    if (kind == "clsact" || kind == "ingress")
      found.insert(static_cast<std::uint32_t>(message->tcm_ifindex));
  });
  if (!asked) return Failure(asked.error());
  return found;
}

// "bpf NAME", "flower"; empty: ours, or no filter.
std::string name_of_filter(const nlmsghdr& header) {
  const Attributes<TCA_MAX + 1> attributes(header, sizeof(tcmsg));
  if (attributes[TCA_KIND] == nullptr || attributes[TCA_OPTIONS] == nullptr) return {};
  std::string kind = text_in(attributes[TCA_KIND]);
  if (kind != "bpf") return kind;
  const std::string name =
      text_in(Attributes<TCA_BPF_MAX + 1>(*attributes[TCA_OPTIONS])[TCA_BPF_NAME]);
  if (std::string_view(name).substr(0, kOurs.size()) == kOurs) return {};
  return kind + " " + name;
}

Result<> add_filters(NetlinkSocket& socket, const LinkDetails& link, std::uint32_t hook,
                     const std::string& hook_name, Features& out) {
  NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP);
  auto& message = request.put_header<tcmsg>();
  message.tcm_family = AF_UNSPEC;
  message.tcm_ifindex = static_cast<int>(link.ifindex);
  message.tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook);
  std::set<std::string> names;
  auto asked = socket.ask(request, [&](const nlmsghdr& header) {
    if (header.nlmsg_type != RTM_NEWTFILTER || tc_message(header) == nullptr) return;
    if (std::string name = name_of_filter(header); !name.empty()) names.insert(std::move(name));
  });
  const std::string place = "device " + link.name + ", tc " + hook_name + " filter ";
  for (const std::string& name : names)
    out.push_back(on_device(link.name, place + name));
  return asked;
}

class DeviceProgramsWatch final : public NotifiedWatch {
 public:
  using NotifiedWatch::NotifiedWatch;

  Result<Features> look() override;
};

Result<Features> DeviceProgramsWatch::look() {
  auto socket = NetlinkSocket::open();
  if (!socket) return Failure(socket.error());
  const auto links = list_links();
  if (!links) return Failure(links.error());
  const auto hooks = find_hooks(*socket);
  if (!hooks) return Failure(hooks.error());
  Features features;
  for (const LinkDetails& link : *links) {
    if (link.xdp_program != 0 && !name_of_stranger(link.xdp_program).empty())
      features.push_back(on_device(link.name, "device " + link.name + ", XDP program id " +
                                                  std::to_string(link.xdp_program)));
    if (!hooks->contains(link.ifindex)) continue;
    // A device, or its hook at egress, may be gone by now: then there is nothing to say of it.
    (void)add_filters(*socket, link, TC_H_MIN_INGRESS, "ingress", features);
    (void)add_filters(*socket, link, TC_H_MIN_EGRESS, "egress", features);
  }
  return features;
}

}  // namespace

Result<WatchPtr> watch_device_programs() {
  auto notifications = Notifications::open(NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_TC});
  if (!notifications) return Failure(notifications.error());
  return std::make_unique<DeviceProgramsWatch>(std::move(*notifications));
}

}  // namespace snp::host
