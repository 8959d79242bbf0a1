#include "snp/engine/shard_thread.h"

#include <array>
#include <cerrno>
#include <string>
#include <tuple>

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "snp/base/relax.h"
#include "snp/engine/clock.h"

namespace snp::engine {
namespace {

// While packets keep coming, a waiter that was woken on this CPU gets it after so long: it makes
// the room that the peer waits for.
constexpr Duration kPatience = microseconds(50);
// A copy takes no longer, unless the engine is a thread that waits for this CPU.
constexpr Duration kCopyTime = microseconds(20);
// Who has been awake so long will not sleep soon.
constexpr Duration kBusyTime = milliseconds(1);

Result<> add_to_epoll(const UniqueFd& epoll, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail_errno("a shard cannot watch a descriptor");
  return {};
}

}  // namespace

Result<std::unique_ptr<ShardThread>> ShardThread::open(std::unique_ptr<Shard> shard,
                                                       ipc::ShardBell& bell, int answers_fd,
                                                       std::uint32_t spin_us) {
  std::unique_ptr<ShardThread> self(new ShardThread(std::move(shard), bell, answers_fd, spin_us));
  self->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  self->mail_bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!self->epoll_.is_open() || !self->mail_bell_.is_open())
    return fail_errno("a shard cannot make its descriptors");
  if (auto watched = self->watch(self->mail_bell_.get()); !watched)
    return tl::unexpected(watched.error());
  for (const DevicePort& port : self->shard_->ports()) {
    if (port.queue->wait_fd() < 0) continue;
    if (auto watched = self->watch_queue(port.queue->wait_fd()); !watched)
      return tl::unexpected(watched.error());
  }
  return self;
}

ShardThread::~ShardThread() {
  stop();
}

void ShardThread::start(std::uint32_t number, int cpu, WakeGuard& guard) {
  thread_ = std::thread([this] { run(); });
  const pthread_t handle = thread_.native_handle();
  guard.set_thread(handle);
  ::pthread_setname_np(handle, ("snp-shard-" + std::to_string(number)).c_str());
  if (cpu >= 0) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(static_cast<std::size_t>(cpu), &cpus);
    ::pthread_setaffinity_np(handle, sizeof cpus, &cpus);
  }
}

void ShardThread::stop() {
  if (!thread_.joinable()) return;
  stops_.store(true);
  const std::uint64_t one = 1;
  std::ignore = ::write(mail_bell_.get(), &one, sizeof one);
  thread_.join();
}

void ShardThread::post(Mail& mail) noexcept {
  if (!shard_->inbox().post(mail)) return;
  const std::uint64_t one = 1;
  std::ignore = ::write(mail_bell_.get(), &one, sizeof one);
}

Result<> ShardThread::watch(int bell) {
  return add_to_epoll(epoll_, bell, EPOLLIN | EPOLLET);
}

Result<> ShardThread::watch_queue(int fd) {
  return add_to_epoll(epoll_, fd, EPOLLIN);
}

void ShardThread::unwatch(int bell) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, bell, nullptr);
}

void ShardThread::run() noexcept {
  Instant idle_since = monotonic_now();
  bool is_idle = false;
  Instant awake_since = kNever;
  Instant neighbour_since = kNever;  // how long a woken waiter has wanted this CPU
  publish_cpu();
  while (!stops_.load(std::memory_order_relaxed)) {
    const Instant now = monotonic_now();
    if (turn(now)) {
      if (awake_since == kNever) awake_since = now;
      if (hears_packets_ && now - awake_since > kBusyTime) stop_hearing_packets();
      if (is_idle) spin_.on_idle_end(now - idle_since);
      is_idle = false;
      if (!shard_->has_woken_neighbour()) {
        neighbour_since = kNever;
      } else if (neighbour_since == kNever) {
        neighbour_since = now;
      } else if (now - neighbour_since > kPatience) {
        neighbour_since = kNever;
        ::sched_yield();
      }
      continue;
    }
    if (!is_idle) {
      is_idle = true;
      idle_since = now;
      publish_cpu();
    }
    if (shard_->awaits_copies()) {
      if (now - idle_since < kCopyTime)
        relax();
      else
        ::sched_yield();
      continue;
    }
    if (shard_->owes_wake() || shard_->gathers(now) ||
        now - idle_since < spin_.budget(shard_->has_woken_neighbour())) {
      relax();
      continue;
    }
    sleep(now);
    awake_since = kNever;
  }
  shard_->stop_copies();
}

bool ShardThread::turn(Instant now) noexcept {
  const bool had_work = shard_->run_once(now) != 0;
  if (shard_->take_answered()) {
    const std::uint64_t one = 1;
    std::ignore = ::write(answers_fd_, &one, sizeof one);
  }
  return had_work;
}

void ShardThread::publish_cpu() noexcept {
  const auto cpu = static_cast<std::uint32_t>(::sched_getcpu());
  if (cpu == cpu_) return;
  cpu_ = cpu;
  bell_.cpu.store(cpu, std::memory_order_relaxed);
  shard_->set_cpu(cpu);
}

void ShardThread::sleep(Instant now) noexcept {
  std::uint32_t number = bell_.last_sleep.load(std::memory_order_relaxed) + 1;
  if (number == 0) number = 1;  // 0 means awake
  bell_.last_sleep.store(number, std::memory_order_relaxed);
  bell_.sleeping.store(number);
  // Whoever rings from here on sees that we sleep; who rang before is seen now.
  if (!shard_->has_pending() && hear_packets()) {
    shard_->count_sleep();
    const Instant deadline = shard_->next_deadline();
    const Duration left = std::max(deadline - now, Duration(0));
    const timespec timeout{left / seconds(1), (left % seconds(1)).count()};
    std::array<epoll_event, 16> events;
    ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                   deadline == kNever ? nullptr : &timeout, nullptr);
  }
  bell_.sleeping.store(0);
  publish_cpu();
}

// The epoll set is told of each packet (65 ns), also while nobody waits for it.
void ShardThread::stop_hearing_packets() noexcept {
  hears_packets_ = false;
  for (const DevicePort& port : shard_->ports())
    unwatch(port.queue->wait_fd());
}

// Packets that are there already end the next sleep at once. False: there is no memory for it.
bool ShardThread::hear_packets() noexcept {
  if (hears_packets_) return true;
  for (const DevicePort& port : shard_->ports()) {
    const int fd = port.queue->wait_fd();
    if (fd < 0) continue;
    const auto watched = watch_queue(fd);
    // One that took the place of another meanwhile is in the set.
    if (!watched && watched.error().sys_errno != EEXIST) return false;
  }
  hears_packets_ = true;
  return true;
}

}  // namespace snp::engine
