#include "snp/host/repair.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "snp/base/unique_fd.h"
#include "snp/host/footprint.h"
#include "snp/host/socket_calls.h"

namespace snp::host {
namespace {

// What TCP_MAXSEG takes (tcp.h of the kernel: TCP_MIN_MSS, MAX_TCP_WINDOW).
constexpr int kMinMss = 88;
constexpr int kMaxMss = 32767;

// RFC 9293 3.1, RFC 7323, RFC 2018: option kinds, as TCP_REPAIR_OPTIONS names them.
constexpr std::uint32_t kOptionMss = 2;
constexpr std::uint32_t kOptionWindowScale = 3;
constexpr std::uint32_t kOptionSackPermitted = 4;
constexpr std::uint32_t kOptionTimestamps = 8;

Failure failed_step(const char* step, int error = errno) {
  return fail_errno(std::string("socket repair, ") + step, error);
}

bool attach_drop_filter(int fd) {
  sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program{1, &drop};
  return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

bool set_queue_seq(int fd, RepairQueue queue, SeqNum seq) {
  return select_queue(fd, queue) &&
         set_option(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, static_cast<int>(seq.value()));
}

// A disconnect gives a port back that connect() had chosen, and until the socket is bound to it
// again any other connect() to the same peer may choose it, and with it our four-tuple: likely when
// a busy client has used up most of its ports. A port that somebody has bound is never chosen
// (Linux,
// __inet_hash_connect()), and on another address that hinders nobody. Not open: a listener has it,
// which does as well.
UniqueFd hold_port(std::uint16_t port) {
  UniqueFd holder(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto loopback = to_socket_address({IpAddress::v4(127, 0, 0, 1), port}, AF_INET, 0);
  const bool is_held = set_option(holder.get(), IPPROTO_IP, IP_FREEBIND, 1) &&
                       ::bind(holder.get(), loopback.raw(), loopback.length) == 0;
  return is_held ? std::move(holder) : UniqueFd();
}

// The two ends as the socket has them, or as the state has them when an earlier attempt got no
// further than the disconnect.
struct Ends {
  SocketAddress local;
  SocketAddress remote;
};

Result<Ends> find_ends(int fd, const ConstState& constant) {
  const auto domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (!domain) return failed_step("SO_DOMAIN");
  std::uint32_t scope = 0;
  if (is_link_local(constant.tuple.remote.address)) {
    const auto device = get_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
    scope = device && *device > 0 ? static_cast<std::uint32_t>(*device) : constant.ifindex;
  }
  return Ends{to_socket_address(constant.tuple.local, *domain, scope),
              to_socket_address(constant.tuple.remote, *domain, scope)};
}

// TCP_REPAIR_OPTIONS: what the handshake agreed. The window option always goes in: without it the
// socket would keep a shift of ours that the peer does not know of.
bool set_handshake_options(int fd, const ConstState& constant) {
  std::array<tcp_repair_opt, 4> options{};
  std::size_t count = 0;
  options[count++] = {kOptionMss, constant.remote_mss};
  options[count++] = {kOptionWindowScale, static_cast<std::uint32_t>(constant.snd_wind_shift) |
                                              static_cast<std::uint32_t>(constant.rcv_wind_shift)
                                                  << 16};
  if (constant.sack) options[count++] = {kOptionSackPermitted, 0};
  if (constant.timestamps) options[count++] = {kOptionTimestamps, 0};
  return ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(),
                      static_cast<socklen_t>(count * sizeof options[0])) == 0;
}

}  // namespace

bool disconnect(int fd) {
  tcp_info info{};
  const bool is_established = read_tcp_info(fd, info) && (info.tcpi_state == kKernelEstablished ||
                                                          info.tcpi_state == kKernelCloseWait);
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  if (::connect(fd, &unspecified, sizeof unspecified) != 0) return false;
  // Linux, tcp_set_state(): it looks to the kernel as if the connection had been reset.
  if (is_established) footprint().resets.fetch_add(1);
  return true;
}

Result<> silence(int fd) {
  if (!set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0)) return failed_step("SO_KEEPALIVE");
  if (!attach_drop_filter(fd)) return failed_step("SO_ATTACH_FILTER");
  if (!set_option(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)) {
    const int error = errno;
    set_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
    return failed_step("TCP_REPAIR (needs CAP_NET_ADMIN)", error);
  }
  return {};
}

Result<> wake(int fd, const HostSocketMemo& memo, const Waking& how) {
  if (!select_queue(fd, RepairQueue::kNone)) return failed_step("TCP_REPAIR_QUEUE none");
  if (!set_option(fd, IPPROTO_TCP, TCP_REPAIR,
                  how.asks_peer ? TCP_REPAIR_OFF : TCP_REPAIR_OFF_NO_WP))
    return failed_step("TCP_REPAIR off");
  if (!set_option(fd, SOL_SOCKET, SO_DETACH_FILTER, 0)) return failed_step("SO_DETACH_FILTER");
  // Repair mode leaves SO_REUSEADDR cleared; without it a restarted server could not bind.
  if (memo.reuse_address != 0 && !set_option(fd, SOL_SOCKET, SO_REUSEADDR, memo.reuse_address))
    return failed_step("SO_REUSEADDR");
  if (how.keepalive && !set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1))
    return failed_step("SO_KEEPALIVE on");
  return {};
}

Result<> rebuild(int fd, const ConstState& constant, SeqNum snd_seq, SeqNum rcv_seq) {
  const auto ends = find_ends(fd, constant);
  if (!ends) return Failure(ends.error());
  const UniqueFd holder = hold_port(constant.tuple.local.port);
  if (!disconnect(fd)) return failed_step("disconnect");
  // EINVAL: a listener's child keeps its port, and then the address too or none, see survey().
  if (::bind(fd, ends->local.raw(), ends->local.length) != 0 && errno != EINVAL)
    return failed_step("bind to the old local address");
  if (!set_queue_seq(fd, RepairQueue::kSend, snd_seq)) return failed_step("send sequence");
  if (!set_queue_seq(fd, RepairQueue::kReceive, rcv_seq)) return failed_step("receive sequence");
  // Before connect(), which derives the segment size from it.
  if (!set_option(fd, IPPROTO_TCP, TCP_MAXSEG,
                  std::clamp<int>(constant.remote_mss, kMinMss, kMaxMss)))
    return failed_step("TCP_MAXSEG");
  if (::connect(fd, ends->remote.raw(), ends->remote.length) != 0)
    return failed_step("connect to the peer");
  const auto local = local_address(fd);
  if (!local || to_endpoint(*local) != constant.tuple.local)
    return fail(Errc::kSystem, "socket repair: the kernel chose another local address");
  if (!set_handshake_options(fd, constant)) return failed_step("TCP_REPAIR_OPTIONS");
  // With the send queue left selected a stray write would go out on the wire.
  if (!select_queue(fd, RepairQueue::kNone)) return failed_step("TCP_REPAIR_QUEUE none");
  return {};
}

}  // namespace snp::host
