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

// A set without a tracked connection is the kernel's alone. But one may be registered while
// somebody sleeps here: then what wakes us may be meant for the instance.
template <class Wait>
int wait_in_kernel(int fd, epoll_event* events, int most, Duration timeout, const sigset_t* mask,
                   Wait wait) noexcept {
  Deadline deadline(timeout);
  static_cast<void>(deadline.left_roughly());  // it runs from here on
  std::atomic<std::uint32_t>& waiters = kernel_waiters(fd);
  waiters.fetch_add(1);
  // Whoever makes an instance now sees us, or we see it.
  if (EpollInstance* made = epoll_in(entry_of(fd)); made != nullptr) [[unlikely]] {
    waiters.fetch_sub(1);
    return wait_on(fd, events, most, timeout, mask, *made);
  }
  const int n = wait();
  waiters.fetch_sub(1);
  if (n <= 0) [[likely]]
    return n;
  EpollInstance* instance = epoll_in(entry_of(fd));
  if (instance == nullptr) [[likely]]
    return n;
  return finish<int>(instance->wait_after(events, n, most, deadline.left(), mask));
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
  if (instance == nullptr)
    return wait_in_kernel(fd, events, most, from_ms(timeout), nullptr,
                          [=] { return real().epoll_wait(fd, events, most, timeout); });
  return wait_on(fd, events, most, from_ms(timeout), nullptr, *instance);
}

SNP_EXPORT int epoll_pwait(int fd, epoll_event* events, int most, int timeout,
                           const sigset_t* mask) {
  EpollInstance* instance = epoll_in(entry_of(fd));
  if (instance == nullptr)
    return wait_in_kernel(fd, events, most, from_ms(timeout), mask,
                          [=] { return real().epoll_pwait(fd, events, most, timeout, mask); });
  return wait_on(fd, events, most, from_ms(timeout), mask, *instance);
}

SNP_EXPORT int epoll_pwait2(int fd, epoll_event* events, int most, const timespec* timeout,
                            const sigset_t* mask) {
  EpollInstance* instance = epoll_in(entry_of(fd));
  const snp::Duration limit = timeout == nullptr
                                  ? kForever
                                  : snp::seconds(timeout->tv_sec) + snp::Duration(timeout->tv_nsec);
  if (instance == nullptr)
    return wait_in_kernel(fd, events, most, limit, mask,
                          [=] { return real().epoll_pwait2(fd, events, most, timeout, mask); });
  return wait_on(fd, events, most, limit, mask, *instance);
}
