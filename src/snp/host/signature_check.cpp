#include "snp/host/signature_check.h"

#include <array>
#include <cstring>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include <libmnl/libmnl.h>

#include "snp/base/unique_fd.h"
#include "snp/host/socket_calls.h"

namespace snp::host {
namespace {

bool has_authentication_option(int fd) {
  std::array<std::byte, 64> info{};  // struct tcp_ao_info_opt; ENOENT: no keys
  socklen_t length = info.size();
  return ::getsockopt(fd, IPPROTO_TCP, kTcpAoInfo, info.data(), &length) == 0;
}

// Asks for exactly this socket, by tuple and cookie, with its MD5 keys.
void put_request(std::byte* buffer, int domain, const SocketSurvey& seen) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST;
  auto* request =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  const bool v4 = domain == AF_INET;
  request->sdiag_family = static_cast<__u8>(domain);
  request->sdiag_protocol = IPPROTO_TCP;
  request->idiag_states = ~0u;
  request->idiag_ext = 1u << (INET_DIAG_INFO - 1);  // the keys come along, to CAP_NET_ADMIN
  request->id.idiag_sport = htons(seen.tuple.local.port);
  request->id.idiag_dport = htons(seen.tuple.remote.port);
  const std::size_t offset = v4 ? 12 : 0;
  const std::size_t bytes = v4 ? 4 : 16;
  std::memcpy(request->id.idiag_src, &seen.tuple.local.address.bytes[offset], bytes);
  std::memcpy(request->id.idiag_dst, &seen.tuple.remote.address.bytes[offset], bytes);
  request->id.idiag_cookie[0] = static_cast<__u32>(seen.cookie);
  request->id.idiag_cookie[1] = static_cast<__u32>(seen.cookie >> 32);
}

bool answer_has_keys(const std::byte* buffer, std::size_t length) {
  const auto* header = reinterpret_cast<const nlmsghdr*>(buffer);
  if (!mnl_nlmsg_ok(header, static_cast<int>(length)) ||
      header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      mnl_nlmsg_get_payload_len(header) < sizeof(inet_diag_msg))
    return false;
  const auto* attribute =
      static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, sizeof(inet_diag_msg)));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    if (mnl_attr_get_type(attribute) == INET_DIAG_MD5SIG)
      return mnl_attr_get_payload_len(attribute) > 0;
    attribute = mnl_attr_next(attribute);
  }
  return false;
}

}  // namespace

bool is_signed(int fd, const SocketSurvey& seen) {
  if (has_authentication_option(fd)) return true;
  const auto domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  const UniqueFd diag(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!domain || !diag.is_open()) return false;
  alignas(nlmsghdr) std::array<std::byte, 256> request{};
  put_request(request.data(), *domain, seen);
  const auto* header = reinterpret_cast<const nlmsghdr*>(request.data());
  if (::send(diag.get(), header, header->nlmsg_len, 0) < 0) return false;
  alignas(nlmsghdr) std::array<std::byte, 8192> answer{};
  const ssize_t got = ::recv(diag.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  return got > 0 && answer_has_keys(answer.data(), static_cast<std::size_t>(got));
}

}  // namespace snp::host
