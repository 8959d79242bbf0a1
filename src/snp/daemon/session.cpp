#include "snp/daemon/session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "snp/ipc/message_socket.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5, newer than our headers
#endif

namespace snp::daemon {
namespace {

// Of binary messages: a switch reads them when it needs to.
constexpr std::size_t kMostWaiting = 1024;

}  // namespace

void Session::send_reply(std::string_view text) {
  constexpr std::size_t kPart = ipc::kMaxMessage - sizeof(ipc::MessageHeader);
  do {
    const std::string_view part = text.substr(0, kPart);
    text.remove_prefix(part.size());
    const ipc::MessageHeader header{
        ipc::kProtocolMagic, text.empty() ? ipc::MessageKind::kReplyLast : ipc::MessageKind::kReply,
        0};
    std::vector<std::byte> message(sizeof header + part.size());
    std::memcpy(message.data(), &header, sizeof header);
    std::memcpy(message.data() + sizeof header, part.data(), part.size());
    output_.push_back({std::move(message), {}});
  } while (!text.empty());
}

bool Session::send(std::span<const std::byte> message, std::span<const int> fds) {
  if (output_.empty()) {
    const auto sent = ipc::send_message(socket_.get(), message, fds);
    if (sent || sent.error().sys_errno != EAGAIN) return sent.has_value();
  }
  if (output_.size() >= kMostWaiting) return false;
  Output output{{message.begin(), message.end()}, {}};
  for (const int fd : fds) {
    output.fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!output.fds.back().is_open()) return false;
  }
  output_.push_back(std::move(output));
  return true;
}

bool Session::flush() {
  while (!output_.empty()) {
    std::vector<int> fds;
    for (const UniqueFd& fd : output_.front().fds)
      fds.push_back(fd.get());
    const auto sent = ipc::send_message(socket_.get(), output_.front().bytes, fds);
    if (!sent) return sent.error().sys_errno == EAGAIN;
    output_.pop_front();
  }
  return true;
}

Caller accept_caller(int listener) {
  Caller caller;
  caller.socket.reset(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!caller.socket.is_open()) return caller;
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(caller.socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    caller.socket.reset();
    return caller;
  }
  caller.pid = credentials.pid;
  caller.uid = credentials.uid;
  int pidfd = -1;
  length = sizeof pidfd;
  if (::getsockopt(caller.socket.get(), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) != 0)
    pidfd = static_cast<int>(::syscall(SYS_pidfd_open, credentials.pid, 0u));
  caller.pidfd.reset(pidfd);
  return caller;
}

}  // namespace snp::daemon
