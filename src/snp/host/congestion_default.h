// Which congestion control Linux gives a connection whose program chose none.
#pragma once

#include <string>

namespace snp::host {

// net.ipv4.tcp_congestion_control of the network namespace of the caller; empty when it cannot be
// read. Any thread.
std::string default_congestion_control();

}  // namespace snp::host
