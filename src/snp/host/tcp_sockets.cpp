#include "snp/host/tcp_sockets.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "snp/base/unique_fd.h"
#include "snp/host/netlink.h"
#include "snp/host/socket_calls.h"

namespace snp::host {
namespace {

constexpr std::uint8_t kListen = 10;
// By the kernel's number (tcp_states.h).
constexpr std::array<const char*, 13> kStateNames = {
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
  row.state = message.idiag_state < kStateNames.size() ? kStateNames[message.idiag_state] : "?";
  return row;
}

// `states`: a bit for each; `extensions`: a bit for each INET_DIAG_* that is wanted, too.
Result<> list_family(NetlinkSocket& socket, std::uint8_t family, std::uint32_t states,
                     std::uint8_t extensions,
                     const std::function<void(const inet_diag_msg&, const nlmsghdr&)>& on_socket) {
  NetlinkRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  auto& ask = request.put_header<inet_diag_req_v2>();
  ask.sdiag_family = family;
  ask.sdiag_protocol = IPPROTO_TCP;
  ask.idiag_states = states;
  ask.idiag_ext = extensions;
  return socket.ask(request, [&](const nlmsghdr& header) {
    if (mnl_nlmsg_get_payload_len(&header) < sizeof(inet_diag_msg)) return;
    inet_diag_msg message{};
    std::memcpy(&message, mnl_nlmsg_get_payload(&header), sizeof message);
    on_socket(message, header);
  });
}

// tcp_info grows with the kernel: what an older one does not have is zero.
void read_info(const nlmsghdr& header, tcp_info& info) {
  const Attributes<INET_DIAG_INFO + 1> attributes(header, sizeof(inet_diag_msg));
  const nlattr* attribute = attributes[INET_DIAG_INFO];
  if (attribute == nullptr) return;
  std::memcpy(&info, mnl_attr_get_payload(attribute),
              std::min<std::size_t>(sizeof info, mnl_attr_get_payload_len(attribute)));
}

}  // namespace

Result<std::vector<TcpSocketRow>> list_tcp_sockets() {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return tl::unexpected(socket.error());
  std::vector<TcpSocketRow> rows;
  for (const int family : {AF_INET, AF_INET6})
    if (auto done = list_family(*socket, static_cast<std::uint8_t>(family), ~0u, 0,
                                [&](const inet_diag_msg& message, const nlmsghdr&) {
                                  rows.push_back(row_of(message));
                                });
        !done)
      return tl::unexpected(done.error());
  return rows;
}

std::map<FourTuple, SocketMark> list_socket_marks() {
  std::map<FourTuple, SocketMark> marks;
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return marks;
  constexpr std::uint32_t kStates = 1u << kKernelEstablished | 1u << kKernelFinWait1 |
                                    1u << kKernelFinWait2 | 1u << kKernelCloseWait |
                                    1u << kKernelLastAck | 1u << kKernelClosing;
  constexpr auto kInfo = static_cast<std::uint8_t>(1u << (INET_DIAG_INFO - 1));
  for (const int family : {AF_INET, AF_INET6})
    (void)list_family(*socket, static_cast<std::uint8_t>(family), kStates, kInfo,
                      [&](const inet_diag_msg& message, const nlmsghdr& header) {
                        tcp_info info{};
                        read_info(header, info);
                        marks[row_of(message).flow] = mark_of(info);
                      });
  return marks;
}

}  // namespace snp::host
