// epoll_wait: rings first, then a short spin, then sleep in the real epoll_wait.
#include <algorithm>

#include <poll.h>
#include <sys/epoll.h>

#include "snp/switch/epoll_instance.h"
#include "snp/switch/epoll_registry.h"
#include "snp/switch/local.h"
#include "snp/switch/real.h"
#include "snp/switch/stream.h"
#include "snp/switch/wait.h"

namespace snp::switch_ {
namespace {

// While the rings have events, the other descriptors are asked once in so many calls.
constexpr std::uint32_t kRoundsWithoutKernel = 8;

constexpr int kNotWhole = -2;

// As epoll_wait() takes it: -1 without a limit.
int in_whole_ms(Duration timeout) noexcept {
  if (timeout == Duration::zero()) return 0;
  if (timeout >= kForever) return -1;
  const auto ms = std::chrono::duration_cast<milliseconds>(timeout);
  return ms == timeout && ms.count() < 0x7fffffff ? static_cast<int>(ms.count()) : kNotWhole;
}

// A mark does not say of what. As ep_poll_callback: room is told to those who wait for it, and is
// no edge for the others, whatever they have left unread.
bool is_new_edge(const EpollEntry& entry, const Look& now) noexcept {
  if (entry.is_fresh) return true;
  if (!entry.is_marked) return false;
  return (entry.events & EPOLLOUT) != 0 || now.arrived != entry.seen.arrived ||
         now.news != entry.seen.news || now.status != entry.seen.status;
}

}  // namespace

bool EpollInstance::may_be_ready() const noexcept {
  return listed_count_.load(std::memory_order_relaxed) != 0 || !ipc::is_empty(wait_set_->ready) ||
         lanes_.has_marks();
}

void EpollInstance::take_marks() noexcept {
  const auto mark = [this](ipc::SlotId id) {
    for (EpollEntry* e = by_slot_[id]; e != nullptr; e = e->same_slot_next) {
      e->is_marked = true;
      list(*e);
    }
  };
  ipc::drain(wait_set_->ready, mark);
  lanes_.drain(mark);
}

// True: `event` is filled in. The entry is off the list; level-triggered ones that are ready go
// back to its end, so that others get their turn when `most` is small.
bool EpollInstance::report(EpollEntry& entry, epoll_event& event) noexcept {
  Connection& c = *entry.connection;
  const std::uint32_t word = mode_word(c);
  const ipc::SlotMode current = ipc::mode_of(word);
  if (current != ipc::SlotMode::kInHost && current != ipc::SlotMode::kOffloaded) {
    moving_ = {&c, word};
    return false;  // a mark follows
  }
  follow_mode(entry, current);
  if (current == ipc::SlotMode::kInHost || entry.is_fired) return false;
  if (entry.word != word && !attach(entry, word)) return false;
  if (is_local(c))
    peer_cpu_.store(c.ends.theirs->cpu.load(std::memory_order_relaxed), std::memory_order_relaxed);
  const std::uint32_t interest = entry.events | EPOLLERR | EPOLLHUP;
  const Look now = look(c);
  std::uint32_t mask = now.ready & interest;
  if ((interest & EPOLLOUT) != 0 && (mask & EPOLLOUT) == 0 && want_write(c)) mask |= EPOLLOUT;
  const bool is_edge = (entry.events & EPOLLET) != 0;
  // Interest in an edge is there always; then a write that did not fit tells who waits.
  const bool wants_room = (interest & ~mask & EPOLLOUT) != 0 && (!is_edge || c.wants_more.load());
  if (wants_room && is_stalled(c)) has_stalled_ = true;
  if (mask == 0) return false;
  const bool is_news = !is_edge || is_new_edge(entry, now);
  entry.is_marked = false;
  if (!is_news) return false;
  entry.is_fresh = false;
  entry.seen = now;
  event.events = mask;
  event.data = entry.data;
  if ((entry.events & EPOLLONESHOT) != 0)
    entry.is_fired = true;
  else if (!is_edge)
    list(entry);
  return true;
}

int EpollInstance::collect(epoll_event* events, int most) noexcept {
  const Guard guard(lock_);
  lanes_.drop_gone(*session_, epoll_fd_);
  take_marks();
  moving_ = {};
  int n = 0;
  for (std::uint32_t left = listed_count_.load(); left != 0 && n < most; --left) {
    EpollEntry& entry = *listed_first_;
    unlist(entry);
    if (report(entry, events[n])) ++n;
  }
  return n;
}

// A connection that has been away since the set looked is home again, and what the set says may be
// of the parked socket. Leaves in `event` what is true now.
bool EpollInstance::is_still_true(EpollEntry& entry, std::uint32_t word,
                                  epoll_event& event) noexcept {
  pollfd now{entry.fd, static_cast<short>(entry.events), 0};
  if (real().poll(&now, 1, 0) != 1 || (now.revents & POLLNVAL) != 0) return false;
  if (mode_word(*entry.connection) != word) return false;
  entry.kernel_word = word;
  event.events = static_cast<std::uint16_t>(now.revents);
  return true;
}

// An event of the real set that carries one of our registrations. Pre: locked.
inline bool EpollInstance::translate_one(epoll_event& event) noexcept {
  EpollEntry& entry = *address_in(event.data.u64);
  if (entry.owner != this || tag_of(entry) != event.data.u64) return false;  // of one that is gone
  const std::uint32_t word = mode_word(*entry.connection);
  if (ipc::mode_of(word) == ipc::SlotMode::kInHost &&
      (word == entry.kernel_word || is_foreign_ || is_still_true(entry, word, event))) {
    event.data = entry.data;
    if ((entry.events & EPOLLONESHOT) != 0) entry.is_fired = true;
    return true;
  }
  moving_ = {entry.connection, word};
  entry.is_fresh = entry.lost_event = true;  // what the socket says while it moves is not true
  list(entry);
  return false;
}

EpollInstance::Told EpollInstance::translate(epoll_event* events, int count) noexcept {
  if (count == 0) return {};
  int kept = 0;
  bool has_connections = false;
  const Guard guard(lock_);
  for (int i = 0; i < count; ++i) {
    epoll_event event = events[i];
    const void* p = event.data.ptr;
    if (p == this) {
      std::uint64_t rings = 0;
      if (!is_foreign_) sys(SYS_read, eventfd_, &rings, sizeof rings);
    } else if (p == reinterpret_cast<std::byte*>(this) + kControlMark) {
      mark_lost(*session_);
    } else if (p == reinterpret_cast<std::byte*>(this) + kLaneMark) {
      lane_edges_.fetch_add(1, std::memory_order_relaxed);
      if (is_foreign_) write_bell(eventfd_);  // an edge of the parent's: pass it on
    } else if (!epoll_registry().entries.contains(address_in(event.data.u64))) {
      events[kept++] = event;
    } else if (translate_one(event)) {
      has_connections = true;
      events[kept++] = event;
    }
  }
  return {kept, has_connections};
}

EpollInstance::Told EpollInstance::ask_kernel(epoll_event* events, int most, Duration timeout,
                                              const sigset_t* mask) noexcept {
  const int ms = in_whole_ms(timeout);
  int n = 0;
  if (ms == kNotWhole) {
    const timespec time = to_timespec(timeout);
    n = real().epoll_pwait2(epoll_fd_, events, most, &time, mask);
  } else if (mask == nullptr) {  // costs the kernel less
    n = real().epoll_wait(epoll_fd_, events, most, ms);
  } else {
    n = real().epoll_pwait(epoll_fd_, events, most, ms, mask);
  }
  return n < 0 ? Told{-errno} : translate(events, n);
}

void EpollInstance::wake_sleeper() noexcept {
  if (sleepers_.load() != 0 || uncounted_.load() != 0) write_bell(eventfd_);
}

void EpollInstance::serve_outer_waiter() noexcept {
  uncounted_.fetch_or(kOuter);
  ring_without_sleeper();
}

void EpollInstance::ring_without_sleeper() noexcept {
  wait_set_->sleeping.store(1);
  lanes_.arm();
  if (may_be_ready()) write_bell(eventfd_);
}

SpinBounds EpollInstance::bounds() const noexcept {
  if (offloaded_.load(std::memory_order_relaxed) == 0) return {};
  if (lanes_.is_empty()) return engine_spin(*session_);
  return local_spin(*session_, peer_cpu_.load(std::memory_order_relaxed));
}

EpollInstance::Told EpollInstance::sleep(epoll_event* events, int most, Duration timeout,
                                         const sigset_t* mask) noexcept {
  sleepers_.fetch_add(1);
  if (offloaded_.load(std::memory_order_relaxed) != 0)
    wait_set_->cpu.store(static_cast<std::uint32_t>(::sched_getcpu()), std::memory_order_relaxed);
  // It may be 1 still, see below. Whoever takes it back from here on writes the eventfd.
  if (wait_set_->sleeping.load() == 0) wait_set_->sleeping.store(1);
  lanes_.arm();
  const bool is_lost = session_->lost.load(std::memory_order_relaxed) && offloaded_.load() != 0;
  const Duration slice = must_look_ ? kBlindSlice : kLostSlice;
  Duration limit = is_lost ? std::min(timeout, slice) : timeout;
  const bool has_stalled = has_stalled_.load(std::memory_order_relaxed);
  if (has_stalled) limit = std::min(limit, kStallPatience);
  const std::uint32_t edges = lane_edges_.load(std::memory_order_relaxed);
  const Told told = may_be_ready() ? Told() : ask_kernel(events, most, limit, mask);
  if (is_lost && lane_edges_.load(std::memory_order_relaxed) == edges && lanes_.has_mute())
    must_look_ = true;
  if (sleepers_.fetch_sub(1) == 1 && uncounted_.load(std::memory_order_relaxed) == 0) {
    // While everything is in the host nobody wakes us but a hand-over: one write too many then, for
    // none of ours at every call.
    if (offloaded_.load(std::memory_order_relaxed) != 0) {
      wait_set_->sleeping.store(0, std::memory_order_relaxed);
      lanes_.disarm();
    }
  } else {
    // Others sleep on: who woke one of us took `sleeping` back.
    wait_set_->sleeping.store(1);
    lanes_.arm();
    if (may_be_ready()) write_bell(eventfd_);
  }
  if ((is_lost && is_time_to_look()) || (has_stalled && told.count == 0 && !may_be_ready()))
    look_at_all(is_lost);
  return told;
}

// Once in a while.
bool EpollInstance::is_time_to_look() noexcept {
  const Instant::rep t = coarse_now().time_since_epoch().count();
  Instant::rep next = next_look_.load(std::memory_order_relaxed);
  const Duration slice = must_look_ ? kBlindSlice : kLostSlice;
  return t >= next && next_look_.compare_exchange_strong(next, t + slice.count());
}

// What nobody tells: whether snpd's connections have failed, a full ring, a mute lane.
void EpollInstance::look_at_all(bool is_lost) noexcept {
  const Guard guard(lock_);
  has_stalled_ = false;
  for_each_entry([this, is_lost](EpollEntry& e) {
    if (is_lost) check_on_snpd(*e.connection);
    list(e);
  });
}

// In a child: the eventfd in the set is for the parent to read, which may take its time.
long EpollInstance::wait_foreign(epoll_event* events, int most, Deadline& deadline,
                                 const sigset_t* mask) noexcept {
  SignalHold signals;
  for (;;) {
    const Duration left = deadline.left();
    const long n = ask_kernel(events, most, left, signals.mask(mask)).count;
    if (n != 0 || left == Duration::zero()) return n;
    signals.begin();
    const timespec nap{0, 1'000'000};
    sys(SYS_nanosleep, &nap, nullptr);
  }
}

long EpollInstance::wait(epoll_event* events, int most, Duration timeout,
                         const sigset_t* mask) noexcept {
  if (epoch_ != fork_epoch()) become_foreign();
  Deadline deadline(timeout);
  if (is_foreign_) return wait_foreign(events, most, deadline, mask);
  const long n = wait_here(events, most, deadline, mask);
  // Whatever this call took from the eventfd, others must still hear of what is left.
  if (uncounted_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    if (kernel_waiters(epoll_fd_).load() == 0) uncounted_.fetch_and(~kEarly);
    if (uncounted_.load() != 0) ring_without_sleeper();
  }
  return n;
}

long EpollInstance::wait_after(epoll_event* events, int count, int most, Duration timeout,
                               const sigset_t* mask) noexcept {
  const long n = translate(events, count).count;
  write_bell(eventfd_);  // translate() may have taken what should wake the next one
  return n != 0 ? n : wait(events, most, timeout, mask);
}

// The caller has no time, but a connection of its is just between two places, and may be ready
// there. As a read() would, wait at the gate for the moment that this takes. False: there is none.
bool EpollInstance::wait_for_moving() noexcept {
  Moving moving;
  {
    const Guard guard(lock_);
    moving = std::exchange(moving_, {});
  }
  if (moving.connection == nullptr) return false;
  if (!ipc::is_gate_open(moving.word)) {
    ipc::wait_at_gate(*moving.connection->slot, moving.word);
    if (mode_word(*moving.connection) == moving.word) return false;  // takes its time
  }
  const Guard guard(lock_);
  for (EpollEntry* e = by_slot_[moving.connection->slot_id]; e != nullptr; e = e->same_slot_next)
    list(*e);
  return true;
}

// What the kernel told, if it did, and behind it what the rings have.
long EpollInstance::with_rings(epoll_event* events, int most, Told told) noexcept {
  const int n = static_cast<int>(std::max(0L, told.count));
  if (told.has_connections || n == most || !may_be_ready()) return n;
  return n + collect(events + n, most - n);
}

long EpollInstance::wait_here(epoll_event* events, int most, Deadline& deadline,
                              const sigset_t* mask) noexcept {
  SignalHold signals;
  for (;;) {
    Told told;
    if (rounds_.load(std::memory_order_relaxed) >= kRoundsWithoutKernel) {
      rounds_.store(0, std::memory_order_relaxed);
      told = ask_kernel(events, most, Duration::zero(), mask);
    }
    long n = with_rings(events, most, told);
    if (n > 0) {
      rounds_.fetch_add(1, std::memory_order_relaxed);
      return n;
    }
    const bool has_offloaded = offloaded_.load(std::memory_order_relaxed) != 0;
    const Duration left = has_offloaded ? deadline.left() : deadline.left_roughly();
    if (left == Duration::zero()) {
      n = ask_kernel(events, most, left, mask).count;
      if (n != 0 || !wait_for_moving()) return n;
      continue;
    }
    const SpinBounds spin = bounds();
    const Instant began = has_offloaded ? now() : Instant();
    if (spinner_.spin(spin, [this] { return may_be_ready(); })) continue;
    told = sleep(events, most, left, signals.mask(mask));
    if (has_offloaded) spinner_.learn(spin, now() - began);
    if (told.count < 0) return told.count;
    if (told.count > 0) {
      rounds_.store(0, std::memory_order_relaxed);
      return with_rings(events, most, told);
    }
    // Nearly always a sleep is the last one, and two system calls would be its price.
    signals.begin();
  }
}

}  // namespace snp::switch_
