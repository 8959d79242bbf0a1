// How busy each CPU was, from /proc/stat. Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "snp/rss/indirection_table.h"

namespace snp::rss {

struct CpuShare {
  double busy = 0;     // 0 to 1: of anything but idling
  double softirq = 0;  // 0 to 1: of receiving packets, most of all
  double kernel = 0;   // 0 to 1: that, interrupts, and the kernel's threads and calls
};

class CpuTimes {
 public:
  explicit CpuTimes(std::string path = "/proc/stat") : path_(std::move(path)) {}

  // Since the last call; empty at the first one.
  std::map<CpuId, CpuShare> sample();

 private:
  struct Ticks {
    std::uint64_t all = 0, idle = 0, softirq = 0, system = 0;
  };
  [[nodiscard]] std::map<CpuId, Ticks> read() const;

  std::string path_;
  std::map<CpuId, Ticks> last_;
};

}  // namespace snp::rss
