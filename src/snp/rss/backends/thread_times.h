// How busy each numbered thread of this process was ("snp-shard-3" is number 3). Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <time.h>

#include "snp/base/time.h"

namespace snp::rss {

class ThreadTimes {
 public:
  explicit ThreadTimes(std::string name) : name_(std::move(name)) {}

  // Share of time, 0 to 1, that each ran since the last call; empty at the first one.
  std::map<std::uint32_t, double> sample(Instant now);

 private:
  [[nodiscard]] std::map<std::uint32_t, clockid_t> find_threads() const;

  std::string name_;  // before the number
  std::map<std::uint32_t, clockid_t> clocks_;
  std::map<std::uint32_t, Duration> last_;
  Instant looked_;
};

}  // namespace snp::rss
