#include "snp/rss/backends/cpu_watch.h"

#include <array>

#include <linux/netlink.h>
#include <sys/socket.h>

namespace snp::rss {

Result<CpuWatch> CpuWatch::open() {
  constexpr std::uint32_t kKernelEvents = 1;  // the group; 2 is udev's
  CpuWatch watch;
  watch.fd_.reset(
      ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!watch.fd_.is_open())
    return fail(Errc::kUnsupported, "this kernel does not tell when CPUs come and go");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelEvents;
  if (::bind(watch.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("cannot hear the kernel's events");
  return watch;
}

bool CpuWatch::drain() {
  std::array<char, 4096> buffer;
  bool is_concerned = false;
  for (;;) {
    sockaddr_nl sender{};
    socklen_t length = sizeof sender;
    const ssize_t got = ::recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&sender), &length);
    if (got < 0 && errno == ENOBUFS) is_concerned = true;
    if (got < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
    if (got < 0) return is_concerned;
    // Only the kernel has number 0: others may send to the group, too.
    if (sender.nl_pid == 0 && is_about_cpus({buffer.data(), static_cast<std::size_t>(got)}))
      is_concerned = true;
  }
}

bool is_about_cpus(std::string_view event) noexcept {
  const std::string_view what = event.substr(0, event.find('\0'));
  const std::size_t at = what.find('@');
  if (at == std::string_view::npos) return false;
  const std::string_view action = what.substr(0, at);
  return (action == "online" || action == "offline" || action == "add" || action == "remove") &&
         what.substr(at + 1).starts_with("/devices/system/cpu/cpu");
}

}  // namespace snp::rss
