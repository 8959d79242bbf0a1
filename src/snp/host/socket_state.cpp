#include "snp/host/socket_state.h"

namespace snp::host {
namespace {

// SO_MEMINFO (linux/sock_diag.h): the memory that received segments take.
constexpr std::size_t kRmemAlloc = 0;
constexpr std::size_t kMeminfoWords = 9;

}  // namespace

bool is_movable(const tcp_info& info) noexcept {
  return info.tcpi_state == kKernelEstablished || info.tcpi_state == kKernelFinWait1 ||
         info.tcpi_state == kKernelFinWait2 || info.tcpi_state == kKernelCloseWait;
}

// Nothing tells it outright; the memory held does: without unread bytes all of it is theirs, with
// them a socket that has ever seen disorder and holds much more than its unread bytes explain is
// put off.
bool has_segments_out_of_order(int fd, const tcp_info& info, std::uint32_t unread_bytes) noexcept {
  if (info.tcpi_rcv_ooopack == 0) return false;
  std::uint32_t meminfo[kMeminfoWords] = {};
  socklen_t length = sizeof meminfo;
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, meminfo, &length) != 0) return false;
  const std::uint64_t held = meminfo[kRmemAlloc];
  return unread_bytes == 0 ? held != 0 : held > 4096 + 3 * std::uint64_t{unread_bytes};
}

}  // namespace snp::host
