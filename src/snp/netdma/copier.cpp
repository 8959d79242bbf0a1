#include "snp/netdma/copier.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <sched.h>

#include "snp/base/assert.h"
#include "snp/base/relax.h"

namespace snp::netdma {
namespace {

using M = stats::NetdmaMetric;

constexpr std::uint32_t kLine = 64;
// So long a wait looks again at once; then whoever else wants this CPU may have it, who may be the
// engine.
constexpr Duration kEagerWait = microseconds(20);

}  // namespace

Copier::Copier(std::unique_ptr<Channel> channel, const CopierLimits& limits,
               std::function<Instant()> clock)
    : channel_(std::move(channel)),
      limits_(limits),
      clock_(std::move(clock)),
      rest_(limits.first_rest) {
  std::uint32_t size = std::bit_floor(std::max(limits.transfers, 4u));
  if (channel_ != nullptr) {
    size = std::min(size, std::bit_floor(channel_->capabilities().depth));
    largest_ = channel_->capabilities().largest_transfer;
  }
  mask_ = size - 1;
  transfers_.resize(size);
  states_.resize(size);
  jobs_.resize(size);
}

void Copier::configure(const CopierSettings& settings) noexcept {
  settings_ = settings;
  update_activity();
}

// Arenas are sparse and give their pages back, so they cannot be pinned.
void Copier::update_activity() noexcept {
  const auto& worth = settings_.is_worth;
  is_active_ = settings_.is_enabled && !is_stopped_ && channel_ != nullptr && largest_ != 0 &&
               !channel_->capabilities().needs_pinned_memory &&
               std::find(worth.begin(), worth.end(), true) != worth.end();
  if (!is_active_) share_ = 0;
  stats_.set(M::kCpuShare, share_);
}

std::uint32_t Copier::pieces_of(std::uint32_t bytes) const noexcept {
  return bytes / largest_ + (bytes % largest_ != 0 ? 1 : 0);
}

bool Copier::wants(std::uint32_t bytes) noexcept {
  const std::size_t size_class = stats::size_class_of(bytes);
  Outcome why = Outcome::kEngine;
  if (bytes < settings_.min_bytes || bytes == 0)
    why = Outcome::kSmall;
  else if (!settings_.is_worth[size_class])
    why = Outcome::kNotWorth;
  if (why == Outcome::kEngine && is_quarantined_) try_again();
  if (why == Outcome::kEngine && is_quarantined_) why = Outcome::kNoEngine;
  // A copy may need a piece more: the destination wraps.
  else if (why == Outcome::kEngine && pieces_of(bytes) + 1 > transfers_.size() - (head_ - tail_))
    why = Outcome::kFull;
  if (why == Outcome::kEngine) return true;
  count_by_cpu(why, bytes);
  return false;
}

void Copier::count_by_cpu(Outcome why, std::uint32_t bytes) noexcept {
  const std::size_t size_class = stats::size_class_of(bytes);
  stats_.add_copy(why, size_class);
  stats_.add_bytes(why, size_class, bytes);
}

Copier::Ticket Copier::start(const Destination& destination,
                             std::span<const std::byte> source) noexcept {
  const auto bytes = static_cast<std::uint32_t>(source.size());
  SNP_ASSERT(destination.first.size() + destination.second.size() == bytes && bytes != 0);
  const std::uint32_t by_cpu =
      bytes < kLeastShared ? 0 : bytes / kShareUnit * share_ / kLine * kLine;
  const std::uint32_t by_engine = bytes - by_cpu;
  const std::size_t in_first = std::min<std::size_t>(destination.first.size(), by_engine);

  Job& job = jobs_[slot(++last_)];
  job = {0, clock_(), static_cast<std::uint8_t>(stats::size_class_of(bytes)), Outcome::kEngine};
  if (tail_ == head_) progress_at_ = job.started;
  add_transfers(destination.first.first(in_first), source.data());
  add_transfers(destination.second.first(by_engine - in_first), source.data() + in_first);
  job.end = head_;
  unpushed_bytes_ += by_engine;
  if (by_cpu == 0) {
    if (unpushed_bytes_ >= kEagerBytes) push();
    return last_;
  }
  push();  // both work at the same time
  const auto first = destination.first.subspan(in_first);
  const auto second = destination.second.subspan(by_engine - in_first);
  if (!first.empty()) std::memcpy(first.data(), source.data() + by_engine, first.size());
  if (!second.empty())
    std::memcpy(second.data(), source.data() + by_engine + first.size(), second.size());
  stats_.add_copy(Outcome::kShare, job.size_class);
  stats_.add_bytes(Outcome::kShare, job.size_class, by_cpu);
  return last_;
}

void Copier::add_transfers(std::span<std::byte> to, const std::byte* from) noexcept {
  while (!to.empty()) {
    const auto size = static_cast<std::uint32_t>(std::min<std::size_t>(to.size(), largest_));
    transfers_[slot(head_)] = {to.data(), from, size, 0, head_};
    states_[slot(head_)] = State::kStarted;
    ++head_;
    to = to.subspan(size);
    from += size;
  }
}

void Copier::push() noexcept {
  unpushed_bytes_ = 0;
  while (submitted_ != head_) {
    const std::size_t first = slot(submitted_);
    const std::size_t count = std::min<std::size_t>(static_cast<std::size_t>(head_ - submitted_),
                                                    transfers_.size() - first);
    const std::size_t taken = channel_->submit(std::span(transfers_).subspan(first, count));
    submitted_ += taken;
    if (taken == count) continue;
    // Something else uses the engine, or it has stopped: poll() finds out.
    while (submitted_ != head_)
      complete(submitted_++, Outcome::kFull);
    advance();
  }
}

Copier::Job& Copier::job_of(std::uint64_t number) noexcept {
  Ticket ticket = done_ + 1;
  while (jobs_[slot(ticket)].end <= number)
    ++ticket;
  return jobs_[slot(ticket)];
}

// One transfer is over. What the engine did not do is copied now, and nobody else touches it.
void Copier::complete(std::uint64_t number, Outcome outcome) noexcept {
  const Transfer& transfer = transfers_[slot(number)];
  states_[slot(number)] = State::kDone;
  Job& job = job_of(number);
  stats_.add_bytes(outcome, job.size_class, transfer.size);
  if (outcome == Outcome::kEngine) {
    ++good_;
    return;
  }
  std::memcpy(transfer.destination, transfer.source, transfer.size);
  job.outcome = std::max(job.outcome, outcome);
}

void Copier::poll() noexcept {
  if (tail_ == head_) return;
  if (reap()) advance();
  if (tail_ == submitted_) return;
  if (const ChannelState state = channel_->state();
      state == ChannelState::kHalted || state == ChannelState::kRemoved) {
    abandon(Outcome::kFailed);
    return quarantine();
  }
  check_patience(clock_());
}

void Copier::check_patience(Instant now) noexcept {
  if (now - progress_at_ <= limits_.patience) return;
  abandon(Outcome::kLate);
  quarantine();
}

// True: something finished. By its number, so a provider that reports in disorder does no harm;
// what is not outstanding, or was reported before, is none of ours.
bool Copier::reap() noexcept {
  std::array<netdma::Outcome, 32> outcomes;
  bool is_progress = false;
  bool has_failed = false;
  for (std::size_t count = outcomes.size(); count == outcomes.size();) {
    count = channel_->reap(outcomes);
    for (const netdma::Outcome& outcome : std::span(outcomes).first(count)) {
      const std::uint64_t number = outcome.context;
      if (number < tail_ || number >= submitted_ || states_[slot(number)] != State::kStarted) {
        stats_.add(M::kStrayCompletions);
        continue;
      }
      is_progress = true;
      has_failed |= outcome.status != Status::kDone;
      complete(number, outcome.status == Status::kDone ? Outcome::kEngine : Outcome::kFailed);
    }
  }
  if (has_failed) quarantine();
  return is_progress;
}

void Copier::advance() noexcept {
  while (tail_ != head_ && states_[slot(tail_)] == State::kDone)
    ++tail_;
  if (done_ == last_) return;
  const Instant now = clock_();
  progress_at_ = now;
  while (done_ != last_ && jobs_[slot(done_ + 1)].end <= tail_)
    finish_job(jobs_[slot(++done_)], now);
  if (good_ < limits_.proof) return;
  good_ = 0;
  rest_ = limits_.first_rest;
}

void Copier::finish_job(const Job& job, Instant now) noexcept {
  stats_.add_copy(job.outcome, job.size_class);
  stats_.add_latency(now - job.started);
  tune(now - job.started);
}

// As DTO does it: when the caller waits, the CPU can as well copy a part; when it does not, the
// engine can have all of it. Only what overlaps with other work is gained.
void Copier::tune(Duration latency) noexcept {
  latency_ += latency;
  if (++window_ < kWindow) return;
  if (waited_ > latency_ / 4)
    share_ = std::min(share_ + 1, kMostShare);
  else if (waited_ < latency_ / 16 && share_ != 0)
    --share_;
  stats_.set(M::kCpuShare, share_);
  window_ = 0;
  waited_ = latency_ = {};
}

void Copier::note_wait(Duration waited) noexcept {
  waited_ += waited;
  stats_.add(M::kWaitNs, static_cast<std::uint64_t>(waited.count()));
}

void Copier::finish(Ticket ticket) noexcept {
  push();
  poll();
  if (is_done(ticket)) return;
  const Instant begin = clock_();
  while (!is_done(ticket)) {
    if (clock_() - begin > kEagerWait) ::sched_yield();
    relax();
    poll();
  }
  note_wait(clock_() - begin);
}

void Copier::finish_all() noexcept {
  if (is_idle()) return;
  stats_.add(M::kWaitsToFinish);
  finish(last_);
}

// When it returns the engine has nothing of ours, and each copy is done.
void Copier::abandon(Outcome why) noexcept {
  stats_.add(M::kAborts);
  channel_->abort();
  std::array<netdma::Outcome, 32> outcomes;
  for (std::size_t rounds = 0; rounds <= transfers_.size(); ++rounds) {  // whatever it says
    const std::size_t count = channel_->reap(outcomes);
    if (count == 0) break;
    for (const netdma::Outcome& outcome : std::span(outcomes).first(count)) {
      const std::uint64_t number = outcome.context;
      if (number < tail_ || number >= submitted_ || states_[slot(number)] != State::kStarted)
        stats_.add(M::kStrayCompletions);
      else
        complete(number, outcome.status == Status::kDone ? Outcome::kEngine : why);
    }
  }
  submitted_ = head_;
  unpushed_bytes_ = 0;
  for (std::uint64_t number = tail_; number != head_; ++number)
    if (states_[slot(number)] == State::kStarted) complete(number, why);
  advance();
}

void Copier::quarantine() noexcept {
  good_ = 0;
  if (is_quarantined_) return;
  is_quarantined_ = true;
  rests_until_ = clock_() + rest_;
  rest_ = std::min(rest_ * 2, limits_.longest_rest);
  stats_.add(M::kQuarantines);
  stats_.set(M::kQuarantined, 1);
}

void Copier::try_again() noexcept {
  if (clock_() < rests_until_) return;
  // One that failed without halting may still be at work on what came behind.
  if (tail_ != head_) return;
  is_quarantined_ = false;
  stats_.add(M::kResets);
  stats_.set(M::kQuarantined, 0);
  if (!channel_->reset()) quarantine();
}

void Copier::stop() noexcept {
  is_stopped_ = true;
  update_activity();
  if (tail_ != head_) abandon(Outcome::kStopped);
}

}  // namespace snp::netdma
