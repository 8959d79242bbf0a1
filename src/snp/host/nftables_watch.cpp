// Rules and sets of nftables, with which iptables-nft and firewalld write, too.
#include <memory>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <nftables/libnftables.h>

#include "snp/host/links.h"
#include "snp/host/netlink.h"
#include "snp/host/nft_ruleset.h"
#include "snp/host/notified_watch.h"

namespace snp::host {
namespace {

constexpr std::uint16_t nft_message(int type) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
}

const char* name_of_family(std::uint8_t family) {
  switch (family) {
    case NFPROTO_INET:
      return "inet";
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_IPV6:
      return "ip6";
    case NFPROTO_BRIDGE:
      return "bridge";
    case NFPROTO_NETDEV:
      return "netdev";
    default:
      return "arp";
  }
}

void read_chain_devices(const nlmsghdr& header, NftSurroundings& out) {
  if (mnl_nlmsg_get_payload_len(&header) < sizeof(nfgenmsg)) return;
  const auto* family = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(&header));
  const Attributes<NFTA_CHAIN_MAX + 1> chain(header, sizeof(nfgenmsg));
  if (chain[NFTA_CHAIN_HOOK] == nullptr) return;
  const Attributes<NFTA_HOOK_MAX + 1> hook(*chain[NFTA_CHAIN_HOOK]);
  std::vector<std::string> names;
  if (hook[NFTA_HOOK_DEV] != nullptr) names.push_back(text_in(hook[NFTA_HOOK_DEV]));
  if (hook[NFTA_HOOK_DEVS] != nullptr)
    for_each_nested(*hook[NFTA_HOOK_DEVS], [&](const nlattr& device) {
      if (mnl_attr_get_type(&device) == NFTA_DEVICE_NAME) names.push_back(text_in(&device));
    });
  if (!names.empty())
    out.chain_devices[{name_of_family(family->nfgen_family), text_in(chain[NFTA_CHAIN_TABLE]),
                       text_in(chain[NFTA_CHAIN_NAME])}] = std::move(names);
}

Result<NftSurroundings> read_surroundings() {
  NftSurroundings surroundings;
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return Failure(socket.error());
  NetlinkRequest request(nft_message(NFT_MSG_GETCHAIN), NLM_F_DUMP);
  request.put_header<nfgenmsg>().nfgen_family = NFPROTO_UNSPEC;
  const auto asked = socket->ask(
      request, [&](const nlmsghdr& header) { read_chain_devices(header, surroundings); });
  if (!asked) return Failure(asked.error());
  const auto links = list_links();
  if (!links) return Failure(links.error());
  for (const LinkDetails& link : *links)
    if (link.is_bridge || link.is_bridge_port) surroundings.bridges.insert(link.name);
  return surroundings;
}

Result<std::string> read_json() {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                             nft_ctx_free);
  if (context == nullptr) return fail(Errc::kSystem, "libnftables cannot start");
  nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_JSON);
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  if (nft_run_cmd_from_buffer(context.get(), "list ruleset") != 0)
    return fail(Errc::kSystem,
                std::string("nft list ruleset: ") + nft_ctx_get_error_buffer(context.get()));
  return std::string(nft_ctx_get_output_buffer(context.get()));
}

class NftablesWatch final : public NotifiedWatch {
 public:
  using NotifiedWatch::NotifiedWatch;

  Result<Features> look() override {
    auto surroundings = read_surroundings();
    // Compiled without nftables: there are no rules.
    if (!surroundings && surroundings.error().sys_errno == EINVAL) return Features{};
    if (!surroundings) return Failure(surroundings.error());
    const auto json = read_json();
    if (!json) return Failure(json.error());
    return read_nft_ruleset(*json, std::move(*surroundings));
  }
};

}  // namespace

Result<WatchPtr> watch_nftables() {
  auto notifications = Notifications::open(NETLINK_NETFILTER, {NFNLGRP_NFTABLES});
  if (!notifications) return Failure(notifications.error());
  return std::make_unique<NftablesWatch>(std::move(*notifications));
}

}  // namespace snp::host
