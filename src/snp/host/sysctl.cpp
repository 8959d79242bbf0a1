#include "snp/host/sysctl.h"

#include <fstream>

namespace snp::host {

std::optional<int> read_sysctl(const std::string& name) {
  std::ifstream file("/proc/sys/" + name);
  int value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

}  // namespace snp::host
