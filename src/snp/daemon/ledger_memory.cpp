#include "snp/daemon/ledger_memory.h"

#include <new>

namespace snp::daemon {

// Fresh pages are zero, which is how counters and free accounts begin; only what begins otherwise
// is constructed, so that pages that nobody uses stay unallocated.
Result<LedgerMemory> LedgerMemory::create(std::span<const std::uint32_t> ifindexes) {
  LedgerMemory ledger;
  ledger.ifindexes_.assign(ifindexes.begin(), ifindexes.end());
  const std::size_t bytes =
      ipc::align_page(ledger.accounts_at() + ipc::kFlowRecords * sizeof(ConnectionAccount));
  auto memory = ipc::SharedMemory::create("snp.ledger", bytes);
  if (!memory) return tl::unexpected(memory.error());
  ledger.memory_ = std::move(*memory);
  new (ledger.memory_.data()) LedgerTotals;
  return ledger;
}

std::uint32_t LedgerMemory::path_of(std::uint32_t ifindex, bool is_v6) const noexcept {
  std::uint32_t device = 0;
  while (device < ifindexes_.size() && ifindexes_[device] != ifindex)
    ++device;
  if (device == ifindexes_.size()) device = 0;
  return device * static_cast<std::uint32_t>(stats::kFamilies) + (is_v6 ? 1 : 0);
}

stats::Snapshot<stats::EngineMetric> LedgerMemory::engine_sum() const noexcept {
  stats::Snapshot<stats::EngineMetric> sum;
  for (std::uint32_t shard = 0; shard < ipc::kMaxShards; ++shard)
    sum.merge(engine_stats()[shard].snapshot());
  return sum;
}

stats::PathCounters LedgerMemory::path_sum(std::uint32_t path) const noexcept {
  stats::PathCounters sum;
  for (std::uint32_t shard = 0; shard <= ipc::kMaxShards; ++shard)
    sum.merge(shard_paths()[shard * paths() + path].snapshot());
  return sum;
}

}  // namespace snp::daemon
