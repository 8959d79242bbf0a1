// Entries as the kernel has them, made by hand; real ones are in test/netns/coexistence_test.py.
#include "snp/host/xt_rules.h"

#include <cstring>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <netinet/in.h>

#include <gtest/gtest.h>

namespace snp::host {
namespace {

using Bytes = std::vector<std::byte>;

FlowView flow(const char* text, const char* device = "eth0") {
  return {*parse_four_tuple(text), device, false};
}

const FlowView kFlow = flow("10.0.0.1:40000-10.0.0.2:6379");
const FlowView kFlow6 = flow("[fd77::1]:40000-[fd77::2]:6379");

template <class T>
void append(Bytes& bytes, const T& value) {
  const auto* raw = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), raw, raw + sizeof value);
}

Bytes head(const ipt_ip& ip = {}) {
  ipt_entry entry{};
  entry.ip = ip;
  Bytes bytes;
  append(bytes, entry);
  return bytes;
}

template <class T>
Bytes with_match(Bytes bytes, const char* name, unsigned char revision, const T& data) {
  xt_entry_match match{};
  match.u.match_size = static_cast<__u16>(XT_ALIGN(sizeof match + sizeof data));
  std::strncpy(match.u.user.name, name, sizeof match.u.user.name - 1);
  match.u.user.revision = revision;
  const std::size_t end = bytes.size() + match.u.match_size;
  append(bytes, match);
  append(bytes, data);
  bytes.resize(end);
  return bytes;
}

xt_tcp all_ports() {
  xt_tcp tcp{};
  tcp.spts[1] = tcp.dpts[1] = 0xffff;
  return tcp;
}

Match matches(const Bytes& entry, const FlowView& view, Heading heading = Heading::kIn,
              XtFamily family = XtFamily::kIpv4) {
  return match(conditions_of(family, entry), packet_of(view, heading));
}

TEST(XtRules, AnythingMatches) {
  EXPECT_EQ(matches(head(), kFlow), Match::kYes);
}

TEST(XtRules, Addresses) {
  ipt_ip ip{};
  ip.src.s_addr = inet_addr("10.0.0.0");
  ip.smsk.s_addr = inet_addr("255.255.255.0");
  EXPECT_EQ(matches(head(ip), kFlow), Match::kYes);
  ip.invflags = IPT_INV_SRCIP;
  EXPECT_EQ(matches(head(ip), kFlow), Match::kNo);
  ip = {};
  ip.dst.s_addr = inet_addr("10.0.0.2");
  ip.dmsk.s_addr = inet_addr("255.255.255.255");
  EXPECT_EQ(matches(head(ip), kFlow, Heading::kIn), Match::kNo);
  EXPECT_EQ(matches(head(ip), kFlow, Heading::kOut), Match::kYes);
  ip.dmsk.s_addr = inet_addr("255.0.255.255");  // no prefix
  EXPECT_EQ(matches(head(ip), kFlow, Heading::kIn), Match::kMaybe);
}

TEST(XtRules, AddressesOfIpv6) {
  ip6t_entry entry{};
  ASSERT_EQ(inet_pton(AF_INET6, "fd77::", &entry.ipv6.src), 1);
  ASSERT_EQ(inet_pton(AF_INET6, "ffff:ffff::", &entry.ipv6.smsk), 1);
  const auto is = [&] {
    Bytes bytes;
    append(bytes, entry);
    return matches(bytes, kFlow6, Heading::kIn, XtFamily::kIpv6);
  };
  EXPECT_EQ(is(), Match::kYes);
  entry.ipv6.proto = IPPROTO_UDP;  // without the flag it says nothing
  EXPECT_EQ(is(), Match::kYes);
  entry.ipv6.flags = IP6T_F_PROTO;
  EXPECT_EQ(is(), Match::kNo);
  entry.ipv6.proto = IPPROTO_TCP;
  EXPECT_EQ(is(), Match::kYes);
  ASSERT_EQ(inet_pton(AF_INET6, "fd78::", &entry.ipv6.src), 1);
  EXPECT_EQ(is(), Match::kNo);
}

