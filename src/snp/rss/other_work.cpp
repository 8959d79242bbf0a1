#include "snp/rss/other_work.h"

#include <algorithm>
#include <limits>

namespace snp::rss {

OtherWork::Cpu& OtherWork::at(CpuId cpu) {
  const auto found = std::ranges::find(cpus_, cpu, &Cpu::cpu);
  return found != cpus_.end() ? *found : cpus_.emplace_back(Cpu{cpu});
}

void OtherWork::count(const IndirectionTable& table, std::span<const std::uint64_t> packets) {
  for (std::uint32_t bucket = 0; bucket < packets.size(); ++bucket)
    at(table.entry(bucket)).packets += static_cast<double>(packets[bucket]);
  ++rounds_;
}

void OtherWork::measure(std::span<const KernelShare> shares) {
  const double rounds = std::max(rounds_, 1u);
  // Time for a packet: that of the CPU which does the least besides.
  double unit = std::numeric_limits<double>::infinity();
  double busiest = 0;
  for (const KernelShare& one : shares) {
    const double packets = at(one.cpu).packets / rounds;
    if (packets <= 0 || one.share <= 0) continue;
    unit = std::min(unit, one.share / packets);
    busiest = std::max(busiest, one.share);
  }
  const double weight = std::clamp(
      (busiest - config_.none_below) / (config_.all_above - config_.none_below), 0.0, 1.0);
  for (const KernelShare& one : shares) {
    Cpu& cpu = at(one.cpu);
    const double beside =
        weight > 0 ? weight * std::max(0.0, one.share / unit - cpu.packets / rounds) : 0;
    cpu.work += config_.smoothing * (beside - cpu.work);
  }
  for (Cpu& cpu : cpus_)
    cpu.packets = 0;
  rounds_ = 0;
}

std::vector<double> OtherWork::of(std::span<const CpuId> cpus) const {
  std::vector<double> work;
  for (const CpuId cpu : cpus) {
    const auto found = std::ranges::find(cpus_, cpu, &Cpu::cpu);
    work.push_back(found == cpus_.end() ? 0 : found->work);
  }
  return work;
}

}  // namespace snp::rss
