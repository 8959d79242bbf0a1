#include "snp/rss/backends/thread_times.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace snp::rss {
namespace {

// The kernel's clock of a thread's running time (clock_getcpuclockid(3), per thread).
clockid_t clock_of(pid_t thread) {
  constexpr clockid_t kThreadRunning = 6;
  return ~static_cast<clockid_t>(thread) << 3 | kThreadRunning;
}

}  // namespace

std::map<std::uint32_t, clockid_t> ThreadTimes::find_threads() const {
  std::map<std::uint32_t, clockid_t> clocks;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/task", error), end;
       !error && entry != end; entry.increment(error)) {
    std::string comm;
    std::ifstream file(entry->path() / "comm");
    std::getline(file, comm);
    if (!comm.starts_with(name_)) continue;
    std::uint32_t number = 0;
    pid_t thread = 0;
    const std::string folder = entry->path().filename();
    std::from_chars(comm.data() + name_.size(), comm.data() + comm.size(), number);
    std::from_chars(folder.data(), folder.data() + folder.size(), thread);
    clocks[number] = clock_of(thread);
  }
  return clocks;
}

std::map<std::uint32_t, double> ThreadTimes::sample(Instant now) {
  if (clocks_.empty()) clocks_ = find_threads();
  std::map<std::uint32_t, double> shares;
  const double passed = static_cast<double>((now - looked_) / microseconds(1));
  for (const auto& [number, clock] : clocks_) {
    timespec time{};
    if (::clock_gettime(clock, &time) != 0) continue;
    const Duration ran = seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    const auto before = last_.find(number);
    if (before != last_.end() && passed > 0)
      shares[number] =
          std::min(1.0, static_cast<double>((ran - before->second) / microseconds(1)) / passed);
    last_[number] = ran;
  }
  looked_ = now;
  return shares;
}

}  // namespace snp::rss
