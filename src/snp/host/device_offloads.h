// What the Ethernet devices of the network namespace do for the host (ethtool). Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace snp::host {

struct DeviceOffloads {
  std::uint32_t ifindex = 0;
  std::string name;
  bool is_up = false;
  std::vector<std::string> names;  // "TCP Transmit Checksum", ... as Windows calls them
};

std::vector<DeviceOffloads> list_device_offloads();  // by index

}  // namespace snp::host
