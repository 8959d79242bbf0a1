// What CPUs do in the kernel beside the packets of their buckets: above all, one of them polls the
// device's queue and hands the packets on. The balancer counts that as load, or the polling CPU
// would get as many buckets as the others. Measured as RSS++ (Barbette et al.) measures load: by
// the time that a CPU is busy, in the unit that the balancer has, packets a round. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "snp/rss/indirection_table.h"

namespace snp::rss {

struct OtherWorkConfig {
  // Share of its time that the busiest CPU must have spent in the kernel before its time says more
  // than its packets do; between both the other work counts in part, so that nothing jumps.
  double none_below = 0.5;
  double all_above = 0.75;
  double smoothing = 0.5;  // weight of the newest window
};

// Of its time, 0 to 1, that a CPU was in the kernel.
struct KernelShare {
  CpuId cpu = 0;
  double share = 0;
};

class OtherWork {
 public:
  explicit OtherWork(OtherWorkConfig config = {}) : config_(config) {}

  // A round of the window that is on: packets of each bucket, which `table` has sent to its CPU.
  // Pre: packets.size() == table.size().
  void count(const IndirectionTable& table, std::span<const std::uint64_t> packets);
  // The window is over.
  void measure(std::span<const KernelShare> shares);
  // Of each of `cpus`, in packets a round.
  [[nodiscard]] std::vector<double> of(std::span<const CpuId> cpus) const;

 private:
  struct Cpu {
    CpuId cpu = 0;
    double packets = 0;  // of the window that is on
    double work = 0;
  };
  Cpu& at(CpuId cpu);

  OtherWorkConfig config_;
  std::uint32_t rounds_ = 0;  // of the window that is on
  std::vector<Cpu> cpus_;
};

}  // namespace snp::rss
