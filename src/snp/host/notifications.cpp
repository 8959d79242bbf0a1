#include "snp/host/notifications.h"

#include <array>
#include <cerrno>
#include <cstddef>

#include <sys/socket.h>

namespace snp::host {
namespace {

constexpr std::size_t kMessageBytes = 65536;

}  // namespace

Result<Notifications> Notifications::open(int protocol, std::initializer_list<int> groups) {
  Notifications made;
  made.fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
  if (!made.fd_.is_open()) {
    if (errno == EPROTONOSUPPORT) return fail(Errc::kUnsupported, "not in this kernel");
    return fail_errno("netlink notifications");
  }
  // A socket without a number of its own is taken for the sender, the kernel, and told nothing.
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  if (::bind(made.fd(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
    return fail_errno("netlink notifications, bind");
  for (const int group : groups)
    if (::setsockopt(made.fd(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return fail_errno("netlink notifications, joining a group");
  return made;
}

bool Notifications::drain(const std::function<bool(const nlmsghdr&)>& concerns) {
  alignas(nlmsghdr) std::array<std::byte, kMessageBytes> buffer;
  bool is_concerned = false;
  while (true) {
    const ssize_t got = ::recv(fd(), buffer.data(), buffer.size(), MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ENOBUFS) return is_concerned;
    if (got == 0) return is_concerned;
    if (got < 0 || static_cast<std::size_t>(got) > buffer.size()) {
      is_concerned = true;  // some were lost, or too long to read
      continue;
    }
    int left = static_cast<int>(got);
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left))
      is_concerned = concerns(*header) || is_concerned;
  }
}

}  // namespace snp::host
