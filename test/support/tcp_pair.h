// Two kernel TCP sockets connected over a VethPair.
#pragma once

#include <algorithm>
#include <cstdint>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "snp/base/assert.h"
#include "snp/base/unique_fd.h"
#include "snp/wire/address.h"

#include "test/support/netns.h"

namespace snp::test {

struct TcpPair {
  UniqueFd here, there;
  FourTuple flow;  // as `here` sees it

  explicit TcpPair(const VethPair& net, bool is_v6 = false) : is_v6_(is_v6) {
    const NetNamespace::Inside inside_here(net.here);
    const UniqueFd listener(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 address = local_address();
    SNP_ASSERT(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), address_size()) == 0);
    SNP_ASSERT(::listen(listener.get(), 1) == 0);
    address = name_of(listener.get(), &::getsockname);
    {
      const NetNamespace::Inside inside_there(net.there);
      there.reset(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      SNP_ASSERT(::connect(there.get(), reinterpret_cast<sockaddr*>(&address), address_size()) ==
                 0);
    }
    here.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    flow.local = endpoint(name_of(here.get(), &::getsockname));
    flow.remote = endpoint(name_of(here.get(), &::getpeername));
    set_receive_timeout(here, 30'000);
    set_receive_timeout(there, 30'000);
  }

  static void set_receive_timeout(const UniqueFd& fd, int ms) {
    const timeval timeout = {ms / 1000, ms % 1000 * 1000};
    SNP_ASSERT(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0);
  }
  // One byte, sent and received.
  static bool passes(const UniqueFd& from, const UniqueFd& to) {
    char byte = 'x';
    return ::send(from.get(), &byte, 1, MSG_NOSIGNAL) == 1 && ::recv(to.get(), &byte, 1, 0) == 1;
  }
  static tcp_info info(const UniqueFd& fd) {
    tcp_info info{};
    socklen_t length = sizeof(info);
    SNP_ASSERT(::getsockopt(fd.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    return info;
  }
  // Next sequence number to send (TCP_SEND_QUEUE) or to receive (TCP_RECV_QUEUE).
  static std::uint32_t sequence(const UniqueFd& fd, int queue) {
    const auto set = [&fd](int option, int value) {
      SNP_ASSERT(::setsockopt(fd.get(), IPPROTO_TCP, option, &value, sizeof(value)) == 0);
    };
    set(TCP_REPAIR, 1);
    set(TCP_REPAIR_QUEUE, queue);
    std::uint32_t sequence = 0;
    socklen_t length = sizeof(sequence);
    SNP_ASSERT(::getsockopt(fd.get(), IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &length) == 0);
    set(TCP_REPAIR_QUEUE, 0);
    set(TCP_REPAIR, -1);  // off, without a window probe
    return sequence;
  }

 private:
  using NameOf = int(int, sockaddr*, socklen_t*) noexcept;

  [[nodiscard]] socklen_t address_size() const {
    return is_v6_ ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  }
  [[nodiscard]] sockaddr_in6 local_address() const {
    sockaddr_in6 address{};
    if (is_v6_) {
      address.sin6_family = AF_INET6;
      address.sin6_addr = {{{0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
    } else {
      auto& v4 = reinterpret_cast<sockaddr_in&>(address);
      v4.sin_family = AF_INET;
      v4.sin_addr.s_addr = htonl(0x0a090001);
    }
    return address;
  }
  static sockaddr_in6 name_of(int fd, NameOf* get) {
    sockaddr_in6 address{};
    socklen_t length = sizeof(address);
    SNP_ASSERT(get(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    return address;
  }
  static Endpoint endpoint(const sockaddr_in6& address) {
    Endpoint endpoint;
    endpoint.port = ntohs(address.sin6_port);
    if (address.sin6_family == AF_INET6) {
      std::copy_n(address.sin6_addr.s6_addr, 16, endpoint.address.bytes.begin());
    } else {
      const std::uint32_t v4 = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr);
      endpoint.address =
          IpAddress::v4(static_cast<std::uint8_t>(v4 >> 24), static_cast<std::uint8_t>(v4 >> 16),
                        static_cast<std::uint8_t>(v4 >> 8), static_cast<std::uint8_t>(v4));
    }
    return endpoint;
  }

  bool is_v6_;
};

}  // namespace snp::test
