// poll, ppoll, select, pselect: one core on pollfd arrays. Offloaded descriptors are judged by
// their rings; the kernel is asked about the others, together with the thread's wait set.
#include <algorithm>
#include <span>

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "snp/switch/epoll_instance.h"
#include "snp/switch/export.h"
#include "snp/switch/local.h"
#include "snp/switch/memory.h"
#include "snp/switch/real.h"
#include "snp/switch/stream.h"
#include "snp/switch/wait.h"

namespace snp::switch_ {
namespace {

// An array on the stack, or in fresh pages when it is long.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t count) noexcept : count_(count), data_(small_) {
    if (count > kSmall) data_ = static_cast<T*>(map_pages(count * sizeof(T)));
  }
  ~Scratch() {
    if (data_ != small_ && data_ != nullptr) ::munmap(data_, count_ * sizeof(T));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] std::span<T> all() noexcept {
    return data_ == nullptr ? std::span<T>{} : std::span<T>{data_, count_};
  }

 private:
  static constexpr std::size_t kSmall = 128;
  std::size_t count_;
  T small_[kSmall];
  T* data_;
};

// What the kernel is asked.
struct Question {
  std::span<pollfd> polls;         // the caller's, and behind them the bells
  std::span<std::uint32_t> words;  // under which mode words: what the socket says while its
                                   // connection moves, or has moved since, is not true
};

bool is_offloaded(const pollfd& p) noexcept {
  const Connection* c = tracked(p.fd);
  return c != nullptr && mode(*c) == ipc::SlotMode::kOffloaded;
}

// What the rings say. Returns how many are ready; the others' revents become 0.
int judge_offloaded(std::span<pollfd> fds, bool ask_for_room) noexcept {
  int ready = 0;
  for (pollfd& p : fds) {
    p.revents = 0;
    Connection* c = tracked(p.fd);
    if (c == nullptr || mode(*c) != ipc::SlotMode::kOffloaded) continue;
    const auto interest = static_cast<std::uint16_t>(p.events) | EPOLLERR | EPOLLHUP;
    if (ask_for_room && (interest & EPOLLOUT) != 0) static_cast<void>(want_write(*c));
    p.revents = static_cast<short>(readiness(*c) & interest);
    if (p.revents != 0) ++ready;
  }
  return ready;
}

// Who can wake the calling thread, besides the kernel's descriptors.
struct Bells {
  int eventfd = -1;  // of its wait set
  const ThreadLanes* lanes = nullptr;
  int control = -1;  // hangs up when snpd goes
};
constexpr std::size_t kOwnBells = 2;  // besides lanes

struct Woken {
  bool by_wait_set = false, by_lane = false, by_control = false;
  bool by_moved = false;  // a socket whose connection is or was elsewhere: ask again
};

// Waits to write on a local connection whose ring is full.
bool wants_room(const pollfd& p) noexcept {
  if ((p.events & POLLOUT) == 0) return false;
  Connection* c = tracked(p.fd);
  return c != nullptr && is_stalled(*c);
}

// Asks the kernel about those that are not offloaded and about the bells. Adds their revents to
// `fds`; returns how many are ready, or a negative errno.
int ask_kernel(std::span<pollfd> fds, Question question, const Bells& bells, Duration timeout,
               const sigset_t* mask, Woken& woken) noexcept {
  const auto [copy, words] = question;
  for (std::size_t i = 0; i < fds.size(); ++i) {
    copy[i] = fds[i];
    copy[i].revents = 0;
    const Connection* c = tracked(fds[i].fd);
    words[i] = c != nullptr ? mode_word(*c) : 0;
    // Nor of one that moves: the end of the move rings.
    if (ipc::mode_of(words[i]) != ipc::SlotMode::kInHost) copy[i].fd = -1;
  }
  const std::span<pollfd> own = copy.subspan(fds.size(), kOwnBells);
  own[0] = {bells.eventfd, POLLIN, 0};
  own[1] = {bells.control, POLLRDHUP, 0};
  std::span<pollfd> told;
  if (bells.lanes != nullptr) told = bells.lanes->fill(copy.subspan(fds.size() + kOwnBells));
  const timespec time = to_timespec(timeout);
  const int n = real().ppoll(copy.data(), fds.size() + kOwnBells + told.size(),
                             timeout < kForever ? &time : nullptr, mask);
  if (n < 0) return -errno;
  woken.by_wait_set = own[0].revents != 0;
  woken.by_control = own[1].revents != 0;
  woken.by_lane = ThreadLanes::consume(told);
  int ready = 0;
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (copy[i].fd < 0 || copy[i].revents == 0) continue;
    const Connection* c = tracked(fds[i].fd);
    if (c != nullptr && mode_word(*c) != words[i]) {
      woken.by_moved = true;
      continue;
    }
    if (fds[i].revents == 0) ++ready;  // or its rings have told before it came home
    fds[i].revents = copy[i].revents;
  }
  return ready;
}

