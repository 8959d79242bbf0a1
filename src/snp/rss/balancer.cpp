#include "snp/rss/balancer.h"

#include <algorithm>
#include <cstdio>
#include <optional>

namespace snp::rss {
namespace {

struct CpuLoad {
  CpuId cpu = 0;
  double load = 0;
};

double mean_of(std::span<const CpuLoad> cpus) {
  double sum = 0;
  for (const CpuLoad& cpu : cpus)
    sum += cpu.load;
  return sum / static_cast<double>(cpus.size());
}

double imbalance_of(std::span<const CpuLoad> cpus) {
  const double mean = mean_of(cpus);
  if (mean <= 0) return 0;
  const auto fullest = std::ranges::max_element(cpus, {}, &CpuLoad::load);
  return (fullest->load - mean) / mean;
}

// The state of one round: where each bucket would be after the moves so far.
class Round {
 public:
  Round(const BalancerConfig& config, const IndirectionTable& table, std::span<const CpuId> cpus,
        std::span<const double> other_work, std::span<const double> load,
        std::span<const std::uint32_t> rests_for)
      : config_(config), load_(load), rests_for_(rests_for) {
    for (std::size_t i = 0; i < cpus.size(); ++i)
      cpus_.push_back({cpus[i], other_work.empty() ? 0 : other_work[i]});
    for (std::uint32_t bucket = 0; bucket < table.size(); ++bucket) {
      owner_.push_back(table.entry(bucket));
      if (CpuLoad* cpu = find(owner_.back())) cpu->load += load[bucket];
    }
  }

  BalancerReport run() {
    BalancerReport report;
    // A CPU that left the set keeps no bucket, whatever the balance says.
    for (std::uint32_t bucket = 0; bucket < owner_.size(); ++bucket)
      if (find(owner_[bucket]) == nullptr)
        apply(report, bucket, emptiest(), "its CPU left the set");
    report.imbalance_before = imbalance_of(cpus_);
    while (report.moves.size() < config_.moves_per_round &&
           imbalance_of(cpus_) > config_.dead_band) {
      const auto choice = best_move();
      if (!choice) break;
      apply(report, choice->bucket, *find(choice->to), "the fullest CPU gives to the emptiest");
    }
    report.imbalance_after = imbalance_of(cpus_);
    const double heavy = mean_of(cpus_) * config_.elephant_share;
    for (std::uint32_t bucket = 0; bucket < owner_.size(); ++bucket)
      if (heavy > 0 && load_[bucket] > heavy) report.elephants.push_back(bucket);
    return report;
  }

 private:
  struct Choice {
    std::uint32_t bucket = 0;
    CpuId to = 0;
  };

  CpuLoad* find(CpuId id) {
    const auto found = std::ranges::find(cpus_, id, &CpuLoad::cpu);
    return found == cpus_.end() ? nullptr : &*found;
  }
  CpuLoad& emptiest() { return *std::ranges::min_element(cpus_, {}, &CpuLoad::load); }

  // The bucket of the fullest CPU whose move leaves the larger of the two loads smallest.
  std::optional<Choice> best_move() {
    const CpuLoad& from = *std::ranges::max_element(cpus_, {}, &CpuLoad::load);
    const CpuLoad& to = emptiest();
    std::optional<Choice> best;
    double best_peak = from.load;
    for (std::uint32_t bucket = 0; bucket < owner_.size(); ++bucket) {
      if (owner_[bucket] != from.cpu || rests_for_[bucket] > 0 || load_[bucket] <= 0) continue;
      const double peak = std::max(from.load - load_[bucket], to.load + load_[bucket]);
      if (peak < best_peak) {
        best_peak = peak;
        best = Choice{bucket, to.cpu};
      }
    }
    return best;
  }

  void apply(BalancerReport& report, std::uint32_t bucket, CpuLoad& to, const char* why) {
    CpuLoad* from = find(owner_[bucket]);
    char line[160];
    std::snprintf(line, sizeof line, "bucket %u (%.0f packets): CPU %u (%.0f) -> CPU %u (%.0f): %s",
                  bucket, load_[bucket], owner_[bucket], from != nullptr ? from->load : 0.0, to.cpu,
                  to.load, why);
    report.moves.push_back({bucket, owner_[bucket], to.cpu, load_[bucket], line});
    if (from != nullptr) from->load -= load_[bucket];
    to.load += load_[bucket];
    owner_[bucket] = to.cpu;
  }

  const BalancerConfig& config_;
  std::span<const double> load_;
  std::span<const std::uint32_t> rests_for_;
  std::vector<CpuLoad> cpus_;
  std::vector<CpuId> owner_;
};

}  // namespace

Balancer::Balancer(BalancerConfig config) : config_(config) {}

void Balancer::reset() {
  *this = Balancer(config_);
}

void Balancer::measure(std::span<const std::uint64_t> packets) {
  const bool is_first = load_.empty();
  load_.resize(packets.size(), 0);
  rests_for_.resize(packets.size(), 0);
  const double weight = is_first ? 1 : config_.smoothing;
  for (std::size_t bucket = 0; bucket < packets.size(); ++bucket) {
    load_[bucket] += weight * (static_cast<double>(packets[bucket]) - load_[bucket]);
    if (rests_for_[bucket] > 0) --rests_for_[bucket];
  }
}

BalancerReport Balancer::preview(const IndirectionTable& table, std::span<const CpuId> cpus,
                                 std::span<const std::uint64_t> packets,
                                 std::span<const double> other_work) const {
  Balancer copy = *this;
  copy.back_off_ = 0;
  return copy.rebalance(table, cpus, packets, other_work);
}

BalancerReport Balancer::rebalance(const IndirectionTable& table, std::span<const CpuId> cpus,
                                   std::span<const std::uint64_t> packets,
                                   std::span<const double> other_work) {
  if (cpus.empty()) return {};
  measure(packets);
  Round round(config_, table, cpus, other_work, load_, rests_for_);
  BalancerReport report = round.run();
  const bool must_move = std::ranges::any_of(report.moves, [cpus](const BucketMove& move) {
    return std::ranges::find(cpus, move.from) == cpus.end();
  });
  if (back_off_ > 0 && !must_move && report.imbalance_before < 2 * config_.dead_band) {
    --back_off_;
    report.moves.clear();
    report.imbalance_after = report.imbalance_before;
    return report;
  }
  quiet_rounds_ = report.moves.empty() ? quiet_rounds_ + 1 : 0;
  back_off_ = std::min(quiet_rounds_, config_.max_back_off);
  for (const BucketMove& move : report.moves)
    rests_for_[move.bucket] = config_.rest_rounds;
  return report;
}

}  // namespace snp::rss
