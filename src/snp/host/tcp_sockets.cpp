#include "snp/host/tcp_sockets.h"

#include <array>
#include <cstring>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "snp/base/unique_fd.h"
#include "snp/host/netlink.h"

namespace snp::host {
namespace {

constexpr std::uint8_t kListen = 10;
// By the kernel's number (tcp_states.h).
constexpr std::array<const char*, 13> kStates = {
    "?",      "ESTABLISHED", "SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "FIN_WAIT_2",  "TIME_WAIT",
    "CLOSED", "CLOSE_WAIT",  "LAST_ACK", "LISTENING",    "CLOSING",    "SYN_RECEIVED"};

Endpoint endpoint_of(std::uint8_t family, const void* address, std::uint16_t port) {
  Endpoint endpoint;
  endpoint.port = ntohs(port);
  endpoint.address = IpAddress::v4(0, 0, 0, 0);
  if (family == AF_INET)
    std::memcpy(endpoint.address.bytes.data() + 12, address, 4);
  else
    std::memcpy(endpoint.address.bytes.data(), address, 16);
  return endpoint;
}

TcpSocketRow row_of(const inet_diag_msg& message) {
  const inet_diag_sockid& id = message.id;
  TcpSocketRow row;
  row.flow = {endpoint_of(message.idiag_family, id.idiag_src, id.idiag_sport),
              endpoint_of(message.idiag_family, id.idiag_dst, id.idiag_dport)};
  row.is_listening = message.idiag_state == kListen;
  row.state = message.idiag_state < kStates.size() ? kStates[message.idiag_state] : "?";
  return row;
}

Result<> list_family(NetlinkSocket& socket, std::uint8_t family, std::vector<TcpSocketRow>& rows) {
  NetlinkRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  auto& ask = request.put_header<inet_diag_req_v2>();
  ask.sdiag_family = family;
  ask.sdiag_protocol = IPPROTO_TCP;
  ask.idiag_states = ~0u;
  return socket.ask(request, [&](const nlmsghdr& header) {
    if (mnl_nlmsg_get_payload_len(&header) < sizeof(inet_diag_msg)) return;
    inet_diag_msg message{};
    std::memcpy(&message, mnl_nlmsg_get_payload(&header), sizeof message);
    rows.push_back(row_of(message));
  });
}

}  // namespace

Result<std::vector<TcpSocketRow>> list_tcp_sockets() {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return tl::unexpected(socket.error());
  std::vector<TcpSocketRow> rows;
  for (const int family : {AF_INET, AF_INET6})
    if (auto done = list_family(*socket, static_cast<std::uint8_t>(family), rows); !done)
      return tl::unexpected(done.error());
  return rows;
}

}  // namespace snp::host
