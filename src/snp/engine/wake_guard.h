// Writes the eventfds of applications, so that none of them can stop us. A hostile application may
// fill its eventfd and clear O_NONBLOCK on it (the flag is shared with us): then write() blocks.
// Asking first costs a system call and leaves a race, so nobody asks: WakeWatch looks at the guards
// of all threads now and then, and interrupts a write that lasts. The arena concerned gets no more
// wake-ups.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>

#include "snp/ipc/arena.h"

namespace snp::engine {

struct Arena;

// One per thread that wakes applications.
class WakeGuard {
 public:
  // Wakes who sleeps in the wait set. Never for longer than WakeWatch allows.
  void wake(Arena& arena, ipc::WaitSetId id) noexcept;

  // The thread that calls wake(); before WakeWatch knows the guard.
  void set_thread(pthread_t thread) noexcept { thread_ = thread; }

 private:
  friend class WakeWatch;
  pthread_t thread_{};
  std::atomic<std::uint64_t> writes_{0};  // odd: inside write()
  std::uint64_t seen_ = 0;                // by WakeWatch
};

// Owns a thread that sleeps nearly always.
class WakeWatch {
 public:
  explicit WakeWatch(std::vector<WakeGuard*> guards);
  WakeWatch(const WakeWatch&) = delete;
  WakeWatch& operator=(const WakeWatch&) = delete;
  ~WakeWatch();

 private:
  void run();

  std::vector<WakeGuard*> guards_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stops_ = false;
  std::thread thread_;
};

}  // namespace snp::engine
