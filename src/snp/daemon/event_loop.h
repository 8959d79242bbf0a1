// The control thread's loop: descriptors, deadlines, and one hook before it sleeps. Sleeps in
// epoll_wait without a timeout when nothing is due, so idle costs nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "snp/base/result.h"
#include "snp/base/time.h"
#include "snp/base/unique_fd.h"

namespace snp::daemon {

class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  using Task = std::function<void()>;

  static Result<std::unique_ptr<EventLoop>> open();

  // `events`: EPOLLIN and so on. The descriptor stays the caller's; remove() it before closing.
  Result<> add(int fd, std::uint32_t events, Handler handler);
  void change(int fd, std::uint32_t events);
  void remove(int fd);

  void call_at(Instant when, Task task) { due_.emplace(when, std::move(task)); }
  // Runs once this turn's events are handled: closes what a handler may not close under itself.
  void call_soon(Task task) { soon_.push_back(std::move(task)); }

  // Called before each sleep; true: there is more to do, only look for events. And after it.
  void set_sleep_hooks(std::function<bool()> before, Task after) {
    before_sleep_ = std::move(before);
    after_sleep_ = std::move(after);
  }

  void run();   // until stop()
  void turn();  // one wait, and what came of it
  void stop() noexcept { is_stopping_ = true; }

 private:
  explicit EventLoop(UniqueFd epoll) noexcept : epoll_(std::move(epoll)) {}
  void run_due(Instant now);
  void run_soon();
  [[nodiscard]] int timeout_ms(Instant now) const;

  UniqueFd epoll_;
  std::unordered_map<int, std::shared_ptr<Handler>> handlers_;
  std::multimap<Instant, Task> due_;
  std::vector<Task> soon_;
  std::function<bool()> before_sleep_;
  Task after_sleep_;
  bool is_stopping_ = false;
};

}  // namespace snp::daemon
