#include "snp/daemon/keeper_link.h"

#include <algorithm>

#include <sys/mman.h>
#include <unistd.h>

#include "snp/ipc/message_socket.h"

namespace snp::daemon {

bool KeeperLink::tell(KeeperNews news, std::uint32_t number, std::uint64_t size, int fd) {
  return tell({.news = news, .number = number, .size = size},
              std::span<const int>(&fd, fd >= 0 ? 1u : 0u));
}

bool KeeperLink::tell(const KeeperMessage& message, std::span<const int> fds) {
  return ipc::send_message(socket_.get(), ipc::bytes_of(message), fds).has_value();
}

bool KeeperLink::tell_text(KeeperNews news, std::string_view text) {
  const UniqueFd file(::memfd_create("snp.text", MFD_CLOEXEC));
  const auto size = static_cast<ssize_t>(text.size());
  if (!file.is_open() || ::pwrite(file.get(), text.data(), text.size(), 0) != size) return false;
  return tell(news, 0, text.size(), file.get());
}

std::string read_text(int fd, std::uint64_t size) {
  constexpr std::uint64_t kMost = 1 << 24;
  std::string text(std::min(size, kMost), '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

}  // namespace snp::daemon
