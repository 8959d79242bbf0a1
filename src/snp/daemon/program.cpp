#include "snp/daemon/program.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace snp::daemon {
namespace {

std::optional<Endpoint> to_endpoint(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    const std::uint32_t ip = ntohl(v4.sin_addr.s_addr);
    endpoint.address =
        IpAddress::v4(static_cast<std::uint8_t>(ip >> 24), static_cast<std::uint8_t>(ip >> 16),
                      static_cast<std::uint8_t>(ip >> 8), static_cast<std::uint8_t>(ip));
    endpoint.port = ntohs(v4.sin_port);
    return endpoint;
  }
  if (address.ss_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof v6);
  std::memcpy(endpoint.address.bytes.data(), &v6.sin6_addr, endpoint.address.bytes.size());
  endpoint.port = ntohs(v6.sin6_port);
  return endpoint;
}

std::optional<FourTuple> ask_tuple(int fd) {
  sockaddr_storage local{};
  sockaddr_storage remote{};
  socklen_t length = sizeof local;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) != 0) return std::nullopt;
  length = sizeof remote;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&remote), &length) != 0) return std::nullopt;
  const auto from = to_endpoint(local);
  const auto to = to_endpoint(remote);
  if (!from || !to) return std::nullopt;
  return FourTuple{*from, *to};
}

}  // namespace

SlotNote& Program::note(ipc::SlotId id) {
  SlotNote& note = notes_[id];
  const std::uint32_t in_use = slot(id).app.in_use.load();
  if (note.in_use != in_use) {
    note = SlotNote{};
    note.in_use = in_use;
  }
  return note;
}

UniqueFd Program::take_socket(ipc::SlotId id) const {
  const ipc::Slot& slot = this->slot(id);
  const std::uint32_t in_use = slot.app.in_use.load();
  const int fd = __atomic_load_n(&slot.app.fd, __ATOMIC_RELAXED);
  if (!is_allocated(in_use) || fd < 0) return {};
  UniqueFd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0u)));
  if (slot.app.in_use.load() != in_use) return {};
  return socket;
}

std::optional<FourTuple> Program::tuple_of(ipc::SlotId id) {
  SlotNote& known = note(id);
  if (!known.tuple && is_allocated(known.in_use))
    if (const UniqueFd socket = take_socket(id); socket.is_open())
      known.tuple = ask_tuple(socket.get());
  return known.tuple;
}

}  // namespace snp::daemon
