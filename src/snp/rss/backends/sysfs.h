// What /sys says of network devices and CPUs. Reads and writes small files; `root` is "/sys", or a
// folder of a test. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/indirection_table.h"
#include "snp/rss/processors.h"

namespace snp::rss {

// "0-3,8" as the kernel writes lists of CPUs; nothing: it is none.
std::optional<std::vector<CpuId>> parse_cpu_list(const std::string& text);
std::string to_cpu_list(const std::vector<CpuId>& cpus);
// "f", "1,00000003": 32 bits a word, the highest first.
std::optional<std::vector<CpuId>> parse_cpu_mask(const std::string& text);
std::string to_cpu_mask(const std::vector<CpuId>& cpus);

class Sysfs {
 public:
  explicit Sysfs(std::string root = "/sys") : root_(std::move(root)) {}

  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;  // first line
  [[nodiscard]] Result<> write(const std::string& path, const std::string& text) const;
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;  // sorted

  [[nodiscard]] std::vector<CpuId> online_cpus() const;
  // Those that are online, with node, core and the distance from `node` (of a device; -1: none).
  [[nodiscard]] std::vector<Processor> processors(int node) const;
  [[nodiscard]] int node_of(const std::string& device) const;  // NUMA; -1: none
  // Whether this /sys shows that very device of our network namespace, and not one of the same name
  // of another (/sys belongs to the namespace in which it was mounted).
  [[nodiscard]] bool shows(const std::string& device, std::uint32_t ifindex) const;

 private:
  std::string root_;
};

}  // namespace snp::rss
