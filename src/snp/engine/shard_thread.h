// The thread of a shard: turns while there is work, a short spin when that has paid lately, then
// sleep (doc/decisions/0002-sleeping-and-spinning.md). Idle costs nothing.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/engine/shard.h"
#include "snp/engine/spin_policy.h"

namespace snp::engine {

class ShardThread {
 public:
  // Makes the descriptors; nothing runs yet. `answers_fd` is written after answers were posted.
  static Result<std::unique_ptr<ShardThread>> open(std::unique_ptr<Shard> shard,
                                                   ipc::ShardBell& bell, int answers_fd,
                                                   std::uint32_t spin_us);
  ShardThread(const ShardThread&) = delete;
  ShardThread& operator=(const ShardThread&) = delete;
  ~ShardThread();

  // cpu < 0: where the scheduler likes. Returns when the thread runs.
  void start(std::uint32_t number, int cpu, WakeGuard& guard);
  void stop();  // joins

  // Any thread.
  void post(Mail& mail) noexcept;
  // A descriptor that wakes the shard, edge-triggered, never read.
  Result<> watch(int bell);
  void unwatch(int bell) noexcept;
  // A descriptor that keeps the shard awake while it is readable.
  Result<> watch_queue(int fd);

  [[nodiscard]] Mailbox& inbox() noexcept { return shard_->inbox(); }
  [[nodiscard]] const Shard& shard() const noexcept { return *shard_; }

 private:
  ShardThread(std::unique_ptr<Shard> shard, ipc::ShardBell& bell, int answers_fd,
              std::uint32_t spin_us)
      : shard_(std::move(shard)),
        bell_(bell),
        answers_fd_(answers_fd),
        spin_(microseconds(spin_us)) {}
  void run() noexcept;
  bool turn(Instant now) noexcept;
  void publish_cpu() noexcept;
  void sleep(Instant now) noexcept;
  void stop_hearing_packets() noexcept;
  bool hear_packets() noexcept;

  std::unique_ptr<Shard> shard_;
  ipc::ShardBell& bell_;
  const int answers_fd_;
  SpinPolicy spin_;
  UniqueFd epoll_, mail_bell_;
  std::atomic<bool> stops_{false};
  std::uint32_t cpu_ = 0xffffffff;
  bool hears_packets_ = true;  // the devices' descriptors are in the epoll set
  std::thread thread_;
};

}  // namespace snp::engine
