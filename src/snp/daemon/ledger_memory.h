// The books that outlive an engine: in a memfd that the keeper makes before it forks, mapped by
// nobody else. What an engine that dies had counted stands here, and the next one goes on with it.
// Each block has one writer at a time: a shard, or (the rest) the control thread, and the keeper
// while there is no engine.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "snp/base/result.h"
#include "snp/chimney/reason.h"
#include "snp/daemon/time_histogram.h"
#include "snp/host/footprint.h"
#include "snp/host/socket_mark.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/shared_memory.h"
#include "snp/stats/account.h"
#include "snp/stats/ledger.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

// One connection of an attached program, from its first hand-over on, whoever has it.
struct alignas(64) ConnectionAccount {
  // Whose: a use of a slot. in_use 0: the account is free.
  std::uint32_t program = 0, slot = 0, in_use = 0;
  std::uint32_t path = 0;  // index of LedgerMemory::own_path()
  ipc::FlowId flow = ipc::kNoFlow;
  bool is_away = false;  // with a target, under `flow`
  bool is_local = false;
  host::Carried host, target;  // of the stays that are over; of target: bytes only
  // Where its present stay in the host begins: the socket's counters, and the segments that had
  // been fenced. Those of a parked socket are in no mark.
  host::SocketMark mark;
  std::uint64_t fenced = 0;
  // Positions where its present stay at the target begins.
  std::uint64_t first_in = 0, first_out = 0;
  // Of its counters elsewhere, which begin before it: as they stood when the account was opened,
  // and how much of them is in the path's.
  steer::AccountCounters opened, folded;
  std::uint64_t opened_segments_out = 0, opened_retransmits = 0, opened_reinjected_frames = 0,
                opened_reinjected_segments = 0, opened_forged = 0;
};

// Hand-overs in one direction.
struct HandOverTotals {
  std::uint64_t done = 0, failed = 0, queued_bytes = 0;
  TimeHistogram quiet;
};

inline constexpr std::size_t kReasonCodes = 1024;

struct LedgerTotals {
  host::Footprint footprint;
  HandOverTotals offloads, uploads, shard_moves;
  TimeHistogram ways_home;  // after a change of the host, from when snpd saw it
  std::array<std::uint64_t, kReasonCodes> declined{};  // by code
  std::uint64_t local_bytes = 0;                       // of local stays that are over
  steer::AccountId accounts = 1;                       // numbers below it have been in use
};

class LedgerMemory {
 public:
  // `ifindexes`: the devices, in the engine's order.
  static Result<LedgerMemory> create(std::span<const std::uint32_t> ifindexes);

  [[nodiscard]] LedgerTotals& totals() const noexcept { return memory_.at<LedgerTotals>(0); }
  [[nodiscard]] stats::EngineStats* engine_stats() const noexcept {
    return &memory_.at<stats::EngineStats>(engine_at());
  }
  // Two for each device of each shard, by family.
  [[nodiscard]] stats::PathStats* shard_paths() const noexcept {
    return &memory_.at<stats::PathStats>(paths_at());
  }
  // The control thread's block of the same shape.
  [[nodiscard]] stats::PathStats& own_path(std::uint32_t path) const noexcept {
    return shard_paths()[ipc::kMaxShards * paths() + path];
  }
  [[nodiscard]] stats::TargetAccount* target_accounts() const noexcept {
    return &memory_.at<stats::TargetAccount>(targets_at());
  }
  [[nodiscard]] ConnectionAccount& account(steer::AccountId id) const noexcept {
    return (&memory_.at<ConnectionAccount>(accounts_at()))[id];
  }

  [[nodiscard]] std::span<const std::uint32_t> devices() const noexcept { return ifindexes_; }
  [[nodiscard]] std::uint32_t paths() const noexcept {
    return static_cast<std::uint32_t>(ifindexes_.size() * stats::kFamilies);
  }
  // Unknown devices count with the first.
  [[nodiscard]] std::uint32_t path_of(std::uint32_t ifindex, bool is_v6) const noexcept;

  // Sums over everybody who counts.
  [[nodiscard]] stats::Snapshot<stats::EngineMetric> engine_sum() const noexcept;
  [[nodiscard]] stats::PathCounters path_sum(std::uint32_t path) const noexcept;

 private:
  [[nodiscard]] static constexpr std::size_t engine_at() noexcept {
    return ipc::align_page(sizeof(LedgerTotals));
  }
  [[nodiscard]] static constexpr std::size_t paths_at() noexcept {
    return ipc::align_page(engine_at() + ipc::kMaxShards * sizeof(stats::EngineStats));
  }
  [[nodiscard]] std::size_t targets_at() const noexcept {
    return ipc::align_page(paths_at() + (ipc::kMaxShards + 1) * paths() * sizeof(stats::PathStats));
  }
  [[nodiscard]] std::size_t accounts_at() const noexcept {
    return ipc::align_page(targets_at() + ipc::kFlowRecords * sizeof(stats::TargetAccount));
  }

  ipc::SharedMemory memory_;
  std::vector<std::uint32_t> ifindexes_;
};

}  // namespace snp::daemon
