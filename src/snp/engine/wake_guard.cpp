#include "snp/engine/wake_guard.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <tuple>

#include <unistd.h>

#include "snp/engine/engine.h"

namespace snp::engine {
namespace {

// A write that is seen unfinished at two looks in a row is interrupted.
constexpr auto kLookEvery = std::chrono::milliseconds(200);
// Its default is to be ignored, and nobody here uses urgent data signals.
constexpr int kInterrupt = SIGURG;

void install_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: the write must end with EINTR
  ::sigaction(kInterrupt, &action, nullptr);
}

}  // namespace

void WakeGuard::wake(Arena& arena, ipc::WaitSetId id) noexcept {
  const int fd = arena.wait_set_fds[id].load(std::memory_order_acquire);
  if (fd < 0 || arena.is_blocking.load(std::memory_order_relaxed)) return;
  if (!ring(fd)) arena.is_blocking.store(true, std::memory_order_relaxed);
}

bool WakeGuard::ring(int fd) noexcept {
  const std::uint64_t one = 1;
  const std::uint64_t writes = writes_.load(std::memory_order_relaxed);
  writes_.store(writes + 1);  // before the look at the watch: it sees the write, or we see it doze
  if (watch_ != nullptr) watch_->on_write();
  const ssize_t written = ::write(fd, &one, sizeof one);
  const bool was_interrupted = written < 0 && errno == EINTR;
  writes_.store(writes + 2, std::memory_order_relaxed);
  return !was_interrupted;
}

WakeWatch::WakeWatch(std::vector<WakeGuard*> guards) : guards_(std::move(guards)) {
  install_interrupt();
  for (WakeGuard* guard : guards_)
    guard->watch_ = this;
  thread_ = std::thread([this] { run(); });
  ::pthread_setname_np(thread_.native_handle(), "snp-watch");
}

WakeWatch::~WakeWatch() {
  for (WakeGuard* guard : guards_)
    guard->watch_ = nullptr;
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void WakeWatch::rouse() noexcept {
  {
    const std::lock_guard lock(mutex_);
    is_dozing_.store(false);
  }
  changed_.notify_one();
}

// True: somebody has written since the last look.
bool WakeWatch::look(bool interrupts) {
  bool has_writes = false;
  for (WakeGuard* guard : guards_) {
    const std::uint64_t writes = guard->writes_.load();
    if (interrupts && writes % 2 == 1 && writes == guard->seen_)
      ::pthread_kill(guard->thread_, kInterrupt);
    has_writes |= writes != guard->seen_ || writes % 2 == 1;
    guard->seen_ = writes;
  }
  return has_writes;
}

void WakeWatch::run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kLookEvery, [this] { return stops_; })) {
    if (look(true)) continue;
    is_dozing_.store(true);
    if (!look(false)) changed_.wait(lock, [this] { return stops_ || !is_dozing_.load(); });
    is_dozing_.store(false);
  }
}

}  // namespace snp::engine
