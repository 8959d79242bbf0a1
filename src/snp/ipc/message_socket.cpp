#include "snp/ipc/message_socket.h"

#include <array>
#include <cstddef>

#include <sys/socket.h>
#include <sys/un.h>

#include "snp/base/assert.h"
#include "snp/ipc/control_protocol.h"

namespace snp::ipc {
namespace {

constexpr std::size_t kControlSpace = CMSG_SPACE(sizeof(int) * kMaxPassedFds);

struct Address {
  sockaddr_un name{};
  socklen_t length = 0;
};

Address control_address() {
  Address address;
  address.name.sun_family = AF_UNIX;
  std::memcpy(address.name.sun_path + 1, kControlSocketName, sizeof(kControlSocketName) - 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) +
                                          sizeof(kControlSocketName));  // leading 0, no final one
  return address;
}

Result<UniqueFd> open_socket(int flags) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
  if (!socket.is_open()) return fail_errno("cannot make a control socket");
  return socket;
}

void take_fds(msghdr& message, std::vector<UniqueFd>& out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      out.emplace_back(fd);
    }
  }
}

}  // namespace

Result<> send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  SNP_ASSERT(fds.size() <= kMaxPassedFds);
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, kControlSpace> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return {};
    if (errno != EINTR) return fail_errno("cannot send a control message");
  }
}

Result<ReceivedMessage> receive_message(int socket, std::span<std::byte> buffer, int flags) {
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) std::array<char, kControlSpace> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t length = 0;
  do {
    length = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return fail_errno("cannot receive a control message");
  ReceivedMessage received;
  received.length = static_cast<std::size_t>(length);
  received.is_truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  take_fds(message, received.fds);
  return received;
}

void drop_message(int socket) {
  (void)::recv(socket, nullptr, 0, MSG_DONTWAIT | MSG_TRUNC);
}

Result<UniqueFd> listen_control() {
  auto socket = open_socket(SOCK_NONBLOCK);
  if (!socket) return socket;
  const Address address = control_address();
  if (::bind(socket->get(), reinterpret_cast<const sockaddr*>(&address.name), address.length) != 0)
    return fail_errno("cannot bind the control socket");
  if (::listen(socket->get(), SOMAXCONN) != 0) return fail_errno("cannot listen for programs");
  return socket;
}

Result<UniqueFd> connect_control() {
  auto socket = open_socket(0);
  if (!socket) return socket;
  const Address address = control_address();
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&address.name), address.length) !=
      0)
    return fail_errno("cannot reach snpd");
  return socket;
}

}  // namespace snp::ipc
