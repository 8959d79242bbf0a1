// RSSv1 parameters and RSSv2 moves of several ports (reference 5.4, 5.5).
#include "snp/rss/configuration.h"

#include <array>

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

constexpr std::array<CpuId, 4> kCpus = {0, 1, 2, 3};
constexpr std::array<CpuId, 4> kTable = {0, 1, 2, 3};
constexpr std::uint32_t kTcp4 = kTcpIpv4 | kIpv4 | kHashFunctionToeplitz;

Parameters usual() {
  Parameters parameters;
  parameters.hash_information = kTcp4;
  parameters.table = kTable;
  parameters.key = kVerificationKey;
  return parameters;
}

Configuration prepared() {
  Configuration configuration(0);
  EXPECT_EQ(configuration.table().set_processors(kCpus, 4), MoveStatus::kSuccess);
  return configuration;
}

PacketFields packet() {  // the first vector: hash 0x51ccc178
  PacketFields fields;
  fields.source = IpAddress::v4(66, 9, 149, 187);
  fields.destination = IpAddress::v4(161, 142, 100, 80);
  fields.transport = Transport::kTcp;
  fields.source_port = 2794;
  fields.destination_port = 1766;
  return fields;
}

std::string refusal(Configuration& configuration, const Parameters& parameters) {
  const auto done = configuration.apply(parameters);
  return done ? "" : done.error().message.substr(0, done.error().message.find(':'));
}

TEST(Configuration, PlacesPacketsByTheLowBitsOfTheHash) {
  Configuration configuration = prepared();
  EXPECT_EQ(configuration.place(packet()).cpu, 0u);  // off: everything on the affinity CPU
  EXPECT_FALSE(configuration.place(packet()).hash);
  ASSERT_TRUE(configuration.apply(usual()));
  std::array<Move, 1> move = {Move{0x51ccc178 & 3, 3, MoveStatus::kSuccess}};
  ASSERT_EQ(configuration.table().move(0, move), MoveStatus::kSuccess);
  const auto placement = configuration.place(packet());
  EXPECT_EQ(placement.cpu, 3u);
  EXPECT_EQ(placement.hash, 0x51ccc178u);
  EXPECT_EQ(placement.type, kTcpIpv4);
}

TEST(Configuration, PacketsWithoutAHashGoToTheDefaultProcessor) {
  Configuration configuration = prepared();
  Parameters parameters = usual();
  parameters.default_processor = 2;
  ASSERT_TRUE(configuration.apply(parameters));
  PacketFields v6;
  v6.source = *parse_address("fd00::1");
  v6.destination = *parse_address("fd00::2");
  EXPECT_EQ(configuration.place(v6).cpu, 2u);
  EXPECT_EQ(configuration.place(std::span<const std::byte>()).cpu, 2u);
}

TEST(Configuration, TheLatestTypesWin) {
  Configuration configuration = prepared();
  ASSERT_TRUE(configuration.apply(usual()));
  Parameters parameters = usual();
  parameters.hash_information = kTcpIpv6 | kIpv6 | kHashFunctionToeplitz;
  ASSERT_TRUE(configuration.apply(parameters));
  EXPECT_FALSE(configuration.place(packet()).hash);  // IPv4 is off from then on
}

TEST(Configuration, WhatIsMarkedUnchangedIsNotRead) {
  Configuration configuration = prepared();
  ASSERT_TRUE(configuration.apply(usual()));
  Parameters nothing;
  nothing.flags = kBaseCpuUnchanged | kHashInfoUnchanged | kTableUnchanged | kHashKeyUnchanged |
                  kDefaultProcessorUnchanged;
  ASSERT_TRUE(configuration.apply(nothing));
  EXPECT_EQ(configuration.changed(), 0u);
  EXPECT_EQ(configuration.place(packet()).hash, 0x51ccc178u);
}

TEST(Configuration, WhatIsNotMarkedIsCompared) {
  Configuration configuration = prepared();
  ASSERT_TRUE(configuration.apply(usual()));
  ASSERT_TRUE(configuration.apply(usual()));  // nothing differs, whatever the flags say
  EXPECT_EQ(configuration.changed(), 0u);
  const std::array<CpuId, 2> table = {1, 2};
  Parameters parameters = usual();
  parameters.table = table;
  parameters.base_cpu = 1;
  ASSERT_TRUE(configuration.apply(parameters));
  EXPECT_EQ(configuration.changed(), kTableUnchanged | kBaseCpuUnchanged);
}

