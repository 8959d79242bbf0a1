#include "snp/rss/backends/cpu_times.h"

#include <array>
#include <charconv>
#include <fstream>
#include <numeric>
#include <sstream>

namespace snp::rss {
namespace {

// proc_stat(5): user nice system idle iowait irq softirq steal.
enum Column : std::uint8_t {
  kUser,
  kNice,
  kSystem,
  kIdle,
  kIoWait,
  kIrq,
  kSoftirq,
  kSteal,
  kColumns
};

}  // namespace

std::map<CpuId, CpuTimes::Ticks> CpuTimes::read() const {
  std::map<CpuId, Ticks> cpus;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line) && line.starts_with("cpu");) {
    std::istringstream words(line.substr(3));
    CpuId cpu = 0;
    std::array<std::uint64_t, kColumns> ticks{};
    if (line.size() < 4 || line[3] == ' ' || !(words >> cpu)) continue;  // the sum of all
    for (std::uint64_t& value : ticks)
      words >> value;
    cpus[cpu] = {std::accumulate(ticks.begin(), ticks.end(), std::uint64_t{0}),
                 ticks[kIdle] + ticks[kIoWait], ticks[kIrq] + ticks[kSoftirq], ticks[kSystem]};
  }
  return cpus;
}

std::map<CpuId, CpuShare> CpuTimes::sample() {
  const std::map<CpuId, Ticks> now = read();
  std::map<CpuId, CpuShare> shares;
  for (const auto& [cpu, ticks] : now) {
    const auto before = last_.find(cpu);
    // A CPU that was away may begin anew.
    if (before == last_.end() || ticks.all <= before->second.all ||
        ticks.idle < before->second.idle || ticks.softirq < before->second.softirq ||
        ticks.system < before->second.system)
      continue;
    const auto all = static_cast<double>(ticks.all - before->second.all);
    shares[cpu] = {1 - static_cast<double>(ticks.idle - before->second.idle) / all,
                   static_cast<double>(ticks.softirq - before->second.softirq) / all,
                   static_cast<double>(ticks.softirq - before->second.softirq + ticks.system -
                                       before->second.system) /
                       all};
  }
  last_ = now;
  return shares;
}

}  // namespace snp::rss
