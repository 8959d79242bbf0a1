// A blocking call of ours is several system calls, and a signal may come between two of them: the
// kernel's own call would end with EINTR, ours would go back to sleep and never know. So a call
// that sleeps, or waits at a gate, holds signals back from then on until it returns, except while
// it sleeps, where they end it (ppoll(2), epoll_pwait(2)). One object for each call; its own thread
// only.
//
// The first thread of a process does so, no other. It is the one that Linux interrupts for a signal
// to the process, and programs build on that (Python runs its handlers there); but a thread that
// changes its mask while the first one is still being woken takes the signal away from it.
#pragma once

#include <csignal>
#include <cstdint>
#include <utility>

#include "snp/switch/fork.h"
#include "snp/switch/sys.h"

namespace snp::switch_ {

inline bool is_first_thread() noexcept {
  static thread_local constinit bool is_first = false;
  static thread_local constinit std::uint32_t known_in = 0;  // fork_epoch(): a child's only thread
  if (known_in != fork_epoch()) {
    is_first = sys(SYS_gettid) == sys(SYS_getpid);
    known_in = fork_epoch();
  }
  return is_first;
}

class SignalHold {
 public:
  SignalHold() noexcept = default;
  ~SignalHold() {
    if (is_held_) set_mask(&before_, nullptr);
  }
  SignalHold(const SignalHold&) = delete;
  SignalHold& operator=(const SignalHold&) = delete;

  // Before a wait; the first time counts. What came earlier came before the call.
  void begin() noexcept {
    if (is_held_ || !is_first_thread()) return;
    // Not those that a thread gets for what it does itself, nor the C library's own two, by which
    // it cancels threads and changes their user.
    std::uint64_t held = ~std::uint64_t{0};
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, 32, 33})
      held &= ~(std::uint64_t{1} << (signal - 1));
    set_mask(&held, &before_);
    is_held_ = true;
  }
  // What a sleep shall have as its mask: the program's own, or `wanted` when it has named one.
  // nullptr: as it is.
  [[nodiscard]] const sigset_t* mask(const sigset_t* wanted = nullptr) const noexcept {
    if (wanted != nullptr || !is_held_) return wanted;
    return reinterpret_cast<const sigset_t*>(&before_);  // the kernel reads its own 64 bits only
  }

  // At a gate that stays closed: who wants to end the program can. A handler that ran is remembered
  // for the next sleep.
  void let_in() noexcept {
    const timespec at_once{};
    if (is_held_ && sys(SYS_ppoll, nullptr, 0L, &at_once, &before_, sizeof before_) == -EINTR)
      is_interrupted_ = true;
  }
  // Once for each time that it has happened.
  [[nodiscard]] bool take_interruption() noexcept { return std::exchange(is_interrupted_, false); }

 private:
  static void set_mask(const std::uint64_t* to, std::uint64_t* before) noexcept {
    sys(SYS_rt_sigprocmask, SIG_SETMASK, to, before, sizeof *to);
  }

  bool is_held_ = false, is_interrupted_ = false;
  std::uint64_t before_ = 0;
};

}  // namespace snp::switch_
