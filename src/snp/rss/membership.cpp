#include "snp/rss/membership.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace snp::rss {
namespace {

// Which CPU has which bucket, as moves go on.
class Owners {
 public:
  Owners(const IndirectionTable& table, std::span<const CpuId> cpus)
      : owner_(table.entries().begin(), table.entries().end()), cpus_(cpus), count_(cpus.size()) {
    for (const CpuId cpu : owner_)
      add(cpu, 1);
  }
  [[nodiscard]] bool is_member(CpuId cpu) const { return place(cpu) < cpus_.size(); }
  [[nodiscard]] CpuId owner(std::uint32_t bucket) const { return owner_[bucket]; }
  [[nodiscard]] std::uint32_t count(CpuId cpu) const { return count_[place(cpu)]; }
  // In the order of the set when several have as many.
  [[nodiscard]] CpuId fewest() const {
    return *std::ranges::min_element(cpus_, {}, [this](CpuId cpu) { return count(cpu); });
  }
  [[nodiscard]] CpuId most() const {
    return *std::ranges::max_element(cpus_, {}, [this](CpuId cpu) { return count(cpu); });
  }
  [[nodiscard]] std::uint32_t last_of(CpuId cpu) const {
    const auto found = std::find(owner_.rbegin(), owner_.rend(), cpu);
    return static_cast<std::uint32_t>(owner_.rend() - found - 1);
  }
  BucketMove move(std::uint32_t bucket, CpuId to, const std::string& why) {
    const CpuId from = owner_[bucket];
    add(from, -1);
    add(to, 1);
    owner_[bucket] = to;
    return {bucket, from, to, 0,
            "bucket " + std::to_string(bucket) + ": CPU " + std::to_string(from) + " -> CPU " +
                std::to_string(to) + ": " + why};
  }

 private:
  [[nodiscard]] std::size_t place(CpuId cpu) const {
    return static_cast<std::size_t>(std::ranges::find(cpus_, cpu) - cpus_.begin());
  }
  void add(CpuId cpu, int change) {
    if (is_member(cpu)) count_[place(cpu)] += static_cast<std::uint32_t>(change);
  }

  std::vector<CpuId> owner_;
  std::span<const CpuId> cpus_;
  std::vector<std::uint32_t> count_;  // of each CPU of the set, in its order
};

}  // namespace

std::vector<BucketMove> moves_off(const IndirectionTable& table, std::span<const CpuId> cpus) {
  Owners owners(table, cpus);
  std::vector<BucketMove> moves;
  for (std::uint32_t bucket = 0; bucket < table.size(); ++bucket)
    if (!owners.is_member(owners.owner(bucket)))
      moves.push_back(owners.move(bucket, owners.fewest(), "its CPU left the set"));
  return moves;
}

std::vector<BucketMove> moves_to_newcomers(const IndirectionTable& table,
                                           std::span<const CpuId> cpus) {
  Owners owners(table, cpus);
  std::vector<CpuId> newcomers;
  std::ranges::copy_if(cpus, std::back_inserter(newcomers),
                       [&](CpuId cpu) { return owners.count(cpu) == 0; });
  const auto share = table.size() / static_cast<std::uint32_t>(cpus.size());
  std::vector<BucketMove> moves;
  for (std::uint32_t round = 0; round < share; ++round)
    for (const CpuId cpu : newcomers)
      if (const CpuId from = owners.most(); owners.count(from) > owners.count(cpu) + 1)
        moves.push_back(owners.move(owners.last_of(from), cpu, "that CPU is new in the set"));
  return moves;
}

std::uint32_t Scaler::follow(std::span<const double> loads, std::uint32_t most) {
  const auto now = std::max<std::uint32_t>(static_cast<std::uint32_t>(loads.size()), 1);
  if (now > most) return std::max<std::uint32_t>(most, 1);
  const double fullest = loads.empty() ? 0 : *std::ranges::max_element(loads);
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  full_rounds_ = fullest > config_.grow_above ? full_rounds_ + 1 : 0;
  const bool would_fit = now > 1 && fullest <= config_.grow_above &&
                         sum / static_cast<double>(now - 1) < config_.shrink_below;
  idle_rounds_ = would_fit ? idle_rounds_ + 1 : 0;
  if (full_rounds_ >= config_.grow_after && now < most) {
    full_rounds_ = 0;
    return now + 1;
  }
  if (idle_rounds_ >= config_.shrink_after) {
    idle_rounds_ = 0;
    return now - 1;
  }
  return now;
}

}  // namespace snp::rss
