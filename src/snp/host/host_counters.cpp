#include "snp/host/host_counters.h"

#include <fstream>
#include <sstream>
#include <vector>

namespace snp::host {
namespace {

using stats::Mib;
using stats::MibValues;
using Counters = std::map<std::string, std::uint64_t>;

// Of the calling thread; "/proc/net" would be that of the process's first.
const std::string kFolder = "/proc/thread-self/net/";

std::optional<std::string> read_file(const std::string& name) {
  const std::ifstream file(kFolder + name);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The rows of a group, under their names behind `prefix`.
void fill(const Counters& counters, const std::string& prefix, stats::MibGroup group,
          MibValues& to) {
  const auto table = stats::all_mib_counters();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].group != group) continue;
    const auto found = counters.find(prefix + std::string(table[i].name));
    if (found != counters.end()) to[static_cast<Mib>(i)] = found->second;
  }
}

}  // namespace

Counters parse_two_line_counters(const std::string& text) {
  Counters counters;
  std::istringstream lines(text);
  std::string names_line;
  std::string values_line;
  while (std::getline(lines, names_line) && std::getline(lines, values_line)) {
    std::istringstream names(names_line);
    std::istringstream values(values_line);
    std::string part;
    std::string part_again;
    if (!(names >> part) || !(values >> part_again) || part != part_again || part.back() != ':')
      continue;
    part.back() = ' ';
    std::string name;
    std::int64_t value = 0;  // Tcp MaxConn is -1
    while (names >> name && values >> value)
      counters[part + name] = static_cast<std::uint64_t>(value);
  }
  return counters;
}

Counters parse_one_line_counters(const std::string& text) {
  Counters counters;
  std::istringstream lines(text);
  std::string name;
  std::uint64_t value = 0;
  while (lines >> name >> value)
    counters[name] = value;
  return counters;
}

Result<stats::HostCounters> read_host_counters() {
  const auto snmp = read_file("snmp");
  const auto netstat = read_file("netstat");
  if (!snmp || !netstat)
    return fail(Errc::kSystem, "cannot read " + kFolder + "snmp and netstat; is /proc mounted?");
  stats::HostCounters counters;
  fill(parse_two_line_counters(*snmp), "Tcp ", stats::MibGroup::kTcp, counters.tcp);
  fill(parse_two_line_counters(*snmp), "Ip ", stats::MibGroup::kIp, counters.ip[0]);
  fill(parse_two_line_counters(*netstat), "IpExt ", stats::MibGroup::kIp, counters.ip[0]);
  if (const auto snmp6 = read_file("snmp6"))  // no IPv6 here: it stays zero
    fill(parse_one_line_counters(*snmp6), "Ip6", stats::MibGroup::kIp, counters.ip[1]);
  return counters;
}

std::optional<MibValues> read_ip6_counters(const std::string& device) {
  const auto text = read_file("dev_snmp6/" + device);
  if (!text) return std::nullopt;
  MibValues values;
  fill(parse_one_line_counters(*text), "Ip6", stats::MibGroup::kIp, values);
  return values;
}

std::map<std::string, LinkCounters> parse_link_counters(const std::string& text) {
  std::map<std::string, LinkCounters> links;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.rfind(':');
    if (colon == std::string::npos) continue;  // the two lines of headings
    const std::size_t begin = line.find_first_not_of(' ');
    std::istringstream numbers(line.substr(colon + 1));
    std::vector<std::uint64_t> values;
    for (std::uint64_t value = 0; numbers >> value;)
      values.push_back(value);
    constexpr std::size_t kColumns = 16;  // eight of receiving, eight of sending
    if (values.size() < kColumns) continue;
    links[line.substr(begin, colon - begin)] = {values[1], values[0], values[9], values[8]};
  }
  return links;
}

std::map<std::string, LinkCounters> read_link_counters() {
  return parse_link_counters(read_file("dev").value_or(""));
}

}  // namespace snp::host
