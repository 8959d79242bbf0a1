// Our Toeplitz hash against DPDK's, on random keys and inputs of every length that RSS has.
#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "snp/rss/toeplitz.h"

#include "test/oracle/dpdk_hash.h"

namespace snp::rss {
namespace {

// Two addresses, and ports: IPv4, IPv6.
constexpr std::size_t kLengths[] = {8, 12, 32, 36};

TEST(RssHash, EqualsThatOfDpdk) {
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  const auto byte = [&] { return static_cast<std::uint8_t>(random()); };
  for (int round = 0; round < 50; ++round) {
    HashKey key;
    std::generate(key.begin(), key.end(), byte);
    const test::DpdkHash theirs(key);
    const Toeplitz ours(key);
    for (const std::size_t length : kLengths)
      for (int i = 0; i < 50; ++i) {
        std::vector<std::uint8_t> input(length);
        std::generate(input.begin(), input.end(), byte);
        const std::uint32_t expected = theirs.softrss(input);
        ASSERT_EQ(theirs.softrss_be(input), expected);
        ASSERT_EQ(toeplitz(key, input), expected) << "seed " << seed;
        ASSERT_EQ(ours.hash(input), expected) << "seed " << seed;
        if (test::DpdkHash::has_gfni()) {
          ASSERT_EQ(theirs.gfni(input), expected);
        }
      }
  }
}

}  // namespace
}  // namespace snp::rss