TEST(Configuration, DisableOverridesEverythingAndALaterEnableIsAsTheFirst) {
  Configuration configuration = prepared();
  ASSERT_TRUE(configuration.apply(usual()));
  Parameters disable = usual();
  disable.flags = kDisableRss;
  disable.key = {};  // would be refused
  ASSERT_TRUE(configuration.apply(disable));
  EXPECT_FALSE(configuration.table().is_enabled());
  EXPECT_EQ(configuration.table().size(), 1u);
  EXPECT_EQ(configuration.types(), 0u);
  EXPECT_EQ(configuration.place(packet()).cpu, 0u);
  ASSERT_EQ(configuration.table().set_processors(kCpus, 4), MoveStatus::kSuccess);
  ASSERT_TRUE(configuration.apply(usual()));
  EXPECT_EQ(configuration.place(packet()).hash, 0x51ccc178u);
}

TEST(Configuration, BadParametersAreRefusedWhole) {
  Configuration configuration = prepared();
  ASSERT_TRUE(configuration.apply(usual()));
  const std::array<CpuId, 3> odd = {0, 1, 2};
  const std::array<CpuId, 2> outside = {0, 9};
  const std::array<std::uint8_t, 39> short_key{};
  Parameters parameters = usual();
  parameters.table = odd;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_PARAMETER");
  parameters.table = outside;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_DATA");
  parameters = usual();
  parameters.key = short_key;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_LENGTH");
  parameters = usual();
  parameters.hash_information = kTcpIpv4 | kUdpIpv4 | kHashFunctionToeplitz;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_PARAMETER");
  parameters.hash_information = kTcpIpv4 | 2;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_PARAMETER");
  parameters = usual();
  const std::array<CpuId, 2> other = {3, 3};
  parameters.table = other;
  parameters.default_processor = 9;
  EXPECT_EQ(refusal(configuration, parameters), "INVALID_DATA");
  EXPECT_EQ(configuration.table().size(), 4u);  // the good half was not applied either
  EXPECT_EQ(configuration.place(packet()).hash, 0x51ccc178u);
}

TEST(Configuration, TooManyCpusForTheQueues) {
  Configuration configuration(0);
  ASSERT_EQ(configuration.table().set_processors(kCpus, 2), MoveStatus::kSuccess);
  EXPECT_EQ(refusal(configuration, usual()), "NO_QUEUES");
  EXPECT_FALSE(configuration.table().is_enabled());
}

TEST(MoveEntries, GroupsOfAPortSucceedOrFailAloneAndWhole) {
  Configuration a = prepared();
  Configuration b = prepared();
  const std::array<CpuId, 4> zeros = {0, 0, 0, 0};
  Parameters parameters = usual();
  parameters.table = zeros;
  ASSERT_TRUE(a.apply(parameters));
  ASSERT_TRUE(b.apply(parameters));
  const auto table_of = [&](std::uint32_t port) -> IndirectionTable* {
    return port == 1 ? &a.table() : port == 2 ? &b.table() : nullptr;
  };
  std::array<Move, 7> moves = {{
      {0, 1, {}, 1},
      {1, 9, {}, 1},  // fails its group: 0 is rolled back
      {0, 2, {}, 2},
      {2, 3, {}, 1},  // a new group of port 1
      {0, 1, {}, 7},  // no such port
      {1, 3, {}, 2},
      {2, 3, {}, 2},
  }};
  EXPECT_EQ(move_entries(0, moves, table_of), MoveStatus::kInvalidData);
  EXPECT_EQ(moves[1].status, MoveStatus::kInvalidData);
  EXPECT_EQ(moves[4].status, MoveStatus::kInvalidPortState);
  EXPECT_EQ(a.table().entry(0), 0u);
  EXPECT_EQ(a.table().entry(2), 3u);
  EXPECT_EQ(b.table().entry(0), 2u);
  EXPECT_EQ(b.table().entry(1), 3u);
}

TEST(MoveEntries, TakesAHundredAndTwentyEightAtOnce) {
  Configuration configuration = prepared();
  Parameters parameters = usual();
  const std::vector<CpuId> table(128, 0);
  parameters.table = table;
  ASSERT_TRUE(configuration.apply(parameters));
  std::vector<Move> moves;
  for (std::uint32_t i = 0; i < 128; ++i)
    moves.push_back({i, i % 4, {}, 1});
  const auto status = move_entries(0, moves, [&](std::uint32_t) { return &configuration.table(); });
  EXPECT_EQ(status, MoveStatus::kSuccess);
  for (std::uint32_t i = 0; i < 128; ++i)
    EXPECT_EQ(configuration.table().entry(i), i % 4);
}

}  // namespace
}  // namespace snp::rss
