// Which fields are hashed, for each kind of packet and set of types (reference 5.3).
#include "snp/rss/hash_type.h"

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

PacketFields v4(Transport transport) {
  return {
      IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), transport, 1000, 2000, false, {}, {}};
}

PacketFields v6(Transport transport) {
  return {
      *parse_address("fd00::1"), *parse_address("fd00::2"), transport, 1000, 2000, false, {}, {}};
}

HashTypes chosen(const PacketFields& packet, HashTypes enabled) {
  const auto input = select_input(packet, enabled);
  return input ? input->type : 0u;
}

TEST(HashTypes, AllowsTheSixSetsOfAFamily) {
  for (const HashTypes types : {HashTypes{kIpv4}, HashTypes{kTcpIpv4}, HashTypes{kUdpIpv4},
                                kTcpIpv4 | kIpv4, kUdpIpv4 | kIpv4, kAllIpv4, kAllIpv6})
    EXPECT_TRUE(is_allowed(types)) << std::hex << types;
  EXPECT_FALSE(is_allowed(kTcpIpv4 | kUdpIpv4));
  EXPECT_FALSE(is_allowed(kTcpIpv6 | kUdpIpv6Ex));
  EXPECT_FALSE(is_allowed(0x01000000));
}

TEST(HashTypes, TransportWithIpFallsBackToAddresses) {
  const HashTypes enabled = kTcpIpv4 | kIpv4;
  EXPECT_EQ(chosen(v4(Transport::kTcp), enabled), HashTypes{kTcpIpv4});
  EXPECT_EQ(chosen(v4(Transport::kUdp), enabled), HashTypes{kIpv4});
  EXPECT_EQ(chosen(v4(Transport::kOther), enabled), HashTypes{kIpv4});
}

TEST(HashTypes, TransportOnlyGivesOtherPacketsNoHash) {
  EXPECT_EQ(chosen(v4(Transport::kTcp), kTcpIpv4), HashTypes{kTcpIpv4});
  EXPECT_EQ(chosen(v4(Transport::kUdp), kTcpIpv4), 0u);
  EXPECT_EQ(chosen(v6(Transport::kTcp), kAllIpv4), 0u);
}

TEST(HashTypes, FragmentsAreHashedOnAddressesOnly) {
  PacketFields first = v4(Transport::kTcp);
  first.is_fragment = true;
  EXPECT_EQ(chosen(first, kTcpIpv4 | kIpv4), HashTypes{kIpv4});
  EXPECT_EQ(chosen(first, kTcpIpv4), 0u);
  EXPECT_EQ(select_input(first, kTcpIpv4 | kIpv4)->length, 8);
}

TEST(HashTypes, ExtendedTypesUseHomeAddressAndRoutingHeader) {
  PacketFields packet = v6(Transport::kTcp);
  packet.home_address = parse_address("fd00::99");
  const auto input = select_input(packet, kTcpIpv6Ex | kIpv6);
  ASSERT_TRUE(input);
  EXPECT_EQ(input->type, kTcpIpv6Ex);
  EXPECT_EQ(input->bytes[15], 0x99);  // source replaced
  EXPECT_EQ(input->bytes[31], 0x02);  // destination: no routing header, its own
  EXPECT_EQ(input->length, 36);
}

TEST(HashTypes, LengthsAreTheReferences) {
  EXPECT_EQ(select_input(v4(Transport::kTcp), kTcpIpv4)->length, 12);
  EXPECT_EQ(select_input(v6(Transport::kOther), kIpv6)->length, 32);
}

}  // namespace
}  // namespace snp::rss
