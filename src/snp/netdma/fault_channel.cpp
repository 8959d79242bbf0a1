#include "snp/netdma/fault_channel.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

namespace snp::netdma {

FaultChannel::FaultChannel(std::unique_ptr<Channel> inner, const CopyFaultConfig& config)
    : inner_(std::move(inner)),
      config_(config),
      name_(std::string(inner_->name()) + ", with faults"),
      random_(config.seed) {}

void FaultChannel::inject(CopyFault fault, std::uint32_t after) {
  injected_.push_back({fault, after});
}

void FaultChannel::remove() noexcept {
  if (!is_halted_) halt();
  is_removed_ = true;
}

CopyFault FaultChannel::random_fault() noexcept {
  const std::pair<double, CopyFault> chances[] = {{config_.never, CopyFault::kNever},
                                                  {config_.error, CopyFault::kError},
                                                  {config_.late, CopyFault::kLate},
                                                  {config_.disorder, CopyFault::kDisorder}};
  double chance = std::uniform_real_distribution<double>(0, 1)(random_);
  for (const auto& [probability, fault] : chances) {
    if (chance < probability) return fault;
    chance -= probability;
  }
  return CopyFault::kNone;
}

CopyFault FaultChannel::next_fault() noexcept {
  CopyFault fault = random_fault();
  for (Injected& each : injected_)
    if (each.after-- == 0) fault = each.fault;
  std::erase_if(injected_, [](const Injected& each) { return each.after == UINT32_MAX; });
  return fault;
}

std::size_t FaultChannel::submit(std::span<const Transfer> transfers) noexcept {
  if (is_halted_ || is_removed_) return 0;
  if (is_full_ || std::uniform_real_distribution<double>(0, 1)(random_) < config_.full) {
    ++faults_.full;
    return 0;
  }
  std::size_t taken = 0;
  for (const Transfer& transfer : transfers) {
    if (entries_.size() == capabilities().depth) break;
    if (transfer.size > capabilities().largest_transfer) break;
    Entry entry{transfer, next_fault(), false, Status::kDone, next_number_++};
    if (!give(entry)) break;
    entries_.push_back(entry);
    ++taken;
  }
  return taken;
}

// False: the inner channel has no room.
bool FaultChannel::give(Entry& entry) noexcept {
  switch (entry.fault) {
    case CopyFault::kNever:
      ++faults_.never;
      return true;
    case CopyFault::kLate:
      ++faults_.late;
      return true;
    case CopyFault::kError:
      ++faults_.errors;
      if ((entry.transfer.flags & transfer_flag::kNull) == 0)
        std::memcpy(entry.transfer.destination, entry.transfer.source, entry.transfer.size / 2);
      return true;
    case CopyFault::kDisorder:
      ++faults_.disordered;
      break;
    case CopyFault::kNone:
      break;
  }
  Transfer inner = entry.transfer;
  inner.context = entry.number;
  return inner_->submit({&inner, 1}) == 1;
}

// What the inner channel has finished, and what this one says of it.
void FaultChannel::harvest() noexcept {
  std::array<Outcome, 64> outcomes;
  while (const std::size_t count = inner_->reap(outcomes)) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        return entry.number == outcomes[i].context;
      });
      if (found == entries_.end()) continue;  // of before a reset
      found->is_finished = true;
      found->status = outcomes[i].status;
    }
  }
  // An error halts the channel when it is its turn.
  const auto waiting = std::find_if(entries_.begin(), entries_.end(),
                                    [](const Entry& entry) { return !entry.is_finished; });
  if (waiting != entries_.end() && waiting->fault == CopyFault::kError) {
    waiting->is_finished = true;
    waiting->status = Status::kFailed;
    halt();
  }
}

// Everything stops; what was finished stays finished.
void FaultChannel::halt() noexcept {
  is_halted_ = true;
  inner_->abort();
  std::array<Outcome, 64> outcomes;
  while (const std::size_t count = inner_->reap(outcomes))
    for (std::size_t i = 0; i < count; ++i)
      for (Entry& entry : entries_)
        if (entry.number == outcomes[i].context && !entry.is_finished) {
          entry.is_finished = true;
          entry.status = outcomes[i].status;
        }
  for (Entry& entry : entries_) {
    if (entry.fault == CopyFault::kLate && !entry.is_finished)
      ghosts_.push_back({entry.transfer.context, Status::kDone});
    if (!std::exchange(entry.is_finished, true)) entry.status = Status::kAborted;
  }
}

// The entry that is reported now: the first, but one in disorder lets the next go before it.
std::size_t FaultChannel::reap(std::span<Outcome> outcomes) noexcept {
  if (!is_halted_ && !is_removed_) harvest();
  std::size_t count = 0;
  if (!is_halted_)
    while (count < outcomes.size() && !ghosts_.empty()) {
      outcomes[count++] = ghosts_.back();
      ghosts_.pop_back();
    }
  while (count < outcomes.size() && !entries_.empty()) {
    auto next = entries_.begin();
    if (next->fault == CopyFault::kDisorder && entries_.size() > 1 && !is_halted_) {
      if (!std::next(next)->is_finished) break;
      next->fault = CopyFault::kNone;
      ++next;
    }
    if (!next->is_finished) break;
    outcomes[count++] = {next->transfer.context, next->status};
    entries_.erase(next);
    has_finished_ = true;
  }
  return count;
}

ChannelState FaultChannel::state() const noexcept {
  if (is_removed_) return ChannelState::kRemoved;
  if (is_halted_) return ChannelState::kHalted;
  const ChannelState inner = inner_->state();
  if (inner == ChannelState::kSuspended || inner == ChannelState::kRemoved) return inner;
  if (!has_finished_) return ChannelState::kArmed;
  return entries_.empty() ? ChannelState::kIdle : ChannelState::kActive;
}

Result<> FaultChannel::suspend() noexcept {
  if (is_removed_) return fail(Errc::kNotFound, name_ + ": has been removed");
  return inner_->suspend();
}

Result<> FaultChannel::resume() noexcept {
  if (is_removed_) return fail(Errc::kNotFound, name_ + ": has been removed");
  return inner_->resume();
}

void FaultChannel::abort() noexcept {
  if (is_halted_ || is_removed_) return;
  harvest();
  if (!is_halted_) halt();
}

Result<> FaultChannel::reset() noexcept {
  if (is_removed_) return fail(Errc::kNotFound, name_ + ": has been removed");
  abort();
  entries_.clear();
  has_finished_ = false;
  if (auto done = inner_->reset(); !done) return done;
  is_halted_ = false;
  return {};
}

}  // namespace snp::netdma
