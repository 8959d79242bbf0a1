// The C library's own functions, found behind ours with dlsym(RTLD_NEXT) at the first use. Any
// thread, before constructors too. Calls made inside a gate do not come here but use sys.h: no
// cancellation point may end a thread there.
#pragma once

#include <atomic>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// clang-format off
#define SNP_REAL_CALLS(X)                                                                       \
  X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) X(recvmmsg) X(write) X(writev) X(send)        \
  X(sendto) X(sendmsg) X(sendmmsg) X(sendfile) X(splice) X(socket) X(listen) X(accept)          \
  X(accept4) X(connect) X(close) X(close_range) X(closefrom) X(shutdown) X(dup) X(dup2)         \
  X(dup3) X(fcntl) X(ioctl) X(getpeername) X(getsockopt) X(setsockopt) X(epoll_ctl)       \
  X(epoll_wait) X(epoll_pwait)                                                                  \
  X(epoll_pwait2) X(poll) X(ppoll) X(select) X(pselect) X(execve) X(execvpe) X(execveat)        \
  X(fexecve) X(posix_spawn) X(posix_spawnp) X(posix_spawn_file_actions_adddup2) X(system)       \
  X(popen) X(fdopen) X(vfork) X(clone)
// clang-format on

namespace snp::switch_ {

struct RealCalls {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"
// NOLINTNEXTLINE(bugprone-macro-parentheses): a member's name
#define SNP_REAL_CALL(name) decltype(&::name) name;
  SNP_REAL_CALLS(SNP_REAL_CALL)
#undef SNP_REAL_CALL
#pragma GCC diagnostic pop
  std::atomic<bool> resolved;

  // Written once, by resolve_real_calls().
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
  static RealCalls instance;
};

void resolve_real_calls() noexcept;

inline const RealCalls& real() noexcept {
  if (!RealCalls::instance.resolved.load(std::memory_order_acquire)) [[unlikely]]
    resolve_real_calls();
  return RealCalls::instance;
}

}  // namespace snp::switch_
