#include "snp/host/congestion_default.h"

#include <fstream>

namespace snp::host {

std::string default_congestion_control() {
  std::ifstream file("/proc/sys/net/ipv4/tcp_congestion_control");
  std::string name;
  file >> name;
  return name;
}

}  // namespace snp::host
