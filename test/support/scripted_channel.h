// For tests: an engine that is slow, wrong or gone, as it is told. It makes a mess of a destination
// at once and copies at the last possible moment, so that whoever shows bytes too early shows wrong
// ones, and compares the source with what it was at submission, so that whoever gives it back too
// early is found.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "snp/base/time.h"
#include "snp/netdma/channel.h"

namespace snp::test {

class ScriptedChannel final : public netdma::Channel {
 public:
  explicit ScriptedChannel(std::function<Instant()> clock) : clock_(std::move(clock)) {}

  // The script; may change at any time.
  Duration delay{};                        // a transfer is over so long after its submission
  std::function<Duration()> random_delay;  // instead of `delay`
  bool is_stuck = false;                   // nothing is ever over
  std::uint32_t fail_next = 0;             // so many fail, half copied
  bool halts_on_failure = false;
  bool is_disordered = false;  // newest first, of what is over
  bool reports_late = false;   // what abort() leaves is reported as done, after the next reset()
  bool cannot_reset = false;
  netdma::Capabilities caps{64, 1u << 20, false, true};

  void remove() noexcept {
    abort();
    is_removed_ = true;
  }
  [[nodiscard]] std::uint64_t submitted() const { return submitted_; }
  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  [[nodiscard]] std::uint64_t aborts() const { return aborts_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "scripted"; }
  [[nodiscard]] const netdma::Capabilities& capabilities() const noexcept override { return caps; }

  std::size_t submit(std::span<const netdma::Transfer> transfers) noexcept override {
    if (is_halted_ || is_removed_) return 0;
    const std::size_t taken = std::min<std::size_t>(
        transfers.size(), caps.depth - std::min<std::size_t>(caps.depth, outstanding()));
    for (const netdma::Transfer& transfer : transfers.first(taken)) {
      EXPECT_LE(transfer.size, caps.largest_transfer);
      if ((transfer.flags & netdma::transfer_flag::kNull) == 0)
        std::memset(transfer.destination, 0xee, transfer.size);
      const Duration time = random_delay ? random_delay() : delay;
      jobs_.push_back(
          {transfer, {transfer.source, transfer.source + transfer.size}, clock_() + time});
    }
    submitted_ += taken;
    batches_ += taken != 0 ? 1 : 0;
    return taken;
  }

  std::size_t reap(std::span<netdma::Outcome> outcomes) noexcept override {
    if (!is_halted_ && !is_suspended_) work();
    std::size_t count = 0;
    for (; count < outcomes.size() && !over_.empty(); ++count) {
      outcomes[count] = is_disordered ? over_.back() : over_.front();
      is_disordered ? over_.pop_back() : over_.pop_front();
    }
    return count;
  }

  [[nodiscard]] netdma::ChannelState state() const noexcept override {
    if (is_removed_) return netdma::ChannelState::kRemoved;
    if (is_halted_) return netdma::ChannelState::kHalted;
    if (is_suspended_) return netdma::ChannelState::kSuspended;
    if (!jobs_.empty() && has_finished_) return netdma::ChannelState::kActive;
    return has_finished_ ? netdma::ChannelState::kIdle : netdma::ChannelState::kArmed;
  }
  [[nodiscard]] std::size_t outstanding() const noexcept override {
    return jobs_.size() + over_.size();
  }
  Result<> suspend() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "halted");
    is_suspended_ = true;
    return {};
  }
  Result<> resume() noexcept override {
    if (is_halted_) return fail(Errc::kBusy, "halted");
    is_suspended_ = false;
    return {};
  }
  void abort() noexcept override {
    if (is_halted_ || is_removed_) return;
    ++aborts_;
    is_halted_ = true;
    is_suspended_ = false;
    for (const Job& job : jobs_) {
      if (reports_late)
        late_.push_back({job.transfer.context, netdma::Status::kDone});
      else
        over_.push_back({job.transfer.context, netdma::Status::kAborted});
    }
    jobs_.clear();
  }
  Result<> reset() noexcept override {
    if (is_removed_ || cannot_reset) return fail(Errc::kNotFound, "the engine is gone");
    abort();
    jobs_.clear();
    over_.clear();
    std::swap(over_, late_);
    is_halted_ = is_suspended_ = has_finished_ = false;
    return {};
  }

 private:
  struct Job {
    netdma::Transfer transfer;
    std::vector<std::byte> source;
    Instant due;
  };

  void work() noexcept {
    while (!jobs_.empty() && !is_stuck && jobs_.front().due <= clock_()) {
      const Job& job = jobs_.front();
      const bool is_null = (job.transfer.flags & netdma::transfer_flag::kNull) != 0;
      std::size_t size = is_null ? 0 : job.transfer.size;
      EXPECT_TRUE(std::equal(job.source.begin(), job.source.end(), job.transfer.source))
          << "the source was given back before its copy was over";
      const bool fails = fail_next != 0;
      if (fails) size /= 2;
      std::memcpy(job.transfer.destination, job.source.data(), size);
      over_.push_back(
          {job.transfer.context, fails ? netdma::Status::kFailed : netdma::Status::kDone});
      has_finished_ = true;
      jobs_.pop_front();
      if (!fails) continue;
      --fail_next;
      if (!halts_on_failure) continue;
      abort();
      --aborts_;
      return;
    }
  }

  const std::function<Instant()> clock_;
  std::deque<Job> jobs_;
  std::deque<netdma::Outcome> over_, late_;
  std::uint64_t submitted_ = 0, batches_ = 0, aborts_ = 0;
  bool is_halted_ = false, is_suspended_ = false, is_removed_ = false, has_finished_ = false;
};

}  // namespace snp::test
