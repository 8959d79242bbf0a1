#include "snp/daemon/reinjector.h"

#include <linux/if_packet.h>
#include <sys/socket.h>

#include "snp/steer/steering.h"

namespace snp::daemon {

Result<Reinjector> Reinjector::open() {
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return fail_errno("cannot open a packet socket");
  const std::uint32_t mark = steer::kReinjectMark;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    return fail_errno("cannot mark a packet socket");
  return Reinjector(std::move(socket));
}

bool Reinjector::give(std::uint32_t ifindex, std::span<const std::byte> frame) const noexcept {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(ifindex);
  return ::sendto(socket_.get(), frame.data(), frame.size(), 0,
                  reinterpret_cast<const sockaddr*>(&to), sizeof to) >= 0;
}

}  // namespace snp::daemon
