#include "snp/host/socket_calls.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <sys/ioctl.h>

namespace snp::host {

std::optional<int> get_option(int fd, int level, int name) noexcept {
  int value = 0;
  if (!read_option(fd, level, name, value)) return std::nullopt;
  return value;
}

bool set_option(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

bool keep_option(int fd, int level, int name, int value) noexcept {
  return get_option(fd, level, name) == value || set_option(fd, level, name, value);
}

bool select_queue(int fd, RepairQueue queue) noexcept {
  return set_option(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, static_cast<int>(queue));
}

std::optional<std::uint32_t> queue_seq(int fd) noexcept {
  std::uint32_t seq = 0;
  if (!read_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, seq)) return std::nullopt;
  return seq;
}

bool read_tcp_info(int fd, tcp_info& out) noexcept {
  out = {};
  return read_option(fd, IPPROTO_TCP, TCP_INFO, out);
}

std::optional<std::uint32_t> ioctl_count(int fd, unsigned long request) noexcept {
  int count = 0;
  if (::ioctl(fd, request, &count) != 0 || count < 0) return std::nullopt;
  return static_cast<std::uint32_t>(count);
}

std::optional<SocketAddress> local_address(int fd) noexcept {
  SocketAddress address;
  auto* raw = reinterpret_cast<sockaddr*>(&address.storage);
  if (::getsockname(fd, raw, &address.length) != 0) return std::nullopt;
  return address;
}

std::optional<SocketAddress> remote_address(int fd) noexcept {
  SocketAddress address;
  auto* raw = reinterpret_cast<sockaddr*>(&address.storage);
  if (::getpeername(fd, raw, &address.length) != 0) return std::nullopt;
  return address;
}

std::optional<Endpoint> to_endpoint(const SocketAddress& address) noexcept {
  Endpoint endpoint;
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    std::array<std::uint8_t, 4> b{};
    std::memcpy(b.data(), &in.sin_addr, b.size());
    endpoint.address = IpAddress::v4(b[0], b[1], b[2], b[3]);
    endpoint.port = ntohs(in.sin_port);
    return endpoint;
  }
  if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 in6{};
    std::memcpy(&in6, &address.storage, sizeof in6);
    std::memcpy(endpoint.address.bytes.data(), &in6.sin6_addr, endpoint.address.bytes.size());
    endpoint.port = ntohs(in6.sin6_port);
    return endpoint;
  }
  return std::nullopt;
}

SocketAddress to_socket_address(const Endpoint& endpoint, int domain,
                                std::uint32_t scope) noexcept {
  SocketAddress address;
  if (domain == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, &endpoint.address.bytes[12], sizeof in.sin_addr);
    std::memcpy(&address.storage, &in, sizeof in);
    address.length = sizeof in;
    return address;
  }
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(endpoint.port);
  std::memcpy(&in6.sin6_addr, endpoint.address.bytes.data(), sizeof in6.sin6_addr);
  if (is_link_local(endpoint.address)) in6.sin6_scope_id = scope;
  std::memcpy(&address.storage, &in6, sizeof in6);
  address.length = sizeof in6;
  return address;
}

bool is_link_local(const IpAddress& address) noexcept {
  return address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

}  // namespace snp::host
