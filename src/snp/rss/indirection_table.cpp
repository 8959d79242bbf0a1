#include "snp/rss/indirection_table.h"

#include <algorithm>
#include <bit>

namespace snp::rss {

const char* to_string(MoveStatus status) noexcept {
  switch (status) {
    case MoveStatus::kSuccess:
      return "SUCCESS";
    case MoveStatus::kInvalidParameter:
      return "INVALID_PARAMETER";
    case MoveStatus::kInvalidPortState:
      return "INVALID_PORT_STATE";
    case MoveStatus::kNotAccepted:
      return "NOT_ACCEPTED";
    case MoveStatus::kInvalidData:
      return "INVALID_DATA";
    case MoveStatus::kNoQueues:
      return "NO_QUEUES";
  }
  return "?";
}

IndirectionTable::IndirectionTable(CpuId affinity_cpu)
    : affinity_(affinity_cpu),
      primary_(affinity_cpu),
      default_(affinity_cpu),
      entries_{affinity_cpu},
      before_{affinity_cpu},
      rss_set_{affinity_cpu} {}

bool IndirectionTable::is_in_set(CpuId cpu) const noexcept {
  return std::ranges::binary_search(rss_set_, cpu);
}

MoveStatus IndirectionTable::check(std::span<const CpuId> entries) const noexcept {
  if (!std::ranges::all_of(entries, [this](CpuId cpu) { return is_in_set(cpu); }))
    return MoveStatus::kInvalidData;
  if (rss_set_.size() <= queues_) return MoveStatus::kSuccess;
  const auto named = std::ranges::count_if(
      rss_set_, [&](CpuId cpu) { return std::ranges::find(entries, cpu) != entries.end(); });
  return named > queues_ ? MoveStatus::kNoQueues : MoveStatus::kSuccess;
}

MoveStatus IndirectionTable::set_processors(std::span<const CpuId> rss_set, std::uint32_t queues) {
  IndirectionTable next = *this;
  next.rss_set_.assign(rss_set.begin(), rss_set.end());
  std::ranges::sort(next.rss_set_);
  next.rss_set_.erase(std::unique(next.rss_set_.begin(), next.rss_set_.end()), next.rss_set_.end());
  next.queues_ = queues;
  if (is_enabled_) {
    if (!next.is_in_set(default_)) return MoveStatus::kInvalidData;
    if (const MoveStatus status = next.check(entries_); status != MoveStatus::kSuccess)
      return status;
  }
  *this = std::move(next);
  return MoveStatus::kSuccess;
}

MoveStatus IndirectionTable::resize(std::uint32_t entries) {
  if (!std::has_single_bit(entries)) return MoveStatus::kInvalidParameter;
  for (std::uint32_t i = entries; i < size(); ++i)
    if (entries_[i] != entries_[i & (entries - 1)]) return MoveStatus::kInvalidData;
  const std::uint32_t kept = std::min(entries, size());
  entries_.resize(entries);
  for (std::uint32_t i = kept; i < entries; ++i)
    entries_[i] = entries_[i & (kept - 1)];
  before_.resize(entries);
  return MoveStatus::kSuccess;
}

MoveStatus IndirectionTable::enable() {
  if (!is_in_set(default_)) return MoveStatus::kInvalidData;
  if (const MoveStatus status = check(entries_); status != MoveStatus::kSuccess) return status;
  is_enabled_ = true;
  return MoveStatus::kSuccess;
}

void IndirectionTable::disable() {
  *this = IndirectionTable(affinity_);
}

CpuId* IndirectionTable::steering_parameter(std::uint32_t index) noexcept {
  if (index == kDefaultProcessorIndex) return &default_;
  if (index == kPrimaryProcessorIndex) return &primary_;
  return index < size() ? &entries_[index] : nullptr;
}

MoveStatus IndirectionTable::move_one(CpuId actor, const Move& move) noexcept {
  CpuId* parameter = steering_parameter(move.index);
  if (parameter == nullptr) return MoveStatus::kInvalidParameter;
  // Active are: the primary processor while RSS is off, the others while it is on. Updates of
  // inactive ones are recorded and checked when they become active (reference 5.5).
  const bool is_active = (move.index == kPrimaryProcessorIndex) != is_enabled_;
  if (is_active) {
    if (*parameter != actor) return MoveStatus::kNotAccepted;
    if (is_enabled_ && !is_in_set(move.target)) return MoveStatus::kInvalidData;
  }
  *parameter = move.target;
  return MoveStatus::kSuccess;
}

MoveStatus IndirectionTable::move_each(CpuId actor, std::span<Move> group) noexcept {
  for (Move& move : group) {
    move.status = move_one(actor, move);
    if (move.status != MoveStatus::kSuccess) return move.status;
  }
  if (!is_enabled_) return MoveStatus::kSuccess;
  const MoveStatus status = check(entries_);
  if (status != MoveStatus::kSuccess && !group.empty()) group.back().status = status;
  return status;
}

MoveStatus IndirectionTable::move(CpuId actor, std::span<Move> group) noexcept {
  std::ranges::copy(entries_, before_.begin());
  const CpuId primary = primary_, default_cpu = default_;
  const MoveStatus status = move_each(actor, group);
  if (status == MoveStatus::kSuccess) return status;
  entries_.swap(before_);
  primary_ = primary;
  default_ = default_cpu;
  return status;
}

MoveStatus IndirectionTable::assign(std::span<const CpuId> entries) {
  if (!std::has_single_bit(entries.size())) return MoveStatus::kInvalidParameter;
  if (is_enabled_) {
    if (const MoveStatus status = check(entries); status != MoveStatus::kSuccess) return status;
  }
  entries_.assign(entries.begin(), entries.end());
  before_.resize(entries.size());
  return MoveStatus::kSuccess;
}

}  // namespace snp::rss
