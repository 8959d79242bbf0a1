#include "snp/wire/checksum.h"

#include <algorithm>
#include <array>
#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

#include "snp/wire/frame.h"
#include "snp/wire/known_frames.h"

namespace snp {
namespace {

std::span<const std::byte> bytes_of(const std::vector<std::uint8_t>& v) {
  return std::as_bytes(std::span(v));
}

// Word by word as RFC 1071 1 says it, in host order.
std::uint16_t plain_sum(const std::vector<std::uint8_t>& v) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < v.size(); i += 2) {
    sum += static_cast<std::uint32_t>(v[i] << 8);
    if (i + 1 < v.size()) sum += v[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

TEST(Checksum, Rfc1071Example) {
  const std::vector<std::uint8_t> example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(network_order(fold(sum_of(bytes_of(example)))), 0xddf2);
}

TEST(Checksum, AnyBytesSumAsTheTextSays) {
  EXPECT_TRUE(rc::check("sum_of equals the plain sum", [](const std::vector<std::uint8_t>& v) {
    RC_ASSERT(network_order(fold(sum_of(bytes_of(v)))) == plain_sum(v));
  }));
}

TEST(Checksum, LargeSumsLoseNoCarry) {
  const std::vector<std::uint8_t> ones(65535, 0xff);
  EXPECT_EQ(network_order(fold(sum_of(bytes_of(ones)))), plain_sum(ones));
  EXPECT_EQ(fold(~ChecksumSum{0}), 0xffff);
}

TEST(Checksum, PiecesSumAsTheWhole) {
  EXPECT_TRUE(rc::check("PayloadSum does not see the seams",
                        [](std::vector<std::uint8_t> a, const std::vector<std::uint8_t>& b,
                           const std::vector<std::uint8_t>& c) {
                          PayloadSum pieces;
                          pieces.add(bytes_of(a));
                          pieces.add(bytes_of(b));
                          pieces.add(bytes_of(c));
                          a.insert(a.end(), b.begin(), b.end());
                          a.insert(a.end(), c.begin(), c.end());
                          PayloadSum whole;
                          whole.add(bytes_of(a));
                          RC_ASSERT(pieces.finish() == whole.finish());
                        }));
}

struct KnownFrame : testing::TestWithParam<std::span<const std::uint8_t>> {
  std::vector<std::byte> frame{std::as_bytes(GetParam()).begin(), std::as_bytes(GetParam()).end()};
  ParsedFrame parsed;
  void SetUp() override { ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp); }
};

TEST_P(KnownFrame, IsValid) {
  EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kValid);
}

TEST_P(KnownFrame, AnySingleBitBreaksIt) {
  for (std::size_t i = parsed.l4_offset; i < frame.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      const auto mask = std::byte{1} << bit;
      frame[i] ^= mask;
      EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kBad) << i << " " << bit;
      frame[i] ^= mask;
    }
}

TEST_P(KnownFrame, ThePseudoHeaderSumAloneIsUnfinished) {
  const auto tcp_length = static_cast<std::uint32_t>(frame.size() - parsed.l4_offset);
  const std::uint16_t field =
      fold(pseudo_header_sum(parsed.tuple.remote.address, parsed.tuple.local.address, tcp_length));
  std::memcpy(&frame[parsed.l4_offset + 16u], &field, 2);
  EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kUnfinished);
  frame[parsed.l4_offset + 17u] ^= std::byte{1};
  EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kBad);
}

INSTANTIATE_TEST_SUITE_P(Families, KnownFrame,
                         testing::Values(std::span<const std::uint8_t>(known_frames::kIpv4Hello),
                                         std::span<const std::uint8_t>(known_frames::kIpv6Hello)),
                         [](const auto& suite) { return suite.index == 0 ? "ipv4" : "ipv6"; });

}  // namespace
}  // namespace snp
