// Can this socket's connection move, and how much is in its queues? Everything that its descriptor
// tells; changes nothing.
//
// What a descriptor does not tell, and must be known otherwise: membership in a sockmap (the
// protocol is replaced inside the kernel; only an upper layer protocol shows), BPF socket storage,
// cgroup programs (they are the cgroup's), MSG_OOB sent and not acknowledged.
#include <cerrno>
#include <cstring>
#include <string_view>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "snp/base/unique_fd.h"
#include "snp/host/parking.h"
#include "snp/host/signature_check.h"
#include "snp/host/socket_calls.h"
#include "snp/host/socket_state.h"

namespace snp::host {
namespace {

using chimney::Reason;

TcpState to_tcp_state(std::uint8_t kernel_state) {
  switch (kernel_state) {
    case kKernelFinWait1:
      return TcpState::kFinWait1;
    case kKernelFinWait2:
      return TcpState::kFinWait2;
    case kKernelCloseWait:
      return TcpState::kCloseWait;
    case kKernelLastAck:
      return TcpState::kLastAck;
    case kKernelClosing:
      return TcpState::kClosing;
    case kKernelTimeWait:
      return TcpState::kTimeWait;
    case kKernelEstablished:
      return TcpState::kEstablished;
    default:
      return TcpState::kClosed;
  }
}

// Kernel TLS, MPTCP's subflows, SMC: the upper layer's name.
Reason check_upper_layer(int fd) {
  char name[16] = {};
  socklen_t length = sizeof name;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &length) != 0 || length == 0)
    return Reason::kOffloaded;
  const std::string_view upper(name, ::strnlen(name, sizeof name));
  if (upper.empty()) return Reason::kOffloaded;
  if (upper == "tls") return Reason::kKtls;
  return upper == "mptcp" ? Reason::kMptcp : Reason::kSockmap;
}

// The length of a classic program; EACCES says that it is eBPF and cannot be read.
bool has_filter(int fd) {
  socklen_t instructions = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions) != 0)
    return errno == EACCES;
  return instructions != 0;
}

