#include "snp/switch/wait.h"

#include <csignal>

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "snp/switch/local.h"
#include "snp/switch/real.h"
#include "snp/switch/stream.h"

namespace snp::switch_ {
namespace {

// How long a sleeper goes without a look at snpd when it cannot be woken by its end.
constexpr Duration kSlice = milliseconds(20);

struct ThreadState {
  ThreadWaiter waiter;
  Spinner spinner;
  std::uint32_t epoch = 0;
};

ThreadState& thread_state() noexcept {
  static thread_local constinit ThreadState state{};
  return state;
}

void drop(ThreadWaiter& waiter) noexcept {
  if (waiter.session == nullptr) return;
  if (waiter.id != 0) {
    give_wait_set(*waiter.session, waiter.id);
    clear_entry(waiter.eventfd);
    sys(SYS_close, waiter.eventfd);
  }
  waiter = {};
}

void at_thread_exit(void* state) noexcept {
  drop(static_cast<ThreadState*>(state)->waiter);
}

// The key only serves its destructor.
void watch_thread_end(ThreadState& state) noexcept {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  static pthread_key_t key;
  ::pthread_once(&once, [] { ::pthread_key_create(&key, at_thread_exit); });
  ::pthread_setspecific(key, &state);
}

bool is_ready(Connection& c, std::uint32_t events) noexcept {
  return (readiness(c) & (events | EPOLLERR | EPOLLHUP)) != 0;
}

Duration sleep_limit(Connection& c, Deadline& deadline) noexcept {
  const Duration left = deadline.left();
  // With SO_RCVLOWAT readiness may ask for more than the call still wants.
  const bool is_exact = c.slot->app.receive_low_at.load(std::memory_order_relaxed) <= 1;
  return is_exact && !c.session->lost.load() ? left : std::min(left, kSlice);
}

// Sleeps until the kernel socket, the wait set, a lane or snpd's end says something. Pre:
// begin_sleep().
int sleep_on(Connection& c, int fd, std::uint32_t events, const ThreadWaiter& waiter,
             const ThreadLanes& lanes, bool in_host, Deadline& deadline, const sigset_t* mask,
             bool& was_woken) noexcept {
  pollfd polls[4] = {{waiter.eventfd, POLLIN, 0},
                     {c.session->lost.load() ? -1 : c.session->control, POLLRDHUP, 0},
                     {in_host ? fd : -1, static_cast<short>(events), 0},
                     {}};
  const auto told = lanes.fill(std::span(polls).subspan(3));
  Duration limit =
      lanes.must_look() ? std::min(deadline.left(), kBlindSlice) : sleep_limit(c, deadline);
  if ((events & EPOLLOUT) != 0 && is_stalled(c)) limit = std::min(limit, kStallPatience);
  const timespec time = to_timespec(limit);
  const int n = real().ppoll(polls, 3 + told.size(), limit < kForever ? &time : nullptr, mask);
  const int error = errno;
  if (n > 0) static_cast<void>(ThreadLanes::consume(told));
  was_woken = n > 0 && polls[0].revents != 0;
  if (n > 0 && polls[1].revents != 0) mark_lost(*c.session);
  if (n < 0 && error == EINTR)
    return !deadline.is_limited() && restarts_after_signal() ? 0 : -EINTR;
  if (n < 0) return -error;
  if (n == 0 && c.session->lost.load()) lanes.note_mute();
  if (n == 0) check_on_snpd(c);
  return n == 0 && deadline.left() == Duration::zero() ? -EAGAIN : 0;
}

// More waiters than can be told: the connection goes home, where the kernel tells everybody.
int wait_in_host(Connection& c, int fd, std::uint32_t events, Deadline& deadline,
                 const sigset_t* mask) noexcept {
  settle_in_host(c, Why::kTooManyWaiters);
  pollfd poll{fd, static_cast<short>(events), 0};
  const timespec time = to_timespec(deadline.left());
  const int n = real().ppoll(&poll, 1, deadline.is_limited() ? &time : nullptr, mask);
  if (n < 0) return !deadline.is_limited() && restarts_after_signal() ? 0 : -EINTR;
  return n == 0 ? -EAGAIN : 0;
}

}  // namespace

ThreadWaiter* thread_waiter(Session& session) noexcept {
  ThreadState& state = thread_state();
  ThreadWaiter& waiter = state.waiter;
  if (state.epoch != fork_epoch()) {  // the parent's, seen by a child
    waiter = {};
    state.epoch = fork_epoch();
  }
  if (waiter.session == &session) return &waiter;
  drop(waiter);
  watch_thread_end(state);
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const ipc::WaitSetId id = fd >= 0 ? take_wait_set(session, fd) : ipc::WaitSetId{0};
  if (id == 0) {
    if (fd >= 0) sys(SYS_close, fd);
    if (!session.lost.load()) return nullptr;
    waiter = {&session, 0, -1};
    return &waiter;
  }
  set_entry(fd, EntryKind::kInternal);
  waiter = {&session, id, fd};
  return &waiter;
}

Spinner& thread_spinner() noexcept {
  return thread_state().spinner;
}

void begin_sleep(const ThreadWaiter& waiter) noexcept {
  if (waiter.id == 0) return;
  waiter.shared().cpu.store(static_cast<std::uint32_t>(::sched_getcpu()),
                            std::memory_order_relaxed);
  waiter.shared().sleeping.store(1);
}

void end_sleep(const ThreadWaiter& waiter, bool was_woken) noexcept {
  if (waiter.id == 0) return;
  waiter.shared().sleeping.store(0, std::memory_order_relaxed);
  ipc::drain(waiter.shared().ready, [](ipc::SlotId) {});
  if (!was_woken) return;
  std::uint64_t count = 0;
  sys(SYS_read, waiter.eventfd, &count, sizeof count);
}

int wait_ready(Connection& c, int fd, std::uint32_t events, Deadline& deadline,
               SignalHold& signals) noexcept {
  if (deadline.left() == Duration::zero()) return -EAGAIN;
  const bool was_offloaded = mode(c) == ipc::SlotMode::kOffloaded;
  const Instant began = was_offloaded ? now() : Instant();
  SpinBounds bounds;
  if (was_offloaded) {
    bounds = spin_bounds(c);
    if (thread_spinner().spin(bounds, [&] { return is_ready(c, events); })) return 0;
  }
  const ThreadWaiter* waiter = thread_waiter(*c.session);
  ThreadLanes lanes(1);
  signals.begin();
  if (signals.take_interruption())
    return !deadline.is_limited() && restarts_after_signal() ? 0 : -EINTR;
  if (waiter == nullptr || !watch(c, waiter->id))
    return wait_in_host(c, fd, events, deadline, signals.mask());
  if (!lanes.add(c)) {
    unwatch(c, waiter->id, Keep::kYes);
    return wait_in_host(c, fd, events, deadline, signals.mask());
  }
  begin_sleep(*waiter);
  const ipc::SlotMode m = mode(c);
  bool was_woken = false;
  int result = 0;
  const bool must_sleep =
      m == ipc::SlotMode::kInHost || (m == ipc::SlotMode::kOffloaded && !is_ready(c, events) &&
                                      ((events & EPOLLOUT) == 0 || !want_write(c)));
  if (must_sleep)
    result = sleep_on(c, fd, events, *waiter, lanes, m == ipc::SlotMode::kInHost, deadline,
                      signals.mask(), was_woken);
  end_sleep(*waiter, was_woken);
  unwatch(c, waiter->id, Keep::kYes);
  if (was_offloaded && m == ipc::SlotMode::kOffloaded)
    thread_spinner().learn(bounds, now() - began);
  return result == 0 && connection_at(fd) != &c ? -EBADF : result;
}

bool restarts_after_signal() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    const bool has_handler = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    if (has_handler && (action.sa_flags & SA_RESTART) == 0) return false;
  }
  return true;
}

SpinBounds engine_spin(const Session& session) noexcept {
  const std::uint32_t longest = session.bulletin->spin_us.load(std::memory_order_relaxed);
  const auto here = static_cast<std::uint32_t>(::sched_getcpu());
  for (std::uint32_t i = 0; i < session.shards; ++i)
    if (session.bulletin->shard[i].cpu.load(std::memory_order_relaxed) == here) return {longest, 0};
  return {longest, longest};
}

SpinBounds local_spin(const Session& session, std::uint32_t peer_cpu) noexcept {
  const std::uint32_t longest = session.bulletin->local_spin_us.load(std::memory_order_relaxed);
  const auto here = static_cast<std::uint32_t>(::sched_getcpu());
  return {longest, peer_cpu == here ? 0 : longest};
}

SpinBounds spin_bounds(const Connection& c) noexcept {
  if (!is_local(c)) return engine_spin(*c.session);
  return local_spin(*c.session, c.ends.theirs->cpu.load(std::memory_order_relaxed));
}

}  // namespace snp::switch_
