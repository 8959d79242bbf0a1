#include "snp/daemon/event_loop.h"

#include <algorithm>
#include <array>
#include <vector>

#include <sys/epoll.h>

#include "snp/engine/clock.h"

namespace snp::daemon {

Result<std::unique_ptr<EventLoop>> EventLoop::open() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return fail_errno("cannot make an epoll instance");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll)));
}

Result<> EventLoop::add(int fd, std::uint32_t events, Handler handler) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail_errno("cannot watch a descriptor");
  handlers_[fd] = std::make_shared<Handler>(std::move(handler));
  return {};
}

void EventLoop::change(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::remove(int fd) {
  if (handlers_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::run_due(Instant now) {
  while (!due_.empty() && due_.begin()->first <= now) {
    const Task task = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    task();
  }
}

void EventLoop::run_soon() {
  std::vector<Task> tasks;
  tasks.swap(soon_);
  for (const Task& task : tasks)
    task();
}

int EventLoop::timeout_ms(Instant now) const {
  if (!soon_.empty()) return 0;
  if (due_.empty()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(due_.begin()->first - now);
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3600 * 1000));
}

void EventLoop::run() {
  while (!is_stopping_)
    turn();
}

void EventLoop::turn() {
  std::array<epoll_event, 64> events;
  const bool is_busy = before_sleep_ && before_sleep_();
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 is_busy ? 0 : timeout_ms(engine::monotonic_now()));
  if (after_sleep_) after_sleep_();
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    const auto found = handlers_.find(event.data.fd);
    if (found == handlers_.end()) continue;
    // A handler may remove itself: it stays alive while it runs.
    const std::shared_ptr<Handler> handler = found->second;
    (*handler)(event.events);
  }
  run_due(engine::monotonic_now());
  run_soon();
}

}  // namespace snp::daemon
