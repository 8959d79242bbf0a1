// Numbers that the administrator of the host sets. Any thread.
#pragma once

#include <optional>
#include <string>

namespace snp::host {

// "net/ipv4/tcp_ecn", in the network namespace of the caller. Nothing: it cannot be read.
std::optional<int> read_sysctl(const std::string& name);

}  // namespace snp::host
