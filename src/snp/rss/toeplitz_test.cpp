// The sixteen published vectors (reference 5.2), and the fast path against the definition.
#include "snp/rss/toeplitz.h"

#include <random>

#include <gtest/gtest.h>

#include "snp/rss/hash_type.h"

#include "test/support/rss_vectors.h"

namespace snp::rss {
namespace {

using Vector = test::RssVector;
using test::kRssVectors;

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
  for (const Vector& vector : kRssVectors) {
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
  for (const Vector& vector : kRssVectors) {
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
