// Which connections IPsec's policies and states select.
#include "snp/host/xfrm_rules.h"

#include <gtest/gtest.h>

namespace snp::host {
namespace {

const FlowView kFlow{*parse_four_tuple("10.0.0.1:40000-10.0.0.2:6379"), "eth0", false};

Condition ports(Field field, std::uint16_t first, std::uint16_t last) {
  Condition condition;
  condition.field = field;
  condition.ports.push_back({first, last});
  return condition;
}

Condition net(Field field, const char* address, unsigned bits) {
  Condition condition;
  condition.field = field;
  condition.addresses.push_back(*range_of_prefix(*parse_address(address), bits));
  return condition;
}

XfrmRule policy(std::vector<Condition> conditions, std::uint32_t order = 0) {
  XfrmRule rule;
  rule.what = "policy";
  rule.order = order;
  rule.conditions = std::move(conditions);
  return rule;
}

bool concerns(std::vector<XfrmRule> policies, std::vector<XfrmRule> states = {}) {
  for (const Feature& feature : features_of_xfrm(std::move(policies), std::move(states)))
    if (feature.concerns(kFlow)) return true;
  return false;
}

TEST(XfrmRules, APolicyConcernsWhatItSelects) {
  EXPECT_TRUE(concerns({policy({})}));
  EXPECT_TRUE(concerns({policy({net(Field::kDestination, "10.0.0.0", 24)})}));
  EXPECT_FALSE(concerns({policy({net(Field::kDestination, "10.0.1.0", 24)})}));
  EXPECT_TRUE(concerns({policy({ports(Field::kDestinationPort, 6379, 6379)})}));
  EXPECT_FALSE(concerns({policy({ports(Field::kSourcePort, 6379, 6379)})}));
}

TEST(XfrmRules, InboundPoliciesSeeThePeersPackets) {
  XfrmRule in = policy({ports(Field::kSourcePort, 6379, 6379)});
  in.heading = Heading::kIn;
  EXPECT_TRUE(concerns({in}));
}

TEST(XfrmRules, AnEarlierPolicyThatLetsPassHidesALaterOne) {
  XfrmRule pass = policy({ports(Field::kDestinationPort, 6379, 6379)}, 1);
  pass.lets_pass = true;
  EXPECT_FALSE(concerns({pass}));
  EXPECT_FALSE(concerns({policy({}, 2), pass}));
  EXPECT_TRUE(concerns({policy({}, 0), pass}));
  pass.heading = Heading::kIn;
  EXPECT_TRUE(concerns({policy({}, 2), pass}));
  pass.heading = Heading::kOut;
  pass.may_not_match = true;
  EXPECT_TRUE(concerns({policy({}, 2), pass}));
}

TEST(XfrmRules, OtherProtocolsAreOthers) {
  XfrmRule udp = policy({});
  udp.is_for_others = true;
  EXPECT_FALSE(concerns({udp}));
  EXPECT_FALSE(concerns({}, {udp}));
}

TEST(XfrmRules, AStateConcernsBothDirections) {
  EXPECT_TRUE(concerns({}, {policy({net(Field::kSource, "10.0.0.2", 32)})}));
  EXPECT_TRUE(concerns({}, {policy({net(Field::kSource, "10.0.0.1", 32)})}));
  EXPECT_FALSE(concerns({}, {policy({net(Field::kSource, "10.0.0.3", 32)})}));
}

TEST(PacketMatch, Prefixes) {
  const auto v4 = range_of_prefix(*parse_address("10.1.2.3"), 20);
  ASSERT_TRUE(v4);
  EXPECT_EQ(to_string(v4->first), "10.1.0.0");
  EXPECT_EQ(to_string(v4->last), "10.1.15.255");
  const auto all = range_of_prefix(*parse_address("10.1.2.3"), 0);
  ASSERT_TRUE(all);
  EXPECT_EQ(to_string(all->first), "0.0.0.0");
  EXPECT_EQ(to_string(all->last), "255.255.255.255");
  EXPECT_FALSE(range_of_prefix(*parse_address("10.1.2.3"), 33));
  EXPECT_FALSE(range_of_prefix(*parse_address("fd77::1"), 129));
  EXPECT_EQ(to_string(range_of_prefix(*parse_address("fd77::1"), 127)->first), "fd77::");
}

TEST(PacketMatch, WhatIsNotKnownMayMatch) {
  Condition device;
  device.field = Field::kInDevice;
  device.devices = {"lo"};
  EXPECT_EQ(match(device, packet_of(kFlow, Heading::kIn)), Match::kNo);
  EXPECT_EQ(match(device, packet_of(kFlow, Heading::kOut)), Match::kMaybe);
  device.is_negated = true;
  EXPECT_EQ(match(device, packet_of(kFlow, Heading::kIn)), Match::kYes);
  EXPECT_EQ(match(device, packet_of(kFlow, Heading::kOut)), Match::kMaybe);
  Condition open = ports(Field::kSourcePort, 1, 1);
  open.is_open = true;
  EXPECT_EQ(match(open, packet_of(kFlow, Heading::kIn)), Match::kMaybe);
}

}  // namespace
}  // namespace snp::host
