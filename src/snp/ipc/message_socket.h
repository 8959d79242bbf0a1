// One datagram with descriptors over an AF_UNIX SEQPACKET socket, for snpd and the command line.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::ipc {

inline constexpr std::size_t kMaxPassedFds = 128;

struct ReceivedMessage {
  std::size_t length = 0;  // 0: the other side has closed
  bool is_truncated = false;
  std::vector<UniqueFd> fds;
};

// One datagram; the errno of the failed call when it did not go (EAGAIN on a full non-blocking
// socket). Pre: fds.size() <= kMaxPassedFds.
Result<> send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});
// `flags`: of recvmsg(); with MSG_PEEK the message stays where it is, for drop_message().
Result<ReceivedMessage> receive_message(int socket, std::span<std::byte> buffer, int flags = 0);
void drop_message(int socket);

// The control socket of this network namespace. listen: EADDRINUSE when another snpd has it.
Result<UniqueFd> listen_control();
Result<UniqueFd> connect_control();

template <class T>
std::span<const std::byte> bytes_of(const T& message) noexcept {
  return std::as_bytes(std::span<const T, 1>(&message, 1));
}

}  // namespace snp::ipc