// Urgent data that has come and not been read, in line or not, or that is announced.
bool has_urgent_data(int fd) {
  char byte = 0;
  if (::recv(fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EINVAL) return true;
  pollfd urgent{fd, POLLPRI, 0};
  return ::poll(&urgent, 1, 0) > 0 && (urgent.revents & POLLPRI) != 0;
}

bool is_set(int fd, int level, int name) {
  return get_option(fd, level, name).value_or(0) != 0;
}

// What the kernel would put between the headers of IP and TCP.
bool has_ip_options(int fd) {
  const auto has = [fd](int level, int name) {
    char bytes[256];
    socklen_t length = sizeof bytes;
    return ::getsockopt(fd, level, name, bytes, &length) == 0 && length != 0;
  };
  return has(IPPROTO_IP, IP_OPTIONS) || has(IPPROTO_IPV6, IPV6_HOPOPTS) ||
         has(IPPROTO_IPV6, IPV6_RTHDRDSTOPTS) || has(IPPROTO_IPV6, IPV6_RTHDR) ||
         has(IPPROTO_IPV6, IPV6_DSTOPTS);
}

// `probe`: a datagram socket, which sends nothing.
Reason check_choice(int probe, const std::optional<Endpoint>& local, const SocketAddress& remote) {
  if (::connect(probe, remote.raw(), remote.length) != 0) return Reason::kNoRoute;
  const auto address = local_address(probe);
  const auto chosen = address ? to_endpoint(*address) : std::nullopt;
  return local && chosen && local->address != chosen->address ? Reason::kLocalAddress
                                                              : Reason::kOffloaded;
}

// A datagram socket, which sends nothing, answers two questions about a connection to the same
// peer. Is the socket of this network namespace, the one that steering and routes are of? And when
// the listener was bound to every address, the emptied socket forgets its own, and connect() lets
// the route choose: would it choose the same?
Reason check_surroundings(int fd, const SocketAddress& local, const SocketAddress& remote) {
  const UniqueFd probe(::socket(local.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.is_open()) return Reason::kOffloaded;
  std::uint64_t here = 0;
  std::uint64_t there = 0;
  if (read_option(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, here) &&
      read_option(fd, SOL_SOCKET, SO_NETNS_COOKIE, there) && here != there)
    return Reason::kOtherNamespace;
  for (const int option : {SO_BINDTOIFINDEX, SO_MARK}) {
    const auto value = get_option(fd, SOL_SOCKET, option);
    if (value && *value != 0) set_option(probe.get(), SOL_SOCKET, option, *value);
  }
  return check_choice(probe.get(), to_endpoint(local), remote);
}

Reason find_obstacle(int fd, const tcp_info& info, const SocketSurvey& seen) {
  if (!is_movable(info)) return Reason::kState;
  if (const Reason upper = check_upper_layer(fd); upper != Reason::kOffloaded) return upper;
  if ((info.tcpi_options & kTcpiOptUsecTs) != 0) return Reason::kTimestampUnit;
  if (has_filter(fd)) return Reason::kSocketFilter;
  if (has_urgent_data(fd)) return Reason::kUrgent;
  if (get_option(fd, SOL_SOCKET, SO_PEEK_OFF).value_or(-1) >= 0) return Reason::kPeekOffset;
  if (has_ip_options(fd)) return Reason::kIpOptions;
  if (is_set(fd, IPPROTO_IP, IP_RECVERR) || is_set(fd, IPPROTO_IPV6, IPV6_RECVERR))
    return Reason::kErrorReports;
  if (is_signed(fd, seen)) return Reason::kMd5;
  if (has_segments_out_of_order(fd, info, seen.unread_bytes)) return Reason::kOutOfOrder;
  return Reason::kOffloaded;
}

bool count_queues(int fd, SocketSurvey& seen) {
  const auto unread = ioctl_count(fd, SIOCINQ);
  const auto unacked = ioctl_count(fd, SIOCOUTQ);
  const auto unsent = ioctl_count(fd, SIOCOUTQNSD);
  if (!unread || !unacked || !unsent) return false;
  seen.unread_bytes = *unread;
  seen.unacked_bytes = *unacked;
  seen.unsent_bytes = *unsent;
  return true;
}

}  // namespace

Reason foresee_address(const FourTuple& flow) {
  const int family = flow.remote.address.is_v4() ? AF_INET : AF_INET6;
  const UniqueFd probe(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.is_open()) return Reason::kOffloaded;
  const Reason choice =
      check_choice(probe.get(), flow.local, to_socket_address(flow.remote, family, 0));
  // Without a route, or without the device of a link-local address, nothing is known.
  return choice == Reason::kNoRoute ? Reason::kOffloaded : choice;
}

Result<SocketSurvey> survey(int fd) {
  const auto type = get_option(fd, SOL_SOCKET, SO_TYPE);
  const auto protocol = get_option(fd, SOL_SOCKET, SO_PROTOCOL);
  const auto domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (!type || !protocol || !domain) return fail_errno("survey of a descriptor");
  SocketSurvey seen;
  read_option(fd, SOL_SOCKET, SO_COOKIE, seen.cookie);
  if (*type == SOCK_STREAM && *protocol == IPPROTO_MPTCP) {
    seen.reason = Reason::kMptcp;
    return seen;
  }
  if (*type != SOCK_STREAM || *protocol != IPPROTO_TCP ||
      (*domain != AF_INET && *domain != AF_INET6))
    return fail(Errc::kInvalid, "survey: the descriptor is no TCP socket over IPv4 or IPv6");

  tcp_info info{};
  if (!read_tcp_info(fd, info)) return fail_errno("survey, TCP_INFO");
  seen.state = to_tcp_state(info.tcpi_state);
  const auto local = local_address(fd);
  const auto remote = remote_address(fd);
  if (!local || !remote || !count_queues(fd, seen)) {
    seen.reason = Reason::kState;  // never connected, or already gone
    return seen;
  }
  seen.tuple.local = to_endpoint(*local).value_or(Endpoint{});
  seen.tuple.remote = to_endpoint(*remote).value_or(Endpoint{});
  const int device = get_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX).value_or(0);
  seen.bound_ifindex = static_cast<std::uint32_t>(device);
  seen.reason = find_obstacle(fd, info, seen);
  if (seen.reason == Reason::kOffloaded) seen.reason = check_surroundings(fd, *local, *remote);
  return seen;
}

}  // namespace snp::host
