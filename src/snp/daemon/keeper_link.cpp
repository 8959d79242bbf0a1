#include "snp/daemon/keeper_link.h"

#include "snp/ipc/message_socket.h"

namespace snp::daemon {

bool KeeperLink::tell(KeeperNews news, std::uint32_t number, std::uint64_t size, int fd) {
  const KeeperMessage message{news, number, size};
  const std::span<const int> fds(&fd, fd >= 0 ? 1u : 0u);
  return ipc::send_message(socket_.get(), ipc::bytes_of(message), fds).has_value();
}

}  // namespace snp::daemon