TEST(XtRules, Protocols) {
  ipt_ip ip{};
  ip.proto = IPPROTO_UDP;
  EXPECT_EQ(matches(head(ip), kFlow), Match::kNo);
  ip.invflags = IPT_INV_PROTO;
  EXPECT_EQ(matches(head(ip), kFlow), Match::kYes);
  ip.proto = IPPROTO_TCP;
  EXPECT_EQ(matches(head(ip), kFlow), Match::kNo);
  ip = {};
  ip.flags = IPT_F_FRAG;
  EXPECT_EQ(matches(head(ip), kFlow), Match::kMaybe);
}

TEST(XtRules, Devices) {
  const auto device = [](const char* name, std::size_t compared, bool is_inverted = false) {
    ipt_ip ip{};
    std::strncpy(ip.iniface, name, sizeof ip.iniface - 1);
    std::memset(ip.iniface_mask, 0xff, compared);
    if (is_inverted) ip.invflags = IPT_INV_VIA_IN;
    return head(ip);
  };
  EXPECT_EQ(matches(device("eth0", 5), kFlow), Match::kYes);
  EXPECT_EQ(matches(device("eth1", 5), kFlow), Match::kNo);
  EXPECT_EQ(matches(device("eth1", 5, true), kFlow), Match::kYes);
  EXPECT_EQ(matches(device("eth", 4), kFlow), Match::kNo);
  EXPECT_EQ(matches(device("eth", 3), kFlow), Match::kYes);  // -i eth+
  EXPECT_EQ(matches(device("lo", 3), kFlow), Match::kNo);
  EXPECT_EQ(matches(device("eth0", 5), kFlow, Heading::kOut), Match::kMaybe);
}

TEST(XtRules, PortsOfTcp) {
  xt_tcp tcp = all_ports();
  tcp.spts[0] = tcp.spts[1] = 6379;
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, tcp), kFlow), Match::kYes);
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, tcp), kFlow, Heading::kOut), Match::kNo);
  tcp.invflags = XT_TCP_INV_SRCPT;
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, tcp), kFlow), Match::kNo);
  tcp = all_ports();
  tcp.dpts[0] = 39000;
  tcp.dpts[1] = 41000;
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, tcp), kFlow), Match::kYes);
  tcp.flg_mask = 2;
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, tcp), kFlow), Match::kMaybe);
}

TEST(XtRules, ManyPorts) {
  xt_multiport_v1 ports{};
  ports.flags = XT_MULTIPORT_SOURCE;
  ports.count = 3;
  ports.ports[0] = 22;
  ports.ports[1] = 6000;
  ports.pflags[1] = 1;
  ports.ports[2] = 7000;
  EXPECT_EQ(matches(with_match(head(), "multiport", 1, ports), kFlow), Match::kYes);
  ports.invert = 1;
  EXPECT_EQ(matches(with_match(head(), "multiport", 1, ports), kFlow), Match::kNo);
  ports.invert = 0;
  ports.pflags[1] = 0;
  EXPECT_EQ(matches(with_match(head(), "multiport", 1, ports), kFlow), Match::kNo);
  ports.flags = XT_MULTIPORT_EITHER;
  EXPECT_EQ(matches(with_match(head(), "multiport", 1, ports), kFlow), Match::kMaybe);
}

