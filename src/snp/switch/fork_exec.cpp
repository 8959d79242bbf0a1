// fork, exec, spawn. A parent keeps its connections; a child owns none of them. A new program knows
// nothing of rings: what it inherits goes home first.
#include <cstdarg>

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

#include "snp/switch/connection.h"
#include "snp/switch/epoll_instance.h"
#include "snp/switch/export.h"
#include "snp/switch/fork.h"
#include "snp/switch/origins.h"
#include "snp/switch/pairs.h"
#include "snp/switch/real.h"

namespace snp::switch_ {
namespace {

void before_fork() noexcept {
  process_facts().forks.fetch_add(1);
  mark_all_shared();
}

// From the first vfork() or clone() on, a call may come from a child in our memory.
std::atomic<bool>& has_lent_memory() noexcept {
#if defined(__x86_64__)
  static constinit std::atomic<bool> lent{false};
#else
  static constinit std::atomic<bool> lent{true};  // nobody tells us
#endif
  return lent;
}

// No other thread exists here; one of them may have held a lock.
void in_child() noexcept {
  ++process_facts().epoch;
  process_facts().pid = ::getpid();
  forget_session();
  forget_origins();
  reset_connection_locks();
  reset_epoll_locks();
  reset_pair_locks();
}

}  // namespace

void watch_forks() noexcept {
  ProcessFacts& facts = process_facts();
  static constinit std::atomic<bool> watching{false};
  facts.pid = ::getpid();
  if (!watching.exchange(true)) ::pthread_atfork(before_fork, nullptr, in_child);
}

bool is_vfork_child() noexcept {
  if (!has_lent_memory().load(std::memory_order_relaxed)) return false;
  const ProcessFacts& facts = process_facts();
  return facts.pid != 0 && facts.pid != ::getpid();
}

void settle_inherited() noexcept {
  const int saved = errno;
  const int end = highest_entry().load();
  for (int fd = 0; fd < end; ++fd) {
    Connection* c = connection_at(fd);
    if (c == nullptr) continue;
    const long flags = sys(SYS_fcntl, fd, F_GETFD, 0);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) settle_descriptor(fd, Why::kSharedDescriptor);
  }
  errno = saved;
}

namespace {

// The arguments of execl and its relatives as an array, on the caller's stack.
constexpr std::size_t kMaxArguments = 4096;

struct Arguments {
  char* list[kMaxArguments];
  std::size_t count = 0;

  bool add(const char* argument) noexcept {
    if (count == kMaxArguments) return false;
    list[count++] = const_cast<char*>(argument);
    return true;
  }
};

// Everything up to and with the null pointer. False: too many.
bool collect(Arguments& arguments, const char* first, va_list rest) noexcept {
  for (const char* a = first;; a = va_arg(rest, const char*)) {
    if (!arguments.add(a)) return false;
    if (a == nullptr) return true;
  }
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

#if defined(__x86_64__)
// vfork() returns twice from one frame, and clone() on another stack: each takes note and jumps to
// the C library's own, with the registers and the stack as they came.
extern "C" __attribute__((visibility("hidden"), used)) void* snp_before_vfork() noexcept {
  has_lent_memory().store(true);
  return reinterpret_cast<void*>(real().vfork);
}
extern "C" __attribute__((visibility("hidden"), used)) void* snp_before_clone() noexcept {
  has_lent_memory().store(true);
  return reinterpret_cast<void*>(real().clone);
}
// NOLINTNEXTLINE(hicpp-no-assembler): C++ has no call that leaves its frame
asm(R"(
  .text
  .globl vfork
  .type vfork, @function
vfork:
  endbr64
  subq $8, %rsp
  call snp_before_vfork
  addq $8, %rsp
  jmp *%rax
  .size vfork, . - vfork
  .globl clone
  .type clone, @function
clone:
  endbr64
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %r8
  pushq %r9
  subq $8, %rsp
  call snp_before_clone
  addq $8, %rsp
  popq %r9
  popq %r8
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  jmp *%rax
  .size clone, . - clone
)");
#endif

SNP_EXPORT int execve(const char* path, char* const argv[], char* const envp[]) noexcept {
  settle_inherited();
  return real().execve(path, argv, envp);
}

SNP_EXPORT int execv(const char* path, char* const argv[]) noexcept {
  return execve(path, argv, environ);
}

SNP_EXPORT int execvpe(const char* file, char* const argv[], char* const envp[]) noexcept {
  settle_inherited();
  return real().execvpe(file, argv, envp);
}

SNP_EXPORT int execvp(const char* file, char* const argv[]) noexcept {
  return execvpe(file, argv, environ);
}

SNP_EXPORT int execveat(int dir, const char* path, char* const argv[], char* const envp[],
                        int flags) noexcept {
  settle_inherited();
  return real().execveat(dir, path, argv, envp, flags);
}

SNP_EXPORT int fexecve(int fd, char* const argv[], char* const envp[]) noexcept {
  settle_inherited();
  return real().fexecve(fd, argv, envp);
}

SNP_EXPORT int execl(const char* path, const char* first, ...) noexcept {
  Arguments arguments;
  va_list rest;
  va_start(rest, first);
  const bool fits = collect(arguments, first, rest);
  va_end(rest);
  return fits ? execve(path, arguments.list, environ) : finish<int>(-E2BIG);
}

SNP_EXPORT int execlp(const char* file, const char* first, ...) noexcept {
  Arguments arguments;
  va_list rest;
  va_start(rest, first);
  const bool fits = collect(arguments, first, rest);
  va_end(rest);
  return fits ? execvpe(file, arguments.list, environ) : finish<int>(-E2BIG);
}

SNP_EXPORT int execle(const char* path, const char* first, ...) noexcept {
  Arguments arguments;
  va_list rest;
  va_start(rest, first);
  const bool fits = collect(arguments, first, rest);
  char* const* envp = fits ? va_arg(rest, char* const*) : nullptr;
  va_end(rest);
  return fits ? execve(path, arguments.list, envp) : finish<int>(-E2BIG);
}

SNP_EXPORT int posix_spawn(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                           const posix_spawnattr_t* attributes, char* const argv[],
                           char* const envp[]) {
  settle_inherited();
  return real().posix_spawn(pid, path, actions, attributes, argv, envp);
}

SNP_EXPORT int posix_spawnp(pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                            const posix_spawnattr_t* attributes, char* const argv[],
                            char* const envp[]) {
  settle_inherited();
  return real().posix_spawnp(pid, file, actions, attributes, argv, envp);
}

// The duplicate is made inside the C library, in the new process.
SNP_EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t* actions, int fd,
                                                int new_fd) noexcept {
  settle_descriptor(fd, Why::kSharedDescriptor);
  return real().posix_spawn_file_actions_adddup2(actions, fd, new_fd);
}

SNP_EXPORT int system(const char* command) {
  settle_inherited();
  return real().system(command);
}

SNP_EXPORT FILE* popen(const char* command, const char* how) {
  settle_inherited();
  return real().popen(command, how);
}
