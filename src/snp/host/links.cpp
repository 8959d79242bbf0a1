#include "snp/host/links.h"

#include <map>
#include <string_view>

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "snp/host/netlink.h"

namespace snp::host {
namespace {

bool is_bridge_kind(std::string_view kind) {
  return kind == "bridge" || kind == "openvswitch";
}

std::uint32_t xdp_program_in(const nlattr* attribute) {
  if (attribute == nullptr) return 0;
  const Attributes<IFLA_XDP_MAX + 1> xdp(*attribute);
  for (const int type :
       {IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID, IFLA_XDP_HW_PROG_ID})
    if (const std::uint32_t id = xdp.u32(static_cast<std::size_t>(type)); id != 0) return id;
  return 0;
}

struct Row {
  LinkDetails link;
  std::uint32_t master = 0;
};

Row read_link(const nlmsghdr& header) {
  const auto& info = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&header));
  const Attributes<IFLA_MAX + 1> attributes(header, sizeof(ifinfomsg));
  Row row;
  row.link.ifindex = static_cast<std::uint32_t>(info.ifi_index);
  row.link.name = text_in(attributes[IFLA_IFNAME]);
  row.link.is_loopback = (info.ifi_flags & IFF_LOOPBACK) != 0;
  row.link.xdp_program = xdp_program_in(attributes[IFLA_XDP]);
  row.master = attributes.u32(IFLA_MASTER);
  if (attributes[IFLA_LINKINFO] == nullptr) return row;
  const Attributes<IFLA_INFO_MAX + 1> details(*attributes[IFLA_LINKINFO]);
  row.link.is_bridge = is_bridge_kind(text_in(details[IFLA_INFO_KIND]));
  row.link.is_bridge_port = is_bridge_kind(text_in(details[IFLA_INFO_SLAVE_KIND]));
  return row;
}

}  // namespace

Result<std::vector<LinkDetails>> list_links() {
  auto socket = NetlinkSocket::open();
  if (!socket) return Failure(socket.error());
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP);
  request.put_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  std::map<std::uint32_t, Row> rows;
  const auto asked = socket->ask(request, [&rows](const nlmsghdr& header) {
    if (header.nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(&header) < sizeof(ifinfomsg))
      return;
    Row row = read_link(header);
    rows[row.link.ifindex] = std::move(row);
  });
  if (!asked) return Failure(asked.error());
  std::vector<LinkDetails> links;
  for (auto& [ifindex, row] : rows) {
    if (const auto master = rows.find(row.master); master != rows.end())
      row.link.master = master->second.link.name;
    links.push_back(row.link);
  }
  return links;
}

}  // namespace snp::host