// Every tracked connection tells this thread from now on; one that cannot goes home.
void watch_all(std::span<pollfd> fds, const ThreadWaiter* waiter, ThreadLanes& lanes) noexcept {
  for (const pollfd& p : fds) {
    Connection* c = tracked(p.fd);
    if (c == nullptr) continue;
    if (waiter == nullptr || c->session != waiter->session || !watch(*c, waiter->id) ||
        !lanes.add(*c))
      settle_in_host(*c, Why::kTooManyWaiters);
  }
}

void unwatch_all(std::span<pollfd> fds, const ThreadWaiter* waiter) noexcept {
  for (const pollfd& p : fds)
    if (Connection* c = tracked(p.fd); c != nullptr && waiter != nullptr)
      unwatch(*c, waiter->id, Keep::kYes);
}

int sleep(std::span<pollfd> fds, Question question, Session& session, Duration left,
          const sigset_t* mask, Woken& woken) noexcept {
  ThreadWaiter* waiter = thread_waiter(session);
  ThreadLanes lanes(fds.size());
  watch_all(fds, waiter, lanes);
  if (waiter != nullptr) begin_sleep(*waiter);
  int ready = judge_offloaded(fds, true);
  if (session.lost.load()) left = std::min(left, lanes.must_look() ? kBlindSlice : kLostSlice);
  if (ready == 0 && std::any_of(fds.begin(), fds.end(), wants_room))
    left = std::min(left, kStallPatience);
  const Bells bells{waiter != nullptr ? waiter->eventfd : -1, &lanes,
                    session.lost.load() ? -1 : session.control};
  const int more =
      ask_kernel(fds, question, bells, ready > 0 ? Duration::zero() : left, mask, woken);
  if (woken.by_control) mark_lost(session);
  if (session.lost.load() && ready == 0 && more == 0 && !woken.by_lane) lanes.note_mute();
  if (waiter != nullptr) end_sleep(*waiter, woken.by_wait_set);
  unwatch_all(fds, waiter);
  if (more < 0) return ready > 0 ? ready : more;
  return ready + more;
}

// What is between two places cannot be judged: as a read() would, the caller waits at the gate for
// the moment that this takes, and looks again.
bool has_moved(const pollfd& p) noexcept {
  const Connection* c = tracked(p.fd);
  if (c == nullptr) return false;
  const std::uint32_t word = mode_word(*c);
  if (ipc::is_gate_open(word)) return false;
  ipc::wait_at_gate(*c->slot, word);
  return mode_word(*c) != word;
}

bool must_ask_again(std::span<pollfd> fds, const Woken& woken) noexcept {
  const bool has_any_moved = std::any_of(fds.begin(), fds.end(), has_moved);
  return woken.by_moved || has_any_moved;
}

int poll_tracked(std::span<pollfd> fds, Session& session, Duration timeout,
                 const sigset_t* mask) noexcept {
  Scratch<pollfd> polls(2 * fds.size() + kOwnBells);  // each may have a lane of its own
  Scratch<std::uint32_t> words(fds.size());
  const Question question{polls.all(), words.all()};
  if (question.polls.empty() || question.words.size() != fds.size()) return -ENOMEM;
  Deadline deadline(timeout);
  SignalHold signals;
  for (int patience = 3;;) {
    const int ready = judge_offloaded(fds, false);
    Woken woken;
    if (ready > 0 || deadline.left() == Duration::zero()) {
      const int more = ask_kernel(fds, question, {}, Duration::zero(), mask, woken);
      if (must_ask_again(fds, woken) && patience-- > 0) continue;
      return more > 0 ? ready + more : (ready > 0 ? ready : more);
    }
    const auto offloaded = std::find_if(fds.begin(), fds.end(), is_offloaded);
    const Connection* first = offloaded != fds.end() ? tracked(offloaded->fd) : nullptr;
    const SpinBounds bounds = first != nullptr ? spin_bounds(*first) : SpinBounds{};
    const Instant began = now();
    if (thread_spinner().spin(bounds, [&] { return judge_offloaded(fds, false) > 0; })) continue;
    signals.begin();
    const int n = sleep(fds, question, session, deadline.left(), signals.mask(mask), woken);
    if (offloaded != fds.end()) thread_spinner().learn(bounds, now() - began);
    if ((n > 0 || woken.by_moved) && must_ask_again(fds, woken) && patience-- > 0) continue;
    if (n != 0) return n;
    if (deadline.left() == Duration::zero()) return 0;
    for (const pollfd& p : fds)
      if (Connection* c = tracked(p.fd); c != nullptr && session.lost.load()) check_on_snpd(*c);
  }
}

// The session of the first tracked connection; nullptr when there is none: the kernel's business.
Session* session_of(std::span<pollfd> fds) noexcept {
  Session* session = nullptr;
  for (const pollfd& p : fds) {
    const std::uintptr_t entry = entry_of(p.fd);
    if (entry == 0) continue;
    if (EpollInstance* inner = epoll_in(entry); inner != nullptr) inner->serve_outer_waiter();
    if (const Connection* c = tracked(p.fd); c != nullptr && session == nullptr)
      session = c->session;
  }
  return session;
}

