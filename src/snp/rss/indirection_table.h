// The indirection table and its move rules (reference 5.4, 5.5). Pure; owned by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace snp::rss {

using CpuId = std::uint32_t;

// Statuses of the original's move and parameter requests. One of its own is not there: RESOURCES,
// for transient memory that a move could not get. A move takes no memory here.
enum class MoveStatus : std::uint8_t {
  kSuccess,
  kInvalidParameter,  // index or flags
  kInvalidPortState,  // no such port, or RSS is not what it does
  kNotAccepted,       // the entry does not point to the acting CPU
  kInvalidData,       // the target CPU is outside the RSS set, or a shrunken table would not repeat
  kNoQueues,          // the table would name more CPUs than there are queues
};

const char* to_string(MoveStatus status) noexcept;

inline constexpr std::uint32_t kDefaultProcessorIndex = 0xffff;
inline constexpr std::uint32_t kPrimaryProcessorIndex = 0xfffe;

struct Move {
  std::uint32_t index = 0;  // of an entry, or one of the two above
  CpuId target = 0;
  MoveStatus status = MoveStatus::kSuccess;  // out
  std::uint32_t port = 0;  // of move_entries() (configuration.h); a table does not look at it
};

class IndirectionTable {
 public:
  // One entry, everything on the affinity CPU, RSS off: the state at the start and after disable().
  explicit IndirectionTable(CpuId affinity_cpu);

  // The CPUs that entries may name, and how many of them at once. Errors: kNoQueues, kInvalidData
  // when the table that is active now would break the rule; nothing changes then.
  MoveStatus set_processors(std::span<const CpuId> rss_set, std::uint32_t queues);

  // A power of two (else kInvalidParameter). Growing repeats the present content; shrinking needs
  // the removed part to repeat the kept part (else kInvalidData).
  MoveStatus resize(std::uint32_t entries);

  // Inactive parameters are only recorded; enabling checks them (kInvalidData, kNoQueues).
  MoveStatus enable();
  // Back to the initial state, so that a later enable behaves like the first.
  void disable();

  // Moves entries away from `actor`. All or nothing: on the first failure what was moved is moved
  // back, the failing entry has its status and the others keep kSuccess. Executed in full when it
  // returns, and without allocation.
  MoveStatus move(CpuId actor, std::span<Move> group) noexcept;

  // A whole new table (RSSv1): a power of two of entries, each in the set.
  MoveStatus assign(std::span<const CpuId> entries);

  [[nodiscard]] bool is_enabled() const noexcept { return is_enabled_; }
  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(entries_.size());
  }
  [[nodiscard]] CpuId entry(std::uint32_t index) const noexcept { return entries_[index]; }
  [[nodiscard]] CpuId cpu_of(std::uint32_t hash) const noexcept {
    return is_enabled_ ? entries_[hash & (size() - 1)] : primary_;
  }
  // For packets without a hash.
  [[nodiscard]] CpuId default_cpu() const noexcept { return is_enabled_ ? default_ : primary_; }
  [[nodiscard]] bool has_same_entries(const IndirectionTable& other) const noexcept {
    return entries_ == other.entries_;
  }
  [[nodiscard]] std::span<const CpuId> entries() const noexcept { return entries_; }

 private:
  [[nodiscard]] bool is_in_set(CpuId cpu) const noexcept;
  [[nodiscard]] MoveStatus check(std::span<const CpuId> entries) const noexcept;
  MoveStatus move_each(CpuId actor, std::span<Move> group) noexcept;
  MoveStatus move_one(CpuId actor, const Move& move) noexcept;
  CpuId* steering_parameter(std::uint32_t index) noexcept;

  CpuId affinity_;
  CpuId primary_;
  CpuId default_;
  std::vector<CpuId> entries_;
  std::vector<CpuId> before_;   // as many as entries_: those from before a move
  std::vector<CpuId> rss_set_;  // ascending, each once
  std::uint32_t queues_ = 0xffffffff;
  bool is_enabled_ = false;
};

}  // namespace snp::rss
