// What the kernel of this network namespace has counted, from /proc/net. Any thread; the
// namespace is that of the calling thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "snp/base/result.h"
#include "snp/stats/ledger.h"

namespace snp::host {

// "Tcp InSegs" to its value, of files with a line of names and a line of values for each part
// (/proc/net/snmp, /proc/net/netstat). Impossible lines are left out.
std::map<std::string, std::uint64_t> parse_two_line_counters(const std::string& text);
// "Ip6InReceives" to its value, of files with a name and a value in each line (/proc/net/snmp6).
std::map<std::string, std::uint64_t> parse_one_line_counters(const std::string& text);

Result<stats::HostCounters> read_host_counters();
// IPv6 alone is counted by device; nothing: the device is gone or has no IPv6.
std::optional<stats::MibValues> read_ip6_counters(const std::string& device);

// What a device has carried, for host and target together, frames with their Ethernet headers.
struct LinkCounters {
  std::uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0;
};
std::map<std::string, LinkCounters> parse_link_counters(const std::string& text);
std::map<std::string, LinkCounters> read_link_counters();  // by device's name

}  // namespace snp::host
