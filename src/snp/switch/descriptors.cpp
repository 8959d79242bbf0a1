// Descriptors come and go: socket, accept, connect, close, dup, fcntl, ioctl, shutdown.
#include <cstdarg>

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snp/switch/connection.h"
#include "snp/switch/export.h"
#include "snp/switch/local.h"
#include "snp/switch/origins.h"
#include "snp/switch/real.h"
#include "snp/switch/socket_entry.h"
#include "snp/switch/stream.h"
#include "snp/switch/transfer.h"

namespace snp::switch_ {
namespace {

// A number that the kernel has just given out cannot be what our table still says: it was closed
// past us (by stdio inside the C library, or a raw system call).
void forget_stale(int fd) noexcept {
  if (fd >= 0 && entry_of(fd) != 0) release_descriptor(fd);
}

bool is_tcp(int fd) noexcept {
  int protocol = 0;
  int domain = 0;
  socklen_t length = sizeof protocol;
  socklen_t domain_length = sizeof domain;
  return sys(SYS_getsockopt, fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 &&
         protocol == IPPROTO_TCP &&
         sys(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_length) == 0 &&
         (domain == AF_INET || domain == AF_INET6);
}

// A listener that the switch has not seen being made: inherited, or passed.
bool is_tcp_listener(int fd) noexcept {
  const std::uintptr_t entry = entry_of(fd);
  if (entry == 0) {
    const bool tcp = is_tcp(fd);
    set_entry(fd, tcp ? EntryKind::kListener : EntryKind::kNever);
    expect_timeouts();  // whoever made it may have set one, and accepted sockets inherit it
    return tcp;
  }
  return kind_of(entry) == EntryKind::kTcpSocket || kind_of(entry) == EntryKind::kListener;
}

int after_accept(int listener, int fd, int flags) noexcept {
  if (fd < 0) return fd;
  forget_stale(fd);
  if (!is_tcp_listener(listener)) return fd;
  if (Connection* c = track(fd, (flags & SOCK_NONBLOCK) != 0); c != nullptr) {
    set_origin(*c, join_listener_origin(*c->session, listener));
    on_established(*c);
  }
  return fd;
}

// O_NONBLOCK was set or cleared.
void note_flag(int fd, bool is_nonblocking) noexcept {
  const std::uintptr_t entry = entry_of(fd);
  if (Connection* c = connection_in(entry); c != nullptr)
    c->is_nonblocking.store(is_nonblocking);
  else if (kind_of(entry) == EntryKind::kTcpSocket)
    note_nonblocking(fd, entry, is_nonblocking);
}

// A duplicate made by a child of vfork() is for the program it is about to start.
int after_dup(int original, int fd) noexcept {
  if (fd < 0 || entry_of(original) == 0) return fd;
  if (is_vfork_child()) {
    settle_descriptor(original, Why::kSharedDescriptor);
  } else {
    adopt_duplicate(original, fd);
  }
  return fd;
}

// dup2 and dup3 close `fd` when there is something to put in its place.
bool make_room(int original, int fd) noexcept {
  if (entry_of(fd) == 0 || is_vfork_child()) return true;
  if (sys(SYS_fcntl, original, F_GETFD, 0) < 0) return true;  // fails; `fd` stays
  if (kind_of(entry_of(fd)) == EntryKind::kInternal) return false;
  release_descriptor(fd);
  return true;
}

int control(int fd, int command, void* argument) noexcept {
  const int result = real().fcntl(fd, command, argument);
  if (result < 0 || entry_of(fd) == 0) return result;
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
    forget_stale(result);
    return after_dup(fd, result);
  }
  if (command == F_SETFL)
    note_flag(fd, (reinterpret_cast<std::intptr_t>(argument) & O_NONBLOCK) != 0);
  return result;
}

// The requests that rings answer. True: `result` is the answer.
bool control_rings(Connection& c, unsigned long request, int* argument) noexcept {
  if (request != FIONREAD && request != SIOCOUTQ && request != SIOCOUTQNSD && request != SIOCATMARK)
    return false;
  const Pass pass(c);
  if (pass.in_host()) return false;
  if (request == FIONREAD)
    *argument = static_cast<int>(unread(c).value_or(0));
  else if (request == SIOCATMARK)
    *argument = 0;
  else
    *argument = static_cast<int>(request == SIOCOUTQ ? unacknowledged_bytes(c) : unsent_bytes(c));
  return true;
}

// Inside the gate. kMoved: again.
long shut_down_rings(Connection& c, std::uint32_t flags) noexcept {
  if (has_failed(c)) return -ENOTCONN;
  if (!is_local(c)) return 0;
  if (has_ended_both_ways(c)) return -ENOTCONN;
  return shut_down_local(c, flags) ? 0 : kMoved;
}

long shut_down(Connection& c, int fd, int how) noexcept {
  if (how < SHUT_RD || how > SHUT_RDWR) return -EINVAL;
  std::uint32_t flags = 0;
  if (how != SHUT_WR) flags |= ipc::slot_flag::kShutdownRead;
  if (how != SHUT_RD) flags |= ipc::slot_flag::kShutdownWrite;
  long result = kMoved;
  while (result == kMoved) {
    const Pass pass(c);
    result = pass.in_host() ? sys(SYS_shutdown, fd, how) : shut_down_rings(c, flags);
    if (result != 0) continue;
    c.slot->app.flags.fetch_or(flags);
    if (pass.in_host()) return 0;
    if (!is_local(c)) ring_shard(*c.session, *c.slot, c.slot_id);
  }
  tell_watchers(c);  // as inet_shutdown, also when it is closed
  return result;
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

SNP_EXPORT int socket(int domain, int type, int protocol) noexcept {
  const int fd = real().socket(domain, type, protocol);
  if (fd < 0) return fd;
  forget_stale(fd);
  constexpr int kTypeMask = 0xf;
  if ((domain == AF_INET || domain == AF_INET6) && (type & kTypeMask) == SOCK_STREAM &&
      (protocol == 0 || protocol == IPPROTO_TCP))
    set_entry(fd, socket_entry((type & SOCK_NONBLOCK) != 0));
  return fd;
}

SNP_EXPORT int listen(int fd, int backlog) noexcept {
  const int result = real().listen(fd, backlog);
  if (result == 0 && kind_of(entry_of(fd)) == EntryKind::kTcpSocket)
    set_entry(fd, EntryKind::kListener);
  return result;
}

SNP_EXPORT int accept(int listener, sockaddr* address, socklen_t* length) {
  return after_accept(listener, real().accept(listener, address, length), 0);
}

SNP_EXPORT int accept4(int listener, sockaddr* address, socklen_t* length, int flags) {
  return after_accept(listener, real().accept4(listener, address, length, flags), flags);
}

SNP_EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
  const std::uintptr_t entry = entry_of(fd);
  if (entry == 0) [[likely]]
    return real().connect(fd, address, length);
  const bool disconnects =
      address != nullptr && length >= sizeof(sa_family_t) && address->sa_family == AF_UNSPEC;
  if (disconnects) settle_descriptor(fd, Why::kUnsupportedCall);
  const int result = real().connect(fd, address, length);
  if (disconnects) return result;
  const int error = errno;
  const bool goes_on = result < 0 && (error == EINPROGRESS || error == EINTR);
  Connection* c = connection_in(entry);
  if (kind_of(entry) == EntryKind::kTcpSocket && (result == 0 || goes_on))
    c = track(fd, is_nonblocking_socket(fd));
  if (c != nullptr && c->origin == 0 && (result == 0 || goes_on))
    set_origin(*c, join_outgoing_origin(*c->session, address, length));
  if (c != nullptr && result == 0) on_established(*c);
  errno = error;
  return result;
}

SNP_EXPORT int close(int fd) {
  const std::uintptr_t entry = entry_of(fd);
  if (entry != 0) {
    if (kind_of(entry) == EntryKind::kInternal) return finish<int>(-EBADF);
    if (!is_vfork_child()) release_descriptor(fd);
  }
  return real().close(fd);
}

SNP_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
  if ((static_cast<unsigned>(flags) & CLOSE_RANGE_CLOEXEC) != 0 || first > last || is_vfork_child())
    return real().close_range(first, last, flags);
  const auto end = static_cast<unsigned>(highest_entry().load());
  for (unsigned fd = first; fd < end && fd <= last; ++fd) {
    const std::uintptr_t entry = entry_of(static_cast<int>(fd));
    if (entry == 0) continue;
    if (kind_of(entry) != EntryKind::kInternal) {
      release_descriptor(static_cast<int>(fd));
      continue;
    }
    if (fd > first && real().close_range(first, fd - 1, flags) != 0) return -1;
    first = fd + 1;
  }
  return first <= last ? real().close_range(first, last, flags) : 0;
}

SNP_EXPORT void closefrom(int low) noexcept {
  close_range(static_cast<unsigned>(low < 0 ? 0 : low), ~0u, 0);
}

SNP_EXPORT int dup(int original) noexcept {
  const int fd = real().dup(original);
  forget_stale(fd);
  return after_dup(original, fd);
}

SNP_EXPORT int dup2(int original, int fd) noexcept {
  if (original == fd) return real().dup2(original, fd);
  if (!make_room(original, fd)) return finish<int>(-EBADF);
  return after_dup(original, real().dup2(original, fd));
}

SNP_EXPORT int dup3(int original, int fd, int flags) noexcept {
  if (original == fd) return real().dup3(original, fd, flags);
  if (!make_room(original, fd)) return finish<int>(-EBADF);
  return after_dup(original, real().dup3(original, fd, flags));
}

SNP_EXPORT int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control(fd, command, argument);
}

SNP_EXPORT int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control(fd, command, argument);
}

SNP_EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  Connection* c = tracked(fd);
  if (c != nullptr && control_rings(*c, request, static_cast<int*>(argument))) return 0;
  const int result = real().ioctl(fd, request, argument);
  if (result == 0 && request == FIONBIO) note_flag(fd, *static_cast<const int*>(argument) != 0);
  return result;
}

SNP_EXPORT int shutdown(int fd, int how) noexcept {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().shutdown(fd, how);
  return finish<int>(shut_down(*c, fd, how));
}

// stdio talks to the kernel past us, and closes past us: such a descriptor is tracked no more.
SNP_EXPORT FILE* fdopen(int fd, const char* how) noexcept {
  if (connection_at(fd) != nullptr) {
    settle_descriptor(fd, Why::kUnsupportedCall);
    release_descriptor(fd);
  }
  return real().fdopen(fd, how);
}
