#include "snp/chimney/worth.h"

#include <algorithm>

namespace snp::chimney {
namespace {

// One hand-over on a machine that is busy with something else says little: a sample is bounded, and
// moves the estimate by an eighth.
constexpr std::int64_t kLeastCostNs = 20'000, kMostCostNs = 2'000'000;
constexpr std::int64_t kMostSavedNs = 30'000;
constexpr std::int64_t kSmoothing = 8;

// CPU that the host's path takes more than a target's, a message and a KiB (doc/benchmarks.md).
constexpr std::int64_t kCpuPerMessageNs = 1'000;
constexpr std::uint64_t kCpuPerKibNs = 1'000;
// A target whose round trips looked longer than the host's still saves this: both are measured
// under whatever load there was.
constexpr std::int64_t kLeastPerMessageNs = 500;

constexpr std::uint64_t kShortRttUs = 100;

void follow(std::int64_t& estimate, std::int64_t sample) noexcept {
  estimate += (sample - estimate) / kSmoothing;
}

}  // namespace

void Economics::paid(TargetKind kind, std::uint32_t quiet_us, std::uint32_t cpu_us) noexcept {
  PerTarget& target = targets_[static_cast<std::size_t>(kind)];
  const std::int64_t ns = (std::int64_t{quiet_us} + cpu_us) * 1000;
  follow(target.cost_ns, std::clamp(ns, kLeastCostNs, kMostCostNs));
  ++target.hand_overs;
}

// A round trip has a message each way.
void Economics::compared(TargetKind kind, std::uint32_t host_us, std::uint32_t target_us) noexcept {
  if (host_us == 0 || target_us == 0) return;
  const std::int64_t saved = (std::int64_t{host_us} - target_us) * 1000 / 2;
  follow(targets_[static_cast<std::size_t>(kind)].saved_wait_ns,
         std::clamp(saved, -kMostSavedNs, kMostSavedNs));
}

std::uint64_t Economics::cost_us(TargetKind kind) const noexcept {
  return static_cast<std::uint64_t>(of(kind).cost_ns) / 1000;
}

std::uint64_t Economics::gain_per_message_ns(TargetKind kind, std::uint32_t rtt_us) const noexcept {
  std::int64_t wait = of(kind).saved_wait_ns;
  if (wait > 0 && rtt_us > kShortRttUs)
    wait = wait * static_cast<std::int64_t>(kShortRttUs) / static_cast<std::int64_t>(rtt_us);
  return static_cast<std::uint64_t>(std::max(kCpuPerMessageNs + wait, kLeastPerMessageNs));
}

std::uint64_t Economics::gain_per_kib_ns(TargetKind /*kind*/) const noexcept {
  return kCpuPerKibNs;
}

std::uint64_t Economics::gain_us(TargetKind kind, Carried carried,
                                 std::uint32_t rtt_us) const noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;  // no product overflows
  const std::uint64_t messages = std::min(carried.messages, kMost);
  const std::uint64_t kib = std::min(carried.bytes / 1024, kMost);
  return (messages * gain_per_message_ns(kind, rtt_us) + kib * gain_per_kib_ns(kind)) / 1000;
}

void Economics::tidy() noexcept {
  for (PerTarget& target : targets_) {
    target.cost_ns = std::clamp(target.cost_ns, kLeastCostNs, kMostCostNs);
    target.saved_wait_ns = std::clamp(target.saved_wait_ns, -kMostSavedNs, kMostSavedNs);
  }
}

}  // namespace snp::chimney