TEST(XtRules, StateOfConntrack) {
  xt_conntrack_mtinfo3 asked{};
  asked.match_flags = XT_CONNTRACK_STATE;
  asked.state_mask = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED);
  FlowView lenient = kFlow;
  lenient.is_acceptance_enough = true;
  EXPECT_EQ(matches(with_match(head(), "conntrack", 3, asked), kFlow), Match::kMaybe);
  EXPECT_EQ(matches(with_match(head(), "conntrack", 3, asked), lenient), Match::kYes);
  asked.invert_flags = XT_CONNTRACK_STATE;
  EXPECT_EQ(matches(with_match(head(), "conntrack", 3, asked), lenient), Match::kNo);
  asked.invert_flags = 0;
  asked.state_mask = XT_CONNTRACK_STATE_INVALID;
  EXPECT_EQ(matches(with_match(head(), "conntrack", 3, asked), lenient), Match::kNo);
  asked.match_flags = XT_CONNTRACK_STATE | XT_CONNTRACK_EXPIRES;
  EXPECT_EQ(matches(with_match(head(), "conntrack", 3, asked), lenient), Match::kMaybe);
}

TEST(XtRules, WhatIsNotUnderstoodMayMatch) {
  EXPECT_EQ(matches(with_match(head(), "recent", 0, 7), kFlow), Match::kMaybe);
  EXPECT_EQ(matches(with_match(head(), "comment", 0, 7), kFlow), Match::kYes);
  EXPECT_EQ(matches(with_match(head(), "tcp", 0, 'x'), kFlow), Match::kMaybe);  // too short
  Bytes cut = with_match(head(), "tcp", 0, all_ports());
  cut.resize(cut.size() - 8);
  EXPECT_EQ(matches(cut, kFlow), Match::kMaybe);
  EXPECT_EQ(matches(Bytes(8), kFlow), Match::kYes);  // no entry at all: read as zeroes
}

std::shared_ptr<XtTable> table_with(std::vector<Rule> input, bool is_accepting = true) {
  auto table = std::make_shared<XtTable>();
  table->name = "filter";
  table->bases.push_back(table->chains.add({"INPUT", is_accepting, std::move(input)}));
  table->bases.push_back(table->chains.add({"FORWARD", false, {}}));
  return table;
}

TEST(XtRules, FeaturesNameTableChainAndRule) {
  Rule nothing{1, {never()}, {step_of_target("DROP", false, false, 0)}};
  nothing.steps[0].after = 1;
  const Rule drop{2, {}, {step_of_target("DROP", false, false, 0)}};
  const Features features = features_of_table(table_with({nothing, drop}));
  ASSERT_EQ(features.size(), 1u);  // what is forwarded is not ours
  EXPECT_EQ(features[0].what, "iptables: table filter, chain INPUT");
  EXPECT_TRUE(features[0].concerns(kFlow));
  EXPECT_FALSE(features[0].concerns(kFlow6));
  EXPECT_EQ(features[0].where(kFlow), "rule 2");
  EXPECT_TRUE(features_of_table(table_with({})).empty());
  const Features policy = features_of_table(table_with({}, false));
  ASSERT_EQ(policy.size(), 1u);
  EXPECT_EQ(policy[0].where(kFlow), "policy");
}

TEST(XtRules, TargetsOfRules) {
  const auto concerns = [](const Step& step, bool is_accepting = true) {
    const Features features = features_of_table(table_with({{1, {}, {step}}}, is_accepting));
    return !features.empty() && features[0].concerns(kFlow);
  };
  EXPECT_FALSE(concerns(step_of_target("ACCEPT", false, false, 0), false));
  EXPECT_TRUE(concerns(step_of_target("RETURN", false, false, 0), false));
  EXPECT_FALSE(concerns(step_of_target("RETURN", false, false, 0), true));
  EXPECT_TRUE(concerns(step_of_target("", false, false, 0)));
  EXPECT_TRUE(concerns(step_of_target("MARK", false, false, 0)));
  EXPECT_TRUE(concerns(step_of_target("DROP", false, false, 0)));
  EXPECT_FALSE(concerns(step_of_target("FORWARD", false, true, 1)));  // an empty chain
  EXPECT_TRUE(concerns(step_of_target("GONE", false, true, 9)));
}

}  // namespace
}  // namespace snp::host
