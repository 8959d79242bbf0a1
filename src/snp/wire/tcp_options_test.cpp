#include "snp/wire/tcp_options.h"

#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp {
namespace {

TcpOptions parse(const std::vector<std::uint8_t>& bytes) {
  return parse_tcp_options(std::as_bytes(std::span(bytes)));
}

TEST(TcpOptions, TheUsualLayout) {
  const TcpOptions options = parse({1, 1, 8, 10, 0x13, 0x19, 0x93, 0x61, 0x76, 0x3f, 0x19, 0x38});
  EXPECT_TRUE(options.has_timestamps);
  EXPECT_EQ(options.ts_val, 320443233u);
  EXPECT_EQ(options.ts_ecr, 1983846712u);
  EXPECT_FALSE(options.is_malformed);
}

TEST(TcpOptions, AnyOrderAndUnknownKinds) {
  // SACK permitted (4), window scale (3), an unknown kind, then timestamps and the end.
  const TcpOptions options =
      parse({4, 2, 3, 3, 7, 1, 200, 5, 1, 2, 3, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 99, 99});
  EXPECT_TRUE(options.has_timestamps);
  EXPECT_EQ(options.ts_val, 1u);
  EXPECT_EQ(options.ts_ecr, 2u);
  EXPECT_FALSE(options.is_malformed);  // RFC 9293 3.1: nothing behind the end counts
}

TEST(TcpOptions, SackBlocks) {
  const TcpOptions options =
      parse({1, 1, 5, 18, 0, 0, 0, 10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0, 40});
  ASSERT_EQ(options.sack_count, 2);
  EXPECT_EQ(options.sack[0], (SackBlock{SeqNum(10), SeqNum(20)}));
  EXPECT_EQ(options.sack[1], (SackBlock{SeqNum(30), SeqNum(40)}));
}

TEST(TcpOptions, MalformedLengthsStopTheReading) {
  const std::vector<std::vector<std::uint8_t>> malformed{
      {8},                          // no length
      {8, 0},                       // a length that would loop for ever
      {8, 1},                       // shorter than itself
      {8, 10, 0, 0},                // behind the end
      {8, 6, 0, 0, 0, 0},           // no such timestamps
      {5, 2},                       // SACK without blocks
      {5, 9, 0, 0, 0, 0, 0, 0, 0},  // half a block
      {200, 255, 0, 0},
  };
  for (const auto& bytes : malformed) {
    const TcpOptions options = parse(bytes);
    EXPECT_TRUE(options.is_malformed) << testing::PrintToString(bytes);
    EXPECT_FALSE(options.has_timestamps);
    EXPECT_EQ(options.sack_count, 0);
  }
}

TEST(TcpOptions, WhatStoodBeforeTheMalformedPartStays) {
  const TcpOptions options = parse({8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 0});
  EXPECT_TRUE(options.has_timestamps);
  EXPECT_TRUE(options.is_malformed);
}

TEST(TcpOptions, WrittenOptionsComeBack) {
  EXPECT_TRUE(rc::check(
      "write and parse are inverse", [](bool timestamps, std::uint32_t val, std::uint32_t ecr,
                                        std::array<std::uint32_t, 8> edges) {
        TcpOptions options;
        options.has_timestamps = timestamps;
        options.ts_val = timestamps ? val : 0;
        options.ts_ecr = timestamps ? ecr : 0;
        options.sack_count = *rc::gen::inRange<std::uint8_t>(0, 5);
        for (std::size_t i = 0; i < options.sack_count; ++i)
          options.sack[i] = {SeqNum(edges[2 * i]), SeqNum(edges[2 * i + 1])};
        std::array<std::byte, kMaxTcpOptionBytes> bytes{};
        const std::size_t written = write_tcp_options(options, bytes.data());
        RC_ASSERT(written == tcp_options_bytes(options));
        RC_ASSERT(written <= kMaxTcpOptionBytes && written % 4 == 0u);
        const TcpOptions back = parse_tcp_options(std::span(bytes).first(written));
        RC_ASSERT(!back.is_malformed);
        RC_ASSERT(back.has_timestamps == timestamps);
        RC_ASSERT(back.ts_val == options.ts_val && back.ts_ecr == options.ts_ecr);
        RC_ASSERT(back.sack_count == sack_blocks_that_fit(options));
        for (std::size_t i = 0; i < back.sack_count; ++i)
          RC_ASSERT(back.sack[i] == options.sack[i]);
      }));
}

TEST(TcpOptions, AnyBytesAreSurvived) {
  EXPECT_TRUE(
      rc::check("parse terminates inside its bounds", [](const std::vector<std::uint8_t>& bytes) {
        const TcpOptions options = parse(bytes);
        RC_ASSERT(options.sack_count <= options.sack.size());
      }));
}

}  // namespace
}  // namespace snp
