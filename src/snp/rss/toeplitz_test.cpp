// The sixteen published vectors (reference 5.2), and the fast path against the definition.
#include "snp/rss/toeplitz.h"

#include <random>

#include <gtest/gtest.h>

#include "snp/rss/hash_type.h"

namespace snp::rss {
namespace {

struct Vector {
  const char* destination;
  const char* source;
  std::uint32_t address_hash;
  std::uint32_t tcp_hash;
};

// clang-format off
constexpr Vector kVectors[] = {
    {"161.142.100.80:1766", "66.9.149.187:2794", 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83:4739", "199.92.111.2:14230", 0xd718262a, 0xc626b0ea},
    {"12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6:2217", "38.27.205.30:48228", 0x82989176, 0xafc7327f},
    {"202.188.127.2:1303", "153.39.163.191:44251", 0x5d1809c5, 0x10e828a2},
    {"[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc18cd5, 0x40207d3d},
    {"[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c461c, 0xdde51bbf},
    {"[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", 0x4b61e985, 0x02d1feef},
};
// clang-format on

PacketFields fields_of(const Vector& vector) {
  const Endpoint source = parse_endpoint(vector.source).value();
  const Endpoint destination = parse_endpoint(vector.destination).value();
  return {source.address,
          destination.address,
          Transport::kTcp,
          source.port,
          destination.port,
          false,
          {},
          {}};
}

TEST(Toeplitz, GivesThePublishedValues) {
  const ToeplitzTable table(kVerificationKey);
  const Toeplitz chosen(kVerificationKey);
  for (const Vector& vector : kVectors) {
    const PacketFields packet = fields_of(vector);
    const auto addresses = select_input(packet, kIpv4 | kIpv6);
    const auto with_ports = select_input(packet, kAllIpv4 | kTcpIpv6 | kIpv6);
    ASSERT_TRUE(addresses && with_ports);
    EXPECT_EQ(toeplitz(kVerificationKey, addresses->span()), vector.address_hash);
    EXPECT_EQ(toeplitz(kVerificationKey, with_ports->span()), vector.tcp_hash);
    EXPECT_EQ(table.hash(addresses->span()), vector.address_hash);
    EXPECT_EQ(table.hash(with_ports->span()), vector.tcp_hash);
    EXPECT_EQ(chosen.hash(addresses->span()), vector.address_hash);
    EXPECT_EQ(chosen.hash(with_ports->span()), vector.tcp_hash);
  }
}

TEST(Toeplitz, FastPathsEqualTheDefinitionOnRandomInputs) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 20; ++round) {
    HashKey key;
    for (auto& byte : key)
      byte = static_cast<std::uint8_t>(random());
    const ToeplitzTable table(key);
    const ToeplitzCarryless carryless(key);
    for (int i = 0; i < 100; ++i) {
      std::array<std::uint8_t, kMaxInputBytes> input;
      for (auto& byte : input)
        byte = static_cast<std::uint8_t>(random());
      const auto part = std::span(input).first(random() % (kMaxInputBytes + 1));
      ASSERT_EQ(table.hash(part), toeplitz(key, part));
      if (ToeplitzCarryless::has_carryless()) {
        ASSERT_EQ(carryless.hash(part), toeplitz(key, part));
      }
    }
  }
}

TEST(Toeplitz, ChoosesThePathThatThisCpuHas) {
  const bool has = ToeplitzCarryless::has_carryless();
  EXPECT_STREQ(Toeplitz(kVerificationKey).path(), has ? "carryless" : "table");
}

TEST(Toeplitz, KeysAreReadAndWrittenAsHex) {
  EXPECT_EQ(parse_key(to_text(kVerificationKey)), kVerificationKey);
  std::string colons;  // as ethtool writes it
  for (std::size_t i = 0; i < kKeyBytes; ++i)
    colons += (i == 0 ? "" : ":") + to_text(kVerificationKey).substr(2 * i, 2);
  EXPECT_EQ(parse_key(colons), kVerificationKey);
  EXPECT_FALSE(parse_key(""));
  EXPECT_FALSE(parse_key(std::string(79, 'a')));
  EXPECT_FALSE(parse_key(std::string(82, 'a')));
  EXPECT_FALSE(parse_key(std::string(79, 'a') + "g"));
  EXPECT_FALSE(parse_key("6:d" + std::string(78, 'a')));
}

TEST(Toeplitz, IsLinear) {
  const std::array<std::uint8_t, 12> a = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::array<std::uint8_t, 12> b = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254};
  std::array<std::uint8_t, 12> both{};
  for (std::size_t i = 0; i < both.size(); ++i)
    both[i] = a[i] ^ b[i];
  EXPECT_EQ(toeplitz(kVerificationKey, both),
            toeplitz(kVerificationKey, a) ^ toeplitz(kVerificationKey, b));
}

TEST(Toeplitz, SymmetricKeyHashesBothDirectionsAlike) {
  const HashKey key = make_symmetric_key(0x6d5a);
  for (const Vector& vector : kVectors) {
    PacketFields packet = fields_of(vector);
    const auto there = select_input(packet, kTcpIpv4 | kTcpIpv6);
    std::swap(packet.source, packet.destination);
    std::swap(packet.source_port, packet.destination_port);
    const auto back = select_input(packet, kTcpIpv4 | kTcpIpv6);
    EXPECT_EQ(toeplitz(key, there->span()), toeplitz(key, back->span()));
  }
}

}  // namespace
}  // namespace snp::rss
