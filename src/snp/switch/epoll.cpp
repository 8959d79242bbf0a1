// The epoll functions of the C library.
#include <sys/epoll.h>

#include "snp/switch/epoll_instance.h"
#include "snp/switch/export.h"
#include "snp/switch/real.h"
#include "snp/switch/socket_entry.h"

namespace snp::switch_ {
namespace {

// A socket that is watched before it is connected is tracked from now on, or never: the switch must
// know its registrations.
void track_early(int fd) noexcept {
  if (track(fd, is_nonblocking_socket(fd)) == nullptr) set_entry(fd, EntryKind::kNever);
}

Duration from_ms(int timeout) noexcept {
  return timeout < 0 ? kForever : Duration(milliseconds(timeout));
}

int wait_on(int fd, epoll_event* events, int most, Duration timeout, const sigset_t* mask,
            EpollInstance& instance) noexcept {
  if (most <= 0 || events == nullptr)  // the kernel's errors
    return real().epoll_pwait(fd, events, most, 0, mask);
  return finish<int>(instance.wait(events, most, timeout, mask));
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

SNP_EXPORT int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) noexcept {
  const std::uintptr_t target = entry_of(fd);
  if (target == 0 || (event == nullptr && operation != EPOLL_CTL_DEL))
    return real().epoll_ctl(epoll_fd, operation, fd, event);
  if (operation == EPOLL_CTL_ADD && kind_of(target) == EntryKind::kTcpSocket) track_early(fd);
  if (EpollInstance* inner = epoll_in(target); inner != nullptr && operation == EPOLL_CTL_ADD)
    inner->serve_outer_waiter();
  Connection* c = connection_at(fd);
  if (c == nullptr) return real().epoll_ctl(epoll_fd, operation, fd, event);
  static_cast<void>(tracked(fd));  // in a child: comes home first
  EpollInstance* instance = epoll_in(entry_of(epoll_fd));
  if (instance == nullptr && operation == EPOLL_CTL_ADD && c->epoch.load() != kSettled) {
    instance = EpollInstance::make(epoll_fd, *c->session);
    if (instance == nullptr) settle_in_host(*c, Why::kTooManyWaiters);
  }
  if (instance == nullptr) return real().epoll_ctl(epoll_fd, operation, fd, event);
  return finish<int>(instance->control(operation, fd, *c, event));
}

SNP_EXPORT int epoll_wait(int fd, epoll_event* events, int most, int timeout) {
  EpollInstance* instance = epoll_in(entry_of(fd));
  if (instance == nullptr) return real().epoll_wait(fd, events, most, timeout);
  return wait_on(fd, events, most, from_ms(timeout), nullptr, *instance);
}

SNP_EXPORT int epoll_pwait(int fd, epoll_event* events, int most, int timeout,
                           const sigset_t* mask) {
  EpollInstance* instance = epoll_in(entry_of(fd));
  if (instance == nullptr) return real().epoll_pwait(fd, events, most, timeout, mask);
  return wait_on(fd, events, most, from_ms(timeout), mask, *instance);
}

SNP_EXPORT int epoll_pwait2(int fd, epoll_event* events, int most, const timespec* timeout,
                            const sigset_t* mask) {
  EpollInstance* instance = epoll_in(entry_of(fd));
  if (instance == nullptr) return real().epoll_pwait2(fd, events, most, timeout, mask);
  const snp::Duration limit = timeout == nullptr
                                  ? kForever
                                  : snp::seconds(timeout->tv_sec) + snp::Duration(timeout->tv_nsec);
  return wait_on(fd, events, most, limit, mask, *instance);
}
