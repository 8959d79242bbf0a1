#include "snp/host/conntrack.h"

#include <cerrno>

#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include "snp/host/netlink.h"

namespace snp::host {
namespace {

constexpr auto kUpdate =
    static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | static_cast<int>(IPCTNL_MSG_CT_NEW));

// Conntrack finds it by either direction.
void put_tuple(NetlinkRequest& request, const FourTuple& flow) {
  const bool is_v4 = flow.local.address.is_v4();
  nlattr* tuple = mnl_attr_nest_start(request.header(), CTA_TUPLE_ORIG);
  nlattr* addresses = mnl_attr_nest_start(request.header(), CTA_TUPLE_IP);
  request.put_address(is_v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, flow.local.address);
  request.put_address(is_v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, flow.remote.address);
  mnl_attr_nest_end(request.header(), addresses);
  nlattr* ports = mnl_attr_nest_start(request.header(), CTA_TUPLE_PROTO);
  request.put_u8(CTA_PROTO_NUM, IPPROTO_TCP);
  request.put_u16(CTA_PROTO_SRC_PORT, htons(flow.local.port));
  request.put_u16(CTA_PROTO_DST_PORT, htons(flow.remote.port));
  mnl_attr_nest_end(request.header(), ports);
  mnl_attr_nest_end(request.header(), tuple);
}

void put_liberal(NetlinkRequest& request) {
  constexpr nf_ct_tcp_flags kLiberal{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  nlattr* info = mnl_attr_nest_start(request.header(), CTA_PROTOINFO);
  nlattr* tcp = mnl_attr_nest_start(request.header(), CTA_PROTOINFO_TCP);
  request.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &kLiberal, sizeof kLiberal);
  request.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &kLiberal, sizeof kLiberal);
  mnl_attr_nest_end(request.header(), tcp);
  mnl_attr_nest_end(request.header(), info);
}

}  // namespace

Result<> forgive_gaps(const FourTuple& flow) {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return {};  // a kernel without netfilter
  NetlinkRequest request(kUpdate, NLM_F_ACK);
  request.put_header<nfgenmsg>().nfgen_family = family_of(flow.local.address);
  put_tuple(request, flow);
  put_liberal(request);
  const auto done = socket->ask(request, [](const nlmsghdr&) {});
  // Not known to it, or no conntrack in this kernel.
  if (!done && done.error().sys_errno != ENOENT && done.error().sys_errno != EINVAL) return done;
  return {};
}

}  // namespace snp::host
