#include "snp/netdma/thread_channel.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "snp/base/relax.h"
#include "snp/netdma/streaming_copy.h"

namespace snp::netdma {
namespace {

void copy_plainly(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
}

// abort() waits no longer than for this much of a copy.
constexpr std::uint32_t kPiece = 16 * 1024;

enum class Command : std::uint32_t {
  kGo,
  kStand,  // after the transfer at hand
  kStop,   // after the piece at hand
  kEnd,    // and leave
};

Instant monotonic_now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return Instant(seconds(ts.tv_sec) + Duration(ts.tv_nsec));
}

class ThreadChannel final : public Channel {
 public:
  explicit ThreadChannel(const ThreadOptions& options)
      : options_(options),
        capabilities_{options.depth, std::numeric_limits<std::uint32_t>::max(), false, true},
        ring_(options.depth) {}
  ThreadChannel(const ThreadChannel&) = delete;
  ThreadChannel& operator=(const ThreadChannel&) = delete;
  ~ThreadChannel() override {
    if (!thread_.joinable()) return;
    command_.store(Command::kEnd);
    wake();
    thread_.join();
  }

  void start() {
    CPU_ZERO(&cpus_);
    ::sched_getaffinity(0, sizeof cpus_, &cpus_);
    thread_ = std::thread([this] { run(); });
    const pthread_t handle = thread_.native_handle();
    ::pthread_setname_np(handle, ("snp-copy-" + std::to_string(options_.number)).c_str());
    if (options_.cpu < 0) return;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(static_cast<std::size_t>(options_.cpu), &cpus);
    ::pthread_setaffinity_np(handle, sizeof cpus, &cpus);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "thread"; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override { return capabilities_; }

  std::size_t submit(std::span<const Transfer> transfers) noexcept override {
    if (is_halted_) return 0;
    const std::size_t taken = std::min(transfers.size(), ring_.size() - outstanding());
    if (taken == 0) return 0;
    const std::uint64_t end = submitted_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < taken; ++i)
      ring_[(end + i) % ring_.size()] = transfers[i];
    client_cpu_.store(::sched_getcpu(), std::memory_order_relaxed);
    submitted_.store(end + taken);
    wake();
    return taken;
  }

  std::size_t reap(std::span<Outcome> outcomes) noexcept override {
    const std::uint64_t finished = finished_.load(std::memory_order_acquire);
    const std::uint64_t end = is_halted_ ? submitted_.load(std::memory_order_relaxed) : finished;
    std::size_t count = 0;
    for (; count < outcomes.size() && reaped_ != end; ++reaped_)
      outcomes[count++] = {ring_[reaped_ % ring_.size()].context,
                           reaped_ < finished ? Status::kDone : Status::kAborted};
    return count;
  }

  [[nodiscard]] ChannelState state() const noexcept override {
    if (is_halted_) return ChannelState::kHalted;
    if (is_suspended_) return ChannelState::kSuspended;
    const std::uint64_t finished = finished_.load(std::memory_order_acquire);
    if (finished == 0) return ChannelState::kArmed;
    return finished == submitted_.load(std::memory_order_relaxed) ? ChannelState::kIdle
                                                                  : ChannelState::kActive;
  }
  [[nodiscard]] std::size_t outstanding() const noexcept override {
    return static_cast<std::size_t>(submitted_.load(std::memory_order_relaxed) - reaped_);
  }

