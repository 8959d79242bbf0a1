// How buckets follow when the set of CPUs changes while packets go by (reference 5.7): a CPU that
// leaves gives its buckets away first, one that comes gets its share at the next rebalance. And how
// large the set should be (profile ConservativeScaling, reference 5.6). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "snp/rss/balancer.h"
#include "snp/rss/indirection_table.h"

namespace snp::rss {

// Moves that leave no bucket with a CPU outside `cpus`; each goes to the CPU that has the fewest.
// Pre: `cpus` is not empty.
std::vector<BucketMove> moves_off(const IndirectionTable& table, std::span<const CpuId> cpus);

// Moves that give each CPU of `cpus` without a bucket its share, from those that have the most.
std::vector<BucketMove> moves_to_newcomers(const IndirectionTable& table,
                                           std::span<const CpuId> cpus);

struct ScalerConfig {
  double grow_above = 0.75;      // of the fullest CPU's time
  double shrink_below = 0.5;     // of each CPU's time when one less has to carry it all
  std::uint32_t grow_after = 2;  // rounds in a row
  std::uint32_t shrink_after = 10;
};

// As few CPUs as sustain the load. It grows fast and shrinks late, one CPU at a time, and what
// makes it grow never makes it shrink again: between both bounds nothing changes.
class Scaler {
 public:
  explicit Scaler(ScalerConfig config = {}) : config_(config) {}

  // One round. `loads`: share of time, 0 to 1, that each CPU in use was busy; `most`: CPUs that
  // there are. How many to use from now on, 1 to `most`.
  std::uint32_t follow(std::span<const double> loads, std::uint32_t most);

 private:
  ScalerConfig config_;
  std::uint32_t full_rounds_ = 0;
  std::uint32_t idle_rounds_ = 0;
};

}  // namespace snp::rss
