#include "snp/host/host_counters.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "snp/host/socket_mark.h"

namespace snp::host {
namespace {

TEST(HostCounters, TwoLinesArePaired) {
  const auto counters = parse_two_line_counters(
      "Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 12345678901\n"
      "Tcp: MaxConn InSegs\nTcp: -1 7\n");
  EXPECT_EQ(counters.at("Ip InReceives"), 12345678901u);
  EXPECT_EQ(counters.at("Tcp InSegs"), 7u);
}

TEST(HostCounters, ImpossibleLinesAreLeftOut) {
  const auto counters =
      parse_two_line_counters("Ip: A B\nTcp: 1 2\nTcp: A B C\nTcp: 1 x\nUdp: A\n");
  EXPECT_EQ(counters.size(), 1u);
  EXPECT_EQ(counters.at("Tcp A"), 1u);
  EXPECT_TRUE(parse_two_line_counters("\n\n").empty());
}

TEST(HostCounters, OneLineForEachName) {
  const auto counters = parse_one_line_counters("Ip6InReceives   \t3\nIp6InOctets \t 280\n");
  EXPECT_EQ(counters.at("Ip6InReceives"), 3u);
  EXPECT_EQ(counters.at("Ip6InOctets"), 280u);
}

TEST(HostCounters, LinksByName) {
  const auto links = parse_link_counters(
      "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n"
      "    lo: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n"
      "eth0:1:  30 3 0 0 0 0 0 0 40 4 0 0 0 0 0 0\n"
      "short: 1 2 3\n");
  EXPECT_EQ(links.size(), 2u);
  EXPECT_EQ(links.at("lo").frames_in, 1u);
  EXPECT_EQ(links.at("lo").bytes_out, 20u);
  EXPECT_EQ(links.at("eth0:1").frames_out, 4u);
}

TEST(HostCounters, EveryCounterOfTheLedgerIsOneOfThisKernel) {
  ASSERT_TRUE(read_host_counters());
  const auto read = [](const char* path) {
    const std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  };
  auto counters = parse_two_line_counters(read("/proc/self/net/snmp"));
  counters.merge(parse_two_line_counters(read("/proc/self/net/netstat")));
  counters.merge(parse_one_line_counters(read("/proc/self/net/snmp6")));
  for (const stats::MibInfo& row : stats::all_mib_counters()) {
    const std::string name(row.name);
    if (row.group == stats::MibGroup::kTcp) {
      EXPECT_TRUE(counters.contains("Tcp " + name)) << name;
      continue;
    }
    EXPECT_TRUE(counters.contains("Ip " + name) || counters.contains("IpExt " + name)) << name;
    EXPECT_TRUE(counters.contains("Ip6" + name)) << name;
  }
}

TEST(SocketMark, TheDifferenceIsWhatWasCarried) {
  SocketMark from;
  from.segments_in = 0xfffffffe;  // it wraps
  from.bytes_sent = 100;
  from.bytes_resent = 10;
  SocketMark to = from;
  to.segments_in = 3;
  to.bytes_received = 50;
  to.bytes_sent = 400;
  to.bytes_resent = 110;
  EXPECT_EQ(between(from, to).segments_in, 5u);
  EXPECT_EQ(between(from, to).bytes_in, 50u);
  EXPECT_EQ(between(from, to).bytes_out, 200u);
  to.bytes_received = 51;
  to.has_fin = true;
  EXPECT_EQ(between(from, to).bytes_in, 50u) << "a FIN is no byte";
  from.bytes_sent = 500;  // a probe that has not left yet
  EXPECT_EQ(between(from, to).bytes_out, 0u);
}

TEST(SocketMark, WhatTheFenceDroppedIsSentOnce) {
  SocketMark from, to;
  to.segments_out = 3;
  to.bytes_sent = 300;  // 100 of them were dropped, and are new once more another time
  to.bytes_out = 200;
  EXPECT_EQ(between(from, to).bytes_out, 200u) << "from the handshake on";
  EXPECT_EQ(fenced_bytes(from, to), 100u);
  to.bytes_out = 301;
  EXPECT_EQ(between(from, to).bytes_out, 300u) << "a SYN is no byte";
  from.bytes_out = 50;  // in flight when it came home
  to.bytes_out = 250;
  EXPECT_EQ(between(from, to).bytes_out, 200u);
  to.bytes_out.reset();  // asked in the host, where nothing is fenced
  EXPECT_EQ(between(from, to).bytes_out, 300u);
}

}  // namespace
}  // namespace snp::host
