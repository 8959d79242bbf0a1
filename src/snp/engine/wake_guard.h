// Writes the eventfds of applications, so that none of them can stop us. A hostile application may
// fill its eventfd and clear O_NONBLOCK on it (the flag is shared with us): then write() blocks.
// Asking first costs a system call and leaves a race, so nobody asks: while anybody writes,
// WakeWatch looks at the guards of all threads now and then, and interrupts a write that lasts. The
// arena concerned gets no more wake-ups.
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
class WakeWatch;

// One per thread that wakes applications.
class WakeGuard {
 public:
  // Wakes who sleeps in the wait set. Never for longer than WakeWatch allows.
  void wake(Arena& arena, ipc::WaitSetId id) noexcept;

  // Writes an eventfd. False: it made us wait, and must not be written again.
  bool ring(int eventfd) noexcept;

  // The thread that calls wake(); before WakeWatch knows the guard.
  void set_thread(pthread_t thread) noexcept { thread_ = thread; }

 private:
  friend class WakeWatch;
  pthread_t thread_{};
  WakeWatch* watch_ = nullptr;
  std::atomic<std::uint64_t> writes_{0};  // odd: inside write()
  std::uint64_t seen_ = 0;                // by WakeWatch
};

// Owns a thread that sleeps nearly always, and for good while nobody is woken. Made before the
// guards' threads start, gone after they have ended.
class WakeWatch {
 public:
  explicit WakeWatch(std::vector<WakeGuard*> guards);
  WakeWatch(const WakeWatch&) = delete;
  WakeWatch& operator=(const WakeWatch&) = delete;
  ~WakeWatch();

  // A write has begun. Any thread.
  void on_write() noexcept {
    if (is_dozing_.load()) rouse();
  }

 private:
  void run();
  bool look(bool interrupts);
  void rouse() noexcept;

  std::vector<WakeGuard*> guards_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> is_dozing_{false};  // under the mutex, but for on_write()'s look
  bool stops_ = false;
  std::thread thread_;
};

}  // namespace snp::engine