  Result<> suspend() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "a halted channel cannot be suspended");
    if (is_suspended_) return {};
    stop(Command::kStand);
    is_suspended_ = true;
    return {};
  }
  Result<> resume() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "a halted channel is not resumed but reset");
    if (std::exchange(is_suspended_, false)) go();
    return {};
  }
  void abort() noexcept override {
    if (!is_halted_ && !is_suspended_) stop(Command::kStop);
    is_halted_ = true;
    is_suspended_ = false;
  }
  Result<> reset() noexcept override {
    abort();
    submitted_.store(0);
    finished_.store(0);
    reaped_ = 0;
    is_halted_ = false;
    go();
    return {};
  }

 private:
  // The owner's side. Pre: the thread runs. Post: it copies nothing until go().
  void stop(Command command) noexcept {
    stands_.store(false);
    command_.store(command);
    wake();
    for (int tries = 0; !stands_.load(std::memory_order_acquire); ++tries) {
      if (tries < 1000)
        relax();
      else
        ::sched_yield();  // it may wait for this very CPU
    }
  }
  void go() noexcept {
    command_.store(Command::kGo);
    wake();
  }
  // After a sequentially consistent store of what it is to see: either it sees that before it
  // sleeps or we see that it does.
  void wake() noexcept {
    if (sleeps_.load() == 0) [[likely]]
      return;
    sleeps_.store(0);
    sleeps_.notify_one();
  }

  // The thread's side.
  void run() noexcept {
    for (;;) {
      keep_away();
      const Command command = command_.load(std::memory_order_acquire);
      if (command == Command::kEnd) return;
      if (command != Command::kGo) {
        stands_.store(true, std::memory_order_release);
        sleep([&] { return command_.load() == command; });
      } else if (!work() && !spin()) {
        sleep([&] { return command_.load() == Command::kGo && submitted_.load() == done_; });
      }
    }
  }
  // Not on the CPU of whoever submits, where the scheduler readily puts whom it wakes: one would
  // have to wait for the other. One system call when the client has moved.
  void keep_away() noexcept {
    const int cpu = client_cpu_.load(std::memory_order_relaxed);
    if (cpu == avoided_cpu_ || options_.cpu >= 0) return;
    avoided_cpu_ = cpu;
    cpu_set_t cpus = cpus_;
    CPU_CLR(static_cast<std::size_t>(cpu), &cpus);
    ::sched_setaffinity(0, sizeof cpus, CPU_COUNT(&cpus) != 0 ? &cpus : &cpus_);
  }
  template <class Condition>
  void sleep(Condition&& may_sleep) noexcept {
    sleeps_.store(1);
    if (may_sleep()) sleeps_.wait(1);
    sleeps_.store(0);
  }

  // False: nothing was there. After reset() the counts begin anew, and the thread stood meanwhile.
  bool work() noexcept {
    done_ = finished_.load(std::memory_order_relaxed);
    const std::uint64_t end = submitted_.load(std::memory_order_acquire);
    if (done_ == end) return false;
    while (done_ != end && command_.load(std::memory_order_relaxed) == Command::kGo) {
      if (!copy(ring_[done_ % ring_.size()])) break;
      finished_.store(++done_, std::memory_order_release);
    }
    return true;
  }
  // False: stopped in the middle.
  bool copy(const Transfer& transfer) noexcept {
    if ((transfer.flags & transfer_flag::kNull) != 0) return true;
    const bool is_streaming = transfer.size >= options_.streaming_from;
    for (std::uint32_t at = 0; at < transfer.size; at += kPiece) {
      if (at != 0 && command_.load(std::memory_order_relaxed) == Command::kStop) return false;
      const std::uint32_t size = std::min(kPiece, transfer.size - at);
      const auto copy_piece = is_streaming ? copy_streaming : copy_plainly;
      copy_piece(transfer.destination + at, transfer.source + at, size);
    }
    return true;
  }
  // True: something came before the time was over.
  bool spin() noexcept {
    if (options_.spin <= Duration{}) return false;
    const Instant end = monotonic_now() + options_.spin;
    do {
      for (int i = 0; i < 32; ++i) {
        if (submitted_.load(std::memory_order_relaxed) != done_ ||
            command_.load(std::memory_order_relaxed) != Command::kGo)
          return true;
        relax();
      }
    } while (monotonic_now() < end);
    return false;
  }

  const ThreadOptions options_;
  const Capabilities capabilities_;
  cpu_set_t cpus_{};            // which whoever made us may use
  std::vector<Transfer> ring_;  // counts modulo its size; written before submitted_ says so
  std::uint64_t reaped_ = 0;
  bool is_halted_ = false, is_suspended_ = false;
  alignas(64) std::atomic<std::uint64_t> submitted_{0};  // since the last reset
  std::atomic<int> client_cpu_{-1};                      // which submitted
  alignas(64) std::atomic<std::uint64_t> finished_{0};
  std::uint64_t done_ = 0;  // the thread's copy of finished_
  int avoided_cpu_ = -1;    // the thread's: the client's, when it last looked
  alignas(64) std::atomic<Command> command_{Command::kGo};
  std::atomic<bool> stands_{false};
  std::atomic<std::uint32_t> sleeps_{0};
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Channel>> open_thread_channel(const ThreadOptions& options) {
  auto channel = std::make_unique<ThreadChannel>(options);
  try {
    channel->start();
  } catch (const std::system_error& error) {
    return fail_errno("cannot start a thread that copies", error.code().value());
  }
  return std::unique_ptr<Channel>(std::move(channel));
}

}  // namespace snp::netdma