Duration from(const timespec* time) noexcept {
  return time == nullptr ? kForever : seconds(time->tv_sec) + Duration(time->tv_nsec);
}

// --- select ---

struct Sets {
  fd_set* in;
  fd_set* out;
  fd_set* except;
};

bool has(const fd_set* set, int fd) noexcept {
  return set != nullptr && FD_ISSET(fd, set);
}

bool any_tracked(int count, const Sets& sets) noexcept {
  const int end = std::min(count, highest_entry().load(std::memory_order_relaxed));
  for (int fd = 0; fd < end; ++fd) {
    if (entry_of(fd) == 0 || !(has(sets.in, fd) || has(sets.out, fd) || has(sets.except, fd)))
      continue;
    if (EpollInstance* inner = epoll_in(entry_of(fd)); inner != nullptr)
      inner->serve_outer_waiter();
    if (tracked(fd) != nullptr) return true;
  }
  return false;
}

// The kernel's POLLIN_SET, POLLOUT_SET and POLLEX_SET (fs/select.c).
constexpr int kInSet = EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR;
constexpr int kOutSet = EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR;
constexpr int kExceptSet = EPOLLPRI;

int answer(fd_set* set, int fd, int revents, int bits) noexcept {
  if (!has(set, fd)) return 0;
  if ((revents & bits) != 0) return 1;
  FD_CLR(fd, set);
  return 0;
}

int select_tracked(int count, const Sets& sets, Duration timeout, const sigset_t* mask) noexcept {
  Scratch<pollfd> scratch(static_cast<std::size_t>(count));
  if (scratch.all().empty()) return -ENOMEM;
  std::size_t used = 0;
  for (int fd = 0; fd < count; ++fd) {
    const int events = (has(sets.in, fd) ? kInSet : 0) | (has(sets.out, fd) ? kOutSet : 0) |
                       (has(sets.except, fd) ? kExceptSet : 0);
    if (events != 0) scratch.all()[used++] = {fd, static_cast<short>(events), 0};
  }
  const std::span<pollfd> fds = scratch.all().first(used);
  Session* session = session_of(fds);
  const timespec time = to_timespec(timeout);
  int n = session != nullptr
              ? poll_tracked(fds, *session, timeout, mask)
              : real().ppoll(fds.data(), used, timeout < kForever ? &time : nullptr, mask);
  if (n < 0) return session != nullptr ? n : -errno;
  if (std::any_of(fds.begin(), fds.end(), [](const pollfd& p) { return p.revents & POLLNVAL; }))
    return -EBADF;
  n = 0;
  for (const pollfd& p : fds) {
    n += answer(sets.in, p.fd, p.revents, kInSet);
    n += answer(sets.out, p.fd, p.revents, kOutSet);
    n += answer(sets.except, p.fd, p.revents, kExceptSet);
  }
  return n;
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

SNP_EXPORT int poll(pollfd* fds, nfds_t count, int timeout) {
  const std::span<pollfd> all(fds, fds != nullptr ? count : 0);
  Session* session = session_of(all);
  if (session == nullptr) return real().poll(fds, count, timeout);
  return finish<int>(poll_tracked(
      all, *session, timeout < 0 ? kForever : snp::Duration(snp::milliseconds(timeout)), nullptr));
}

SNP_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  const std::span<pollfd> all(fds, fds != nullptr ? count : 0);
  Session* session = session_of(all);
  if (session == nullptr) return real().ppoll(fds, count, timeout, mask);
  return finish<int>(poll_tracked(all, *session, from(timeout), mask));
}

SNP_EXPORT int select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
  const Sets sets{in, out, except};
  if (count <= 0 || !any_tracked(count, sets))
    return real().select(count, in, out, except, timeout);
  if (timeout != nullptr && (timeout->tv_sec < 0 || timeout->tv_usec < 0))
    return finish<int>(-EINVAL);
  Deadline deadline(timeout == nullptr ? kForever
                                       : snp::seconds(timeout->tv_sec) +
                                             snp::Duration(snp::microseconds(timeout->tv_usec)));
  const int n = select_tracked(count, sets, deadline.left(), nullptr);
  if (timeout != nullptr) {  // Linux tells what is left
    const timespec left = to_timespec(deadline.left());
    *timeout = {left.tv_sec, left.tv_nsec / 1000};
  }
  return finish<int>(n);
}

SNP_EXPORT int pselect(int count, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout,
                       const sigset_t* mask) {
  const Sets sets{in, out, except};
  if (count <= 0 || !any_tracked(count, sets))
    return real().pselect(count, in, out, except, timeout, mask);
  return finish<int>(select_tracked(count, sets, from(timeout), mask));
}

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the C library's names
extern "C" [[noreturn]] void __chk_fail();

SNP_EXPORT int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t size) {
  if (size / sizeof(pollfd) < count) __chk_fail();
  return poll(fds, count, timeout);
}

SNP_EXPORT int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                           size_t size) {
  if (size / sizeof(pollfd) < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
