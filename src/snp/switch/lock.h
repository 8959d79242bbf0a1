// The switch's own lock: one word, no system call while nobody waits, nothing to destroy, and a
// forked child can set it free. Not recursive. A process with one thread pays no locked
// instruction.
#pragma once

#include <atomic>
#include <cstdint>

#include <linux/futex.h>
#include <sched.h>
#include <sys/single_threaded.h>

#include "snp/switch/sys.h"

namespace snp::switch_ {

class Lock {
 public:
  void lock() noexcept {
    // Nobody can come in between: pthread_create(), which ends this, is not called inside of locks.
    if (__libc_single_threaded != 0 && word_.load(std::memory_order_relaxed) == kFree) {
      word_.store(kHeld, std::memory_order_relaxed);
      return;
    }
    std::uint32_t expected = kFree;
    if (word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire)) [[likely]]
      return;
    lock_slowly();
  }
  void unlock() noexcept {
    if (__libc_single_threaded != 0) return word_.store(kFree, std::memory_order_release);
    if (word_.exchange(kFree, std::memory_order_release) == kWaitedFor) [[unlikely]]
      sys(SYS_futex, &word_, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
  }
  // Only in a child after fork, where no other thread exists.
  void reset() noexcept { word_.store(kFree, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kWaitedFor = 2;

  void lock_slowly() noexcept {
    while (word_.exchange(kWaitedFor, std::memory_order_acquire) != kFree)
      sys(SYS_futex, &word_, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, kWaitedFor, nullptr);
  }

  std::atomic<std::uint32_t> word_{kFree};
};

class Guard {
 public:
  explicit Guard(Lock& lock) noexcept : lock_(lock) { lock_.lock(); }
  ~Guard() { lock_.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace snp::switch_
