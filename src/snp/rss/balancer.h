// Decides which buckets of the indirection table move to which CPU. After RSS++ (Barbette et al.):
// load per bucket is measured, few buckets move, and a move must pay. Pure: counters in, moves out.
//
//   round -> load of a CPU = sum of its buckets' packets (smoothed), and its other work
//         -> imbalance = (largest - mean) / mean; inside the dead band nothing moves
//         -> from the fullest CPU to the emptiest, the bucket that brings both nearest to the mean
//
// It never oscillates: a move must lower the larger of the two loads, and a bucket that has moved
// rests.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "snp/rss/indirection_table.h"

namespace snp::rss {

struct BalancerConfig {
  double dead_band = 0.05;            // imbalance that is left alone
  double smoothing = 0.5;             // weight of the newest round in a bucket's load
  double elephant_share = 0.5;        // a bucket with more than this of a CPU's fair load is one
  std::uint32_t moves_per_round = 8;  // more is not few
  std::uint32_t rest_rounds = 4;      // a moved bucket stays for so many rounds
  std::uint32_t max_back_off = 8;     // rounds without a look after rounds that found nothing to do
};

struct BucketMove {
  std::uint32_t bucket = 0;
  CpuId from = 0;
  CpuId to = 0;
  double load = 0;     // of the bucket, packets a round
  std::string reason;  // one line for the log
};

struct BalancerReport {
  double imbalance_before = 0;
  double imbalance_after = 0;  // as computed; the next round measures it
  std::vector<BucketMove> moves;
  std::vector<std::uint32_t> elephants;  // buckets that one flow, or a few, make heavy
};

class Balancer {
 public:
  explicit Balancer(BalancerConfig config = {});

  // One round: packets of each bucket since the last one, and what each of `cpus` does besides, in
  // packets a round (other_work.h), or nothing. `table` is read, not changed; the caller applies
  // the moves. Pre: packets.size() == table.size(); the size changes only together with reset().
  BalancerReport rebalance(const IndirectionTable& table, std::span<const CpuId> cpus,
                           std::span<const std::uint64_t> packets,
                           std::span<const double> other_work = {});

  // The same without remembering anything: `snp rss rebalance --dry-run`.
  [[nodiscard]] BalancerReport preview(const IndirectionTable& table, std::span<const CpuId> cpus,
                                       std::span<const std::uint64_t> packets,
                                       std::span<const double> other_work = {}) const;
  void reset();

 private:
  void measure(std::span<const std::uint64_t> packets);

  BalancerConfig config_;
  std::vector<double> load_;              // of each bucket, smoothed
  std::vector<std::uint32_t> rests_for_;  // rounds before a bucket may move again
  std::uint32_t back_off_ = 0;            // rounds still to be skipped
  std::uint32_t quiet_rounds_ = 0;        // rounds in a row that found nothing to do
};

}  // namespace snp::rss
