// The network devices of this namespace, as far as features ask. Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "snp/base/result.h"

namespace snp::host {

struct LinkDetails {
  std::uint32_t ifindex = 0;
  std::string name;
  bool is_loopback = false;
  bool is_bridge = false;         // of Linux, or Open vSwitch's
  bool is_bridge_port = false;    // of either
  std::string master;             // of a port; empty: none
  std::uint32_t xdp_program = 0;  // id; 0: none
};

Result<std::vector<LinkDetails>> list_links();

}  // namespace snp::host
