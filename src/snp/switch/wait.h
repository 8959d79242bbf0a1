// Waiting outside the gate: a thread's own wait set, deadlines, spins.
#pragma once

#include <atomic>
#include <span>

#include <poll.h>

#include "snp/switch/clock.h"
#include "snp/switch/connection.h"
#include "snp/switch/signals.h"

namespace snp::switch_ {

// The wait set of the calling thread for connections of one session; made at its first wait,
// given back when the thread ends.
struct ThreadWaiter {
  Session* session = nullptr;
  ipc::WaitSetId id = 0;  // 0: none, the session is lost
  int eventfd = -1;

  [[nodiscard]] ipc::WaitSet& shared() const noexcept { return session->wait_sets[id]; }
};

// nullptr when all wait sets are taken.
ThreadWaiter* thread_waiter(Session& session) noexcept;

// Before the last look at what is waited for; afterwards end_sleep(), which also takes the wake-up
// back.
void begin_sleep(const ThreadWaiter& waiter) noexcept;
void end_sleep(const ThreadWaiter& waiter, bool was_woken) noexcept;

// The lanes of a waiting thread: one for each pair that its local connections lead to, for the life
// of the object. Between the first add() and the end the other sides wake us.
class ThreadLanes {
 public:
  // For at most so many connections. Memory of its own when they are many.
  explicit ThreadLanes(std::size_t most) noexcept;
  ~ThreadLanes();
  ThreadLanes(const ThreadLanes&) = delete;
  ThreadLanes& operator=(const ThreadLanes&) = delete;

  // Before the last look at the connection. True also when it is not local. False: it cannot be
  // told to us.
  bool add(Connection& c) noexcept;
  // What a sleep must watch: fills in and returns the part of `polls` that is used.
  [[nodiscard]] std::span<pollfd> fill(std::span<pollfd> polls) const noexcept;
  // Takes back the wake-ups that came. True: there were some.
  static bool consume(std::span<const pollfd> polls) noexcept;
  // A sleep ended by itself, while snpd is lost: did somebody tell us without a descriptor?
  void note_mute() const noexcept;
  // Some connection can be told only by looking again, because snpd is not there to pass a lane on.
  [[nodiscard]] bool must_look() const noexcept { return must_look_; }

 private:
  struct Held {
    Session* session;
    Pair* pair;
    ipc::LaneId id;
    int bell;
  };
  struct Named {
    Connection* connection;
    std::uint32_t word;
    ipc::LaneId id;
  };
  static constexpr std::size_t kSmall = 4;

  ipc::LaneId lane_of(Session& session, Pair& pair) noexcept;

  std::size_t most_, held_count_ = 0, named_count_ = 0;
  bool must_look_ = false;
  Held small_held_[kSmall];
  Named small_named_[kSmall];
  Held* held_ = small_held_;
  Named* named_ = small_named_;
};

// Between looks of a sleeper while snpd is lost, and where nothing can wake it.
inline constexpr Duration kLostSlice = milliseconds(50);
inline constexpr Duration kBlindSlice = milliseconds(1);

// A time limit that reads the clock only when somebody waits.
class Deadline {
 public:
  explicit Deadline(Duration limit) noexcept : limit_(limit) {}
  [[nodiscard]] bool is_limited() const noexcept { return limit_ < kForever; }
  // What is left; never negative. Starts to run at the first call.
  Duration left() noexcept {
    if (!is_limited()) return kForever;
    if (limit_ <= Duration::zero()) return Duration::zero();
    const Instant t = now();
    if (end_ == kNever) end_ = t + limit_;
    return end_ > t ? end_ - t : Duration::zero();
  }
  // The same, for a wait that nearly always ends by itself or by its own limit: the first time
  // without looking at the clock. Should another wait have to follow, all may last a tick longer.
  Duration left_roughly() noexcept {
    constexpr Duration kTick = milliseconds(10);
    if (!is_limited() || end_ != kNever || limit_ <= Duration::zero()) return left();
    end_ = coarse_now() + kTick + limit_;
    return limit_;
  }

 private:
  Duration limit_;
  Instant end_ = kNever;
};

// Waits until `events` (EPOLLIN, EPOLLOUT) may be true or the mode changed: 0. Else -EAGAIN (time
// is up), -EINTR, -EBADF (the descriptor was closed meanwhile).
int wait_ready(Connection& c, int fd, std::uint32_t events, Deadline& deadline,
               SignalHold& signals) noexcept;

// Would the kernel go on with a call after the signal just handled? True when every handler of the
// process was installed with SA_RESTART.
bool restarts_after_signal() noexcept;

// How long a waiter for this connection may spin at most: the bulletin's word, and nothing when the
// one that would end the wait runs on our CPU, where a spin only keeps it from its work.
struct SpinBounds {
  std::uint32_t longest_us = 0;  // what may be learned
  std::uint32_t now_us = 0;      // what makes sense at the moment
};
SpinBounds engine_spin(const Session& session) noexcept;
// `peer_cpu`: where the other side of the local connection wrote last.
SpinBounds local_spin(const Session& session, std::uint32_t peer_cpu) noexcept;
SpinBounds spin_bounds(const Connection& c) noexcept;

// How long a waiter spins before it sleeps: learned from how long its waits last. Spinning through
// waits that are shorter than the bulletin allows saves the wake-up; through others it is waste
// (doc/decisions/0002-sleeping-and-spinning.md).
class Spinner {
 public:
  // Busy-waits for `is_ready` within the budget. Else sleep, and tell learn() how long it took.
  template <class Predicate>
  bool spin(const SpinBounds& bounds, Predicate&& is_ready) noexcept {
    const std::uint32_t budget =
        std::min(budget_us_.load(std::memory_order_relaxed), bounds.now_us);
    if (budget == 0) return false;
    const Instant end = now() + microseconds(budget);
    do {
      for (int i = 0; i < 16; ++i) {
        if (is_ready()) return true;
        __builtin_ia32_pause();
      }
    } while (now() < end);
    return false;
  }
  void learn(const SpinBounds& bounds, Duration waited) noexcept {
    constexpr auto kWakeUp = microseconds(40);  // part of what a sleeper measures
    const std::uint32_t longest = bounds.longest_us;
    const std::uint32_t budget = budget_us_.load(std::memory_order_relaxed);
    const bool would_have_paid = waited <= microseconds(longest) + kWakeUp;
    budget_us_.store(would_have_paid ? longest : budget / 2, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint32_t> budget_us_{8};
};

Spinner& thread_spinner() noexcept;

}  // namespace snp::switch_
