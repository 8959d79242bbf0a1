#include "snp/netdma/measure.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>

#include "snp/netdma/packet_probe.h"
#include "snp/netdma/streaming_copy.h"

namespace snp::netdma {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kSourceBytes = 1u << 20;
constexpr std::uint32_t kRingBytes = 1u << 20;
constexpr std::uint32_t kLargest = 65536;
constexpr std::uint32_t kRoundBytes = 256 * 1024;  // as many copies as make so much
constexpr std::size_t kMostInRound = 32;           // but no more than a burst
constexpr std::size_t kLeastRounds = 3;
constexpr std::size_t kMostRounds = 2000;
constexpr std::uint32_t kRestedBytes = 4096;
constexpr std::size_t kRestedRounds = 5;
constexpr auto kRest = std::chrono::milliseconds(1);
constexpr std::uint32_t kPollsBeforeYield = 2000;  // the engine may need this CPU

double median(std::vector<double>& samples) {
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

// The compiler must not move copies out of what is timed.
void barrier() noexcept {
  asm volatile("" ::: "memory");
}

bool has_another_cpu() noexcept {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  return ::sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

// The application: reads what was written, on another CPU where there is one. A destination that
// nobody else ever looked at would stay in the writer's cache, and be cheaper than it is in life.
class Reader {
 public:
  Reader() : buffer_(kLargest) {
    if (has_another_cpu()) thread_ = std::thread([this] { run(); });
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    if (!thread_.joinable()) return;
    ends_.store(true);
    wake();
    thread_.join();
  }

  // Answers how long it took.
  double read(std::span<const Transfer> transfers) {
    transfers_ = transfers;
    if (!thread_.joinable()) {
      work();
      return ns_;
    }
    const std::uint32_t turn = wake();
    for (std::uint32_t polls = 0; done_.load(std::memory_order_acquire) != turn; ++polls)
      if (polls > kPollsBeforeYield) std::this_thread::yield();
    return ns_;
  }
  // Of the last read().
  [[nodiscard]] bool were_right() const noexcept { return were_right_; }

 private:
  std::uint32_t wake() noexcept {
    const std::uint32_t turn = turn_.fetch_add(1, std::memory_order_release) + 1;
    turn_.notify_one();
    return turn;
  }
  void run() noexcept {
    for (std::uint32_t turn = 0; !ends_.load(); done_.store(turn, std::memory_order_release)) {
      turn_.wait(turn, std::memory_order_acquire);
      turn = turn_.load(std::memory_order_acquire);
      if (!ends_.load()) work();
    }
  }
  void work() noexcept {
    const auto start = Clock::now();
    for (const Transfer& transfer : transfers_)
      std::memcpy(buffer_.data(), transfer.destination, transfer.size);
    barrier();
    ns_ = ns_since(start);
    were_right_ = std::all_of(transfers_.begin(), transfers_.end(), [](const Transfer& transfer) {
      return std::memcmp(transfer.destination, transfer.source, transfer.size) == 0;
    });
  }

  std::vector<std::byte> buffer_;
  std::span<const Transfer> transfers_;
  double ns_ = 0;
  bool were_right_ = false;
  std::atomic<std::uint32_t> turn_{0}, done_{0};
  std::atomic<bool> ends_{false};
  std::thread thread_;  // last: it uses the others
};

class Measurement {
 public:
  Measurement(Channel& channel, const MeasureOptions& options)
      : channel_(channel),
        options_(options),
        source_(new (std::align_val_t{4096}) std::byte[kSourceBytes]),
        ring_(new (std::align_val_t{4096}) std::byte[kRingBytes]) {
    std::memset(source_.get(), 1, kSourceBytes);
    std::memset(ring_.get(), 2, kRingBytes);
    std::vector<double> costs(64);
    for (double& cost : costs)
      cost = ns_since(Clock::now());
    clock_ns_ = median(costs);
  }

  Figures run() {
    figures_.is_asynchronous = channel_.capabilities().is_asynchronous;
    const auto each = options_.budget / static_cast<int>(kCalibrationSizes.size() + 1);
    for (std::size_t i = 0; i < kCalibrationSizes.size() && figures_.failure.empty(); ++i)
      measure_size(kCalibrationSizes[i], each, figures_.sizes[i]);
    if (figures_.failure.empty()) measure_rested();
    if (!figures_.failure.empty()) channel_.abort();
    if (const auto reset = channel_.reset(); !reset && figures_.failure.empty())
      figures_.failure = "the engine cannot be reset: " + reset.error().message;
    return figures_;
  }

 private:
  struct EngineRound {
    double hand_over_ns = 0, whole_ns = 0, submit_ns = 0;
  };
  struct Aligned {
    void operator()(std::byte* memory) const noexcept {
      ::operator delete[](memory, std::align_val_t{4096});
    }
  };
  using Memory = std::unique_ptr<std::byte[], Aligned>;

  void fail_with(std::string why) { figures_.failure = std::move(why); }

  void measure_size(std::uint32_t bytes, Duration time, SizeFigures& out) {
    const std::size_t count = std::clamp<std::size_t>(kRoundBytes / bytes, 1, kMostInRound);
    std::vector<double> copy, copy_read, streaming, streaming_read, hand_over, engine;
    const auto start = Clock::now();
    for (std::size_t round = 0; round < kMostRounds; ++round) {
      if (round >= kLeastRounds && Clock::now() - start > time) break;
      cpu_round(
          bytes, count, [](auto* to, const auto* from, auto n) { std::memcpy(to, from, n); }, copy,
          copy_read);
      cpu_round(
          bytes, count, [](auto* to, const auto* from, auto n) { copy_streaming(to, from, n); },
          streaming, streaming_read);
      prepare(bytes, count);
      if (!wake()) return;
      const auto times = engine_round();
      if (!times) return;
      hand_over.push_back(times->hand_over_ns / static_cast<double>(count));
      engine.push_back(times->whole_ns / static_cast<double>(count));
    }
    out = {bytes,
           median(copy),
           median(copy_read),
           median(streaming),
           median(streaming_read),
           median(hand_over),
           median(engine),
           packets_.measure_ns(bytes),
           0,
           0};
  }

  // In a stream an engine does not rest between packets; while the reader read, it may have. What
  // waking it costs is measured by itself.
  bool wake() {
    const Transfer byte{ring_.get(), source_.get(), 1, 0, 0};
    Outcome outcome;
    const auto start = Clock::now();
    for (std::size_t reaped = channel_.submit({&byte, 1}) == 0 ? 1 : 0; reaped == 0;) {
      reaped = channel_.reap({&outcome, 1});
      if (reaped != 0 || Clock::now() - start <= options_.patience) continue;
      fail_with("the engine did not finish its copies during the calibration");
      return false;
    }
    return true;
  }

  void measure_rested() {
    std::vector<double> submit, latency;
    for (std::size_t i = 0; i < kRestedRounds; ++i) {
      std::this_thread::sleep_for(kRest);
      prepare(kRestedBytes, 1);
      const auto times = engine_round();
      if (!times) return;
      submit.push_back(times->submit_ns);
      latency.push_back(times->whole_ns);
    }
    figures_.rested_submit_ns = median(submit);
    figures_.rested_latency_ns = median(latency);
  }

  // The next `count` copies of the ring, their sources fresh in this CPU's cache.
  void prepare(std::uint32_t bytes, std::size_t count) {
    const std::uint32_t step = std::max(2048u, bytes);  // as the slots of a device
    transfers_.clear();
    ++content_;
    for (std::size_t i = 0; i < count; ++i) {
      if (source_at_ + step > kSourceBytes) source_at_ = 0;
      if (ring_at_ + bytes > kRingBytes) ring_at_ = 0;
      std::byte* const source = source_.get() + source_at_;
      std::memset(source, static_cast<int>(content_ + i) & 0xff, bytes);
      transfers_.push_back({ring_.get() + ring_at_, source, bytes, 0, i});
      source_at_ += step;
      ring_at_ += bytes;
    }
  }

  template <class Copy>
  void cpu_round(std::uint32_t bytes, std::size_t count, const Copy& copy,
                 std::vector<double>& written, std::vector<double>& read) {
    prepare(bytes, count);
    barrier();
    const auto start = Clock::now();
    for (const Transfer& transfer : transfers_)
      copy(transfer.destination, transfer.source, transfer.size);
    barrier();
    const double write_ns = ns_since(start);
    const double read_ns = reader_.read(transfers_);
    written.push_back(std::max(0.0, write_ns - clock_ns_) / static_cast<double>(count));
    read.push_back(std::max(0.0, read_ns - clock_ns_) / static_cast<double>(count));
  }

  // One batch through the engine; nothing: it failed, and why is noted.
  std::optional<EngineRound> engine_round() {
    EngineRound times;
    std::array<Outcome, kMostInRound> outcomes;
    std::size_t submitted = 0, reaped = 0;
    std::uint32_t polls = 0;
    barrier();
    const auto start = Clock::now();
    while (reaped < transfers_.size()) {
      if (submitted < transfers_.size()) {
        const auto before = Clock::now();
        const std::size_t taken = channel_.submit(std::span(transfers_).subspan(submitted));
        const double spent = std::max(0.0, ns_since(before) - clock_ns_);
        if (taken != 0) times.submit_ns += spent;
        submitted += taken;
      }
      const auto before = Clock::now();
      const std::size_t count = channel_.reap(outcomes);
      const double spent = std::max(0.0, ns_since(before) - clock_ns_);
      for (std::size_t i = 0; i < count; ++i, ++reaped) {
        if (outcomes[i].status == Status::kDone && outcomes[i].context == reaped) continue;
        fail_with("the engine failed during the calibration");
        return std::nullopt;
      }
      if (count != 0) {
        times.hand_over_ns += spent;
      } else if (before - start > options_.patience) {
        fail_with("the engine did not finish its copies during the calibration");
        return std::nullopt;
      } else if (++polls > kPollsBeforeYield) {
        std::this_thread::yield();
      }
    }
    times.whole_ns = std::max(0.0, ns_since(start) - clock_ns_);
    times.hand_over_ns += times.submit_ns;
    reader_.read(transfers_);
    if (reader_.were_right()) return times;
    fail_with("the engine copied something else than it was told");
    return std::nullopt;
  }

  Channel& channel_;
  const MeasureOptions options_;
  const Memory source_, ring_;
  Reader reader_;
  PacketProbe packets_;
  std::vector<Transfer> transfers_;
  std::uint32_t source_at_ = 0, ring_at_ = 0;
  std::size_t content_ = 0;
  double clock_ns_ = 0;
  Figures figures_;
};

}  // namespace

Figures measure(Channel& channel, const MeasureOptions& options) {
  return Measurement(channel, options).run();
}

}  // namespace snp::netdma
