#include "snp/wire/address.h"

#include <set>

#include <rapidcheck.h>

#include <gtest/gtest.h>

#include "snp/wire/four_tuple_hash.h"

namespace snp {
namespace {

TEST(Address, ParsesWhatPeopleWrite) {
  EXPECT_EQ(parse_address("10.0.0.1"), IpAddress::v4(10, 0, 0, 1));
  EXPECT_EQ(parse_address("::ffff:10.0.0.1"), IpAddress::v4(10, 0, 0, 1));
  EXPECT_EQ(to_string(*parse_address("FE80:0::1")), "fe80::1");
  EXPECT_EQ(to_string(*parse_address("::")), "::");
}

TEST(Address, RefusesWhatIsNoAddress) {
  using namespace std::string_view_literals;
  for (const auto text : {""sv, "10.0.0"sv, "10.0.0.256"sv, "fe80::1%eth0"sv, "host"sv, "1:2"sv,
                          "10.0.0.1 "sv, "10.0.0.1\0x"sv})
    EXPECT_FALSE(parse_address(text)) << text;
  EXPECT_FALSE(parse_address(std::string(200, '1')));
}

TEST(Address, EndpointsAndTuplesComeBack) {
  for (const char* text : {"10.0.0.1:80", "[fe80::1]:65535", "0.0.0.0:0"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(to_string(*endpoint), text);
  }
  const auto tuple = parse_four_tuple("10.0.0.1:80-[fe80::1]:443");
  ASSERT_TRUE(tuple);
  EXPECT_EQ(to_string(mirrored(*tuple)), "[fe80::1]:443-10.0.0.1:80");
}

TEST(Address, RefusesWhatIsNoEndpoint) {
  for (const char* text : {"10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:8x",
                           "::1:80", "[::1]80", ":80", "[]:80"})
    EXPECT_FALSE(parse_endpoint(text)) << text;
  for (const char* text : {"", "10.0.0.1:80", "10.0.0.1:80-", "-10.0.0.1:80"})
    EXPECT_FALSE(parse_four_tuple(text)) << text;
}

TEST(Address, AnyTupleComesBackFromItsText) {
  EXPECT_TRUE(rc::check(
      "to_string and parse_four_tuple are inverse",
      [](const std::array<std::uint8_t, 16>& local, const std::array<std::uint8_t, 16>& remote,
         std::uint16_t local_port, std::uint16_t remote_port) {
        const FourTuple tuple{{{local}, local_port}, {{remote}, remote_port}};
        RC_ASSERT(parse_four_tuple(to_string(tuple)) == tuple);
      }));
}

TEST(FourTupleHash, SpreadsNeighbouringTuplesInHighAndLowBits) {
  const FourTupleHash hash{12345};
  std::set<std::size_t> low, high;
  for (std::uint16_t port = 0; port < 1024; ++port) {
    const FourTuple tuple{{IpAddress::v4(10, 0, 0, 1), 80},
                          {IpAddress::v4(10, 0, 0, 2), static_cast<std::uint16_t>(32768 + port)}};
    low.insert(hash(tuple) & 0xffff);
    high.insert(hash(tuple) >> 48);
  }
  // 1024 balls into 65536 bins: about 8 fall together.
  EXPECT_GT(low.size(), 990u);
  EXPECT_GT(high.size(), 990u);
}

TEST(FourTupleHash, DependsOnSeedAndDirection) {
  const FourTuple tuple{{IpAddress::v4(10, 0, 0, 1), 80}, {IpAddress::v4(10, 0, 0, 2), 80}};
  EXPECT_NE(FourTupleHash{1}(tuple), FourTupleHash{2}(tuple));
  EXPECT_NE(FourTupleHash{1}(tuple), FourTupleHash{1}(mirrored(tuple)));
}

}  // namespace
}  // namespace snp
