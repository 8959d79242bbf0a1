// Small typed forms of the system calls that a hand-over makes, and the kernel constants that the
// C library's headers do not name yet. No policy here.
#pragma once

#include <cstdint>
#include <optional>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "snp/base/result.h"
#include "snp/wire/address.h"

namespace snp::host {

// uapi/linux/tcp.h of newer kernels.
inline constexpr int kTcpAoInfo = 40;
inline constexpr int kTcpRtoMaxMs = 44;
inline constexpr int kTcpRtoMinUs = 45;
inline constexpr int kTcpDelackMaxUs = 46;
inline constexpr std::uint8_t kTcpiOptUsecTs = 64;
// tcp_states.h of the kernel, as TCP_INFO gives them.
enum KernelTcpState : std::uint8_t {
  kKernelEstablished = 1,
  kKernelFinWait1 = 4,
  kKernelFinWait2 = 5,
  kKernelTimeWait = 6,
  kKernelClose = 7,
  kKernelCloseWait = 8,
  kKernelLastAck = 9,
  kKernelClosing = 11,
};
// tcp.h of the kernel: which queue of a socket in repair mode is meant.
enum class RepairQueue : int { kNone = 0, kReceive = 1, kSend = 2 };

std::optional<int> get_option(int fd, int level, int name) noexcept;
bool set_option(int fd, int level, int name, int value) noexcept;
// Sets it unless it is so already: a value that was never set stays the system's default.
bool keep_option(int fd, int level, int name, int value) noexcept;

template <class T>
bool read_option(int fd, int level, int name, T& out) noexcept {
  socklen_t length = sizeof(T);
  return ::getsockopt(fd, level, name, &out, &length) == 0;
}

bool select_queue(int fd, RepairQueue queue) noexcept;
std::optional<std::uint32_t> queue_seq(int fd) noexcept;  // of the selected queue
bool read_tcp_info(int fd, tcp_info& out) noexcept;
std::optional<std::uint32_t> ioctl_count(int fd, unsigned long request) noexcept;

// The two ends of a connected socket, as the kernel wants them back.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);
  [[nodiscard]] const sockaddr* raw() const noexcept {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
};

std::optional<SocketAddress> local_address(int fd) noexcept;
std::optional<SocketAddress> remote_address(int fd) noexcept;
std::optional<Endpoint> to_endpoint(const SocketAddress& address) noexcept;
// `domain`: AF_INET or AF_INET6 (IPv4 then as ::ffff:a.b.c.d). `scope`: for link-local addresses.
SocketAddress to_socket_address(const Endpoint& endpoint, int domain, std::uint32_t scope) noexcept;
bool is_link_local(const IpAddress& address) noexcept;

}  // namespace snp::host
