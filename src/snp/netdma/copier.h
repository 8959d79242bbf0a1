// What a shard copies received payload with: decides for each copy between the CPU and the copy
// engine (reference 6.4), submits in batches, and copies again by CPU what the engine did not do.
// Whoever uses it sees copies that are done, in order, whatever happens to the engine.
//
// A copy belongs to the copier from start() until is_done(): source and destination stay as they
// are. Shard-local; allocates when made only. Counts are readable from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "snp/base/time.h"
#include "snp/netdma/channel.h"
#include "snp/stats/netdma_stats.h"

namespace snp::netdma {

// Live: the settings, and what calibration found.
struct CopierSettings {
  bool is_enabled = false;             // EnableTCPA
  std::uint32_t min_bytes = 4096;      // MinPacketSizeToDma: smaller packets are copied by the CPU
  std::uint32_t sync_below_bytes = 0;  // DmaSyncCompletionHighThreshold: less room left: wait
  std::array<bool, stats::kSizeClasses> is_worth{};  // sizes that gain by the engine
};

struct CopierLimits {
  std::uint32_t transfers = 256;          // outstanding at most; the channel's depth bounds it too
  Duration patience = milliseconds(100);  // an engine that finishes nothing for so long is stopped
  Duration first_rest = milliseconds(100);  // of a quarantine; doubles with each that follows
  Duration longest_rest = seconds(60);
  std::uint32_t proof = 256;  // transfers without a failure, and the next rest is the first again
};

class Copier {
 public:
  using Outcome = stats::CopyOutcome;
  // Copies are numbered as they are started. 0: none, and done.
  using Ticket = std::uint64_t;

  struct Destination {
    std::span<std::byte> first, second;
  };

  // `channel` may be null: there is no engine. `clock`: asked when copies are outstanding.
  Copier(std::unique_ptr<Channel> channel, const CopierLimits& limits,
         std::function<Instant()> clock);
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;
  ~Copier() { stop(); }

  // What is outstanding goes on as it began.
  void configure(const CopierSettings& settings) noexcept;
  // False: no copy goes to the engine and nothing is counted. The one branch of those without it.
  [[nodiscard]] bool is_active() const noexcept { return is_active_; }

  // Pre: is_active(). False: the CPU copies, which is counted with the reason.
  bool wants(std::uint32_t bytes) noexcept;
  // The CPU copies for a reason that the caller knows.
  void count_by_cpu(Outcome why, std::uint32_t bytes) noexcept;
  // Pre: wants() said so, just now. The CPU does its share before the call returns.
  Ticket start(const Destination& destination, std::span<const std::byte> source) noexcept;
  // Less room than this is left in the destination: finish() at once (6.4). 0: never.
  [[nodiscard]] bool must_wait(std::uint64_t room_left) const noexcept {
    return room_left < settings_.sync_below_bytes;
  }
  // Submits what was started. Once per burst; start() does it, too, when enough has gathered.
  void push() noexcept;

  // Looks for what is done. Stops an engine that has lost our patience, tries one that has rested.
  void poll() noexcept;
  [[nodiscard]] bool is_done(Ticket ticket) const noexcept { return ticket <= done_; }
  [[nodiscard]] bool is_idle() const noexcept { return done_ == last_; }  // nothing outstanding
  // Returns when it is done, by the engine or by the CPU. Bounded by the patience.
  void finish(Ticket ticket) noexcept;
  void finish_all() noexcept;
  // The caller has nothing to do but wait for copies, since `since`.
  void note_wait(Duration waited) noexcept;
  void count(stats::NetdmaMetric metric) noexcept { stats_.add(metric); }
  void set(stats::NetdmaMetric metric, std::uint64_t value) noexcept { stats_.set(metric, value); }

  // Stops the engine and copies the rest by CPU. Nothing is outstanding then, nor will be.
  void stop() noexcept;

  [[nodiscard]] const stats::NetdmaStats& stats() const noexcept { return stats_; }  // any thread
  [[nodiscard]] bool is_quarantined() const noexcept { return is_quarantined_; }
  [[nodiscard]] std::uint32_t share() const noexcept { return share_; }  // the CPU's, in 1/16

 private:
  static constexpr std::uint32_t kShareUnit = 16;
  static constexpr std::uint32_t kMostShare = 12;
  static constexpr std::uint32_t kWindow = 64;              // copies between two looks at the share
  static constexpr std::uint32_t kEagerBytes = 128 * 1024;  // a batch of so much does not wait
  static constexpr std::uint32_t kLeastShared = 16 * 1024;  // smaller copies are not shared

  enum class State : std::uint8_t { kStarted, kDone };
  struct Job {
    std::uint64_t end = 0;  // number after its last transfer
    Instant started;
    std::uint8_t size_class = 0;
    Outcome outcome = Outcome::kEngine;  // the worst of its transfers
  };

  [[nodiscard]] std::size_t slot(std::uint64_t number) const noexcept { return number & mask_; }
  [[nodiscard]] std::uint32_t pieces_of(std::uint32_t bytes) const noexcept;
  void add_transfers(std::span<std::byte> to, const std::byte* from) noexcept;
  void complete(std::uint64_t number, Outcome outcome) noexcept;
  Job& job_of(std::uint64_t number) noexcept;
  bool reap() noexcept;
  void advance() noexcept;
  void finish_job(const Job& job, Instant now) noexcept;
  void tune(Duration latency) noexcept;
  void abandon(Outcome why) noexcept;
  void quarantine() noexcept;
  void try_again() noexcept;
  void check_patience(Instant now) noexcept;
  void update_activity() noexcept;

  const std::unique_ptr<Channel> channel_;
  const CopierLimits limits_;
  const std::function<Instant()> clock_;
  CopierSettings settings_;
  bool is_active_ = false;
  bool is_stopped_ = false;
  bool is_quarantined_ = false;

  // Rings of one size. Transfers [tail_, submitted_) are the engine's or wait for their turn to be
  // forgotten, [submitted_, head_) are to be pushed.
  std::uint64_t mask_ = 0;
  std::uint32_t largest_ = 0;
  std::vector<Transfer> transfers_;
  std::vector<State> states_;
  std::vector<Job> jobs_;
  std::uint64_t head_ = 0, submitted_ = 0, tail_ = 0;
  Ticket last_ = 0, done_ = 0;
  std::uint64_t unpushed_bytes_ = 0;
  Instant progress_at_{};  // the engine finished something, or got its first

  Instant rests_until_{};
  Duration rest_{};
  std::uint32_t good_ = 0;  // transfers since the last failure

  std::uint32_t share_ = 0;
  std::uint32_t window_ = 0;
  Duration waited_{}, latency_{};
  stats::NetdmaStats stats_;
};

}  // namespace snp::netdma
