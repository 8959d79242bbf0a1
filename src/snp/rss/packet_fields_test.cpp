// Fragments, options and extension headers as reference 5.3 writes them, from bytes.
#include "snp/rss/packet_fields.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

using Bytes = std::vector<std::uint8_t>;

void append(Bytes& to, const Bytes& what) {
  to.insert(to.end(), what.begin(), what.end());
}

std::optional<PacketFields> read(const Bytes& packet) {
  return read_fields(std::as_bytes(std::span(packet)));
}

const Bytes kPorts = {0x03, 0xe8, 0x07, 0xd0};  // 1000, 2000

Bytes v4_packet(std::uint8_t protocol, std::uint16_t fragment = 0, std::size_t option_words = 0) {
  Bytes packet(20 + option_words * 4);
  packet[0] = static_cast<std::uint8_t>(0x45 + option_words);
  packet[6] = static_cast<std::uint8_t>(fragment >> 8);
  packet[7] = static_cast<std::uint8_t>(fragment & 0xff);
  packet[9] = protocol;
  const Bytes addresses = {10, 0, 0, 1, 10, 0, 0, 2};
  std::copy(addresses.begin(), addresses.end(), packet.begin() + 12);
  append(packet, kPorts);
  return packet;
}

Bytes v6_header(std::uint8_t next) {
  Bytes packet(40);
  packet[0] = 0x60;
  packet[6] = next;
  packet[8] = packet[24] = 0xfd;
  packet[23] = 1;
  packet[39] = 2;
  return packet;
}

// `behind`: what stands behind the first two bytes; its length makes whole units of 8.
Bytes extension(std::uint8_t next, Bytes behind) {
  Bytes header = {next, static_cast<std::uint8_t>((behind.size() + 2) / 8 - 1)};
  append(header, behind);
  return header;
}

Bytes address_bytes(std::uint8_t last) {
  Bytes address(16);
  address[0] = 0xfd;
  address[15] = last;
  return address;
}

Bytes home_address_option(std::uint8_t last) {  // PadN of 2, then the option: RFC 6275 6.3
  Bytes options = {1, 2, 0, 0, 0xc9, 16};
  append(options, address_bytes(last));
  return options;
}

Bytes routing_type2(std::uint8_t last) {
  Bytes header = {2, 1, 0, 0, 0, 0};
  append(header, address_bytes(last));
  return header;
}

TEST(PacketFields, ReadsPortsOfTcpAndUdp) {
  for (const auto& [protocol, transport] :
       {std::pair(6, Transport::kTcp), std::pair(17, Transport::kUdp)}) {
    const auto fields = read(v4_packet(static_cast<std::uint8_t>(protocol)));
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->transport, transport);
    EXPECT_EQ(fields->source_port, 1000);
    EXPECT_EQ(fields->destination_port, 2000);
    EXPECT_EQ(fields->source, IpAddress::v4(10, 0, 0, 1));
    EXPECT_EQ(fields->destination, IpAddress::v4(10, 0, 0, 2));
  }
  EXPECT_EQ(read(v4_packet(47))->transport, Transport::kOther);
}

TEST(PacketFields, SkipsIpv4Options) {
  EXPECT_EQ(read(v4_packet(6, 0, 10))->destination_port, 2000);
}

TEST(PacketFields, EveryFragmentHasAddressesOnly) {
  for (const std::uint16_t fragment :
       std::initializer_list<std::uint16_t>{0x2000, 0x2001, 0x0001}) {  // first, middle, last
    const auto fields = read(v4_packet(6, fragment));
    ASSERT_TRUE(fields);
    EXPECT_TRUE(fields->is_fragment);
    EXPECT_EQ(fields->transport, Transport::kOther);
  }
  EXPECT_FALSE(read(v4_packet(6, 0x4000))->is_fragment);  // DF
  Bytes packet = v6_header(44);
  append(packet, {6, 0, 0, 1, 0, 0, 0, 7});
  append(packet, kPorts);
  const auto fields = read(packet);
  ASSERT_TRUE(fields);
  EXPECT_TRUE(fields->is_fragment);
  EXPECT_EQ(fields->source_port, 0);
}

TEST(PacketFields, SkipsExtensionHeadersAndReadsTheirAddresses) {
  Bytes packet = v6_header(0);
  append(packet, extension(43, Bytes(6)));
  append(packet, extension(60, routing_type2(0x77)));
  append(packet, extension(6, home_address_option(0x99)));
  append(packet, kPorts);
  const auto fields = read(packet);
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->transport, Transport::kTcp);
  EXPECT_EQ(fields->destination_port, 2000);
  ASSERT_TRUE(fields->home_address && fields->routing_type2_address);
  EXPECT_EQ(fields->home_address->bytes[15], 0x99);
  EXPECT_EQ(fields->routing_type2_address->bytes[15], 0x77);
  const auto input = select_input(*fields, kTcpIpv6Ex | kIpv6);
  ASSERT_TRUE(input);
  EXPECT_EQ(input->bytes[15], 0x99);
  EXPECT_EQ(input->bytes[31], 0x77);
}

TEST(PacketFields, SkipsAnAuthenticationHeaderByItsOwnUnit) {
  Bytes packet = v6_header(51);
  Bytes header(24);
  header[0] = 17;
  header[1] = 4;  // (4 + 2) * 4
  append(packet, header);
  append(packet, kPorts);
  EXPECT_EQ(read(packet)->destination_port, 2000);
}

TEST(PacketFields, WhatCannotBeSkippedOrReadGetsNothing) {
  EXPECT_FALSE(read({}));
  EXPECT_FALSE(read({0x50}));
  Bytes short_header = v4_packet(6);
  short_header[0] = 0x44;
  EXPECT_FALSE(read(short_header));
  Bytes endless = v6_header(60);
  for (int i = 0; i < 20; ++i)
    append(endless, extension(60, Bytes(6)));
  EXPECT_FALSE(read(endless));
  Bytes mapped = v6_header(6);
  std::fill(mapped.begin() + 8, mapped.begin() + 18, std::uint8_t{0});
  mapped[18] = mapped[19] = 0xff;
  append(mapped, kPorts);
  EXPECT_FALSE(read(mapped));
}

TEST(PacketFields, EveryCutIsRefusedOrReadWithinItsBounds) {
  Bytes packet = v6_header(0);
  append(packet, extension(60, Bytes(6)));
  append(packet, extension(6, home_address_option(0x99)));
  append(packet, kPorts);
  for (std::size_t length = 0; length < packet.size(); ++length)
    EXPECT_FALSE(read(Bytes(packet.begin(), packet.begin() + static_cast<long>(length)))) << length;
  EXPECT_TRUE(read(packet));
}

TEST(PacketFields, RandomBytesNeverLeadOutside) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 20000; ++round) {
    Bytes packet(random() % 120);
    for (auto& byte : packet)
      byte = static_cast<std::uint8_t>(random() % 64);
    if (!packet.empty()) packet[0] = round % 2 == 0 ? 0x60 : 0x45;
    if (packet.size() > 6) packet[6] = std::array<std::uint8_t, 4>{0, 43, 60, 44}[random() % 4];
    const auto fields = read(packet);
    if (fields && fields->transport != Transport::kOther) {
      EXPECT_FALSE(fields->is_fragment);
    }
  }
}

}  // namespace
}  // namespace snp::rss
