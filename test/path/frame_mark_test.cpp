#include "test/path/frame_mark.h"

#include <vector>

#include <gtest/gtest.h>

namespace snp::path {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> frame;
  for (const int value : values)
    frame.push_back(static_cast<std::byte>(value));
  return frame;
}

std::vector<std::byte> frame_v4(int tos) {
  auto frame = bytes({0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0});
  const auto header =
      bytes({0x45, tos, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2});
  frame.insert(frame.end(), header.begin(), header.end());
  return frame;
}

std::vector<std::byte> frame_v6(int traffic_class, int next_header, int type) {
  auto frame = bytes({0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x86, 0xdd});
  frame.push_back(static_cast<std::byte>(0x60 | traffic_class >> 4));
  frame.push_back(static_cast<std::byte>((traffic_class & 15) << 4));
  frame.resize(14 + 6);
  frame.push_back(static_cast<std::byte>(next_header));
  frame.resize(14 + 40);
  frame.push_back(static_cast<std::byte>(type));
  return frame;
}

unsigned header_sum(const std::vector<std::byte>& frame) {
  unsigned sum = 0;
  for (std::size_t i = 14; i < 34; i += 2)
    sum += std::to_integer<unsigned>(frame[i]) << 8 | std::to_integer<unsigned>(frame[i + 1]);
  while (sum > 0xffff)
    sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

TEST(FrameMark, KeepsTheV4ChecksumRight) {
  for (const int tos : {1, 2, 0x29, 0xfe}) {
    auto frame = frame_v4(tos);
    const unsigned checksum = ~header_sum(frame) & 0xffff;
    frame[24] = static_cast<std::byte>(checksum >> 8);
    frame[25] = static_cast<std::byte>(checksum & 0xff);
    ASSERT_EQ(header_sum(frame), 0xffffu);
    ASSERT_TRUE(is_ecn_capable(frame));
    set_congestion_experienced(frame);
    EXPECT_EQ(header_sum(frame), 0xffffu);
    EXPECT_EQ(std::to_integer<int>(frame[15]), tos | 3);
  }
}

TEST(FrameMark, MarksV6InTheTrafficClass) {
  auto frame = frame_v6(0x2a, 6, 0);
  ASSERT_TRUE(is_ecn_capable(frame));
  set_congestion_experienced(frame);
  EXPECT_EQ(frame, frame_v6(0x2b, 6, 0));
}

TEST(FrameMark, LeavesAloneWhatIsNotCapable) {
  EXPECT_FALSE(is_ecn_capable(frame_v4(0)));
  EXPECT_FALSE(is_ecn_capable(frame_v4(3)));  // has its mark
  EXPECT_FALSE(is_ecn_capable(frame_v6(0x28, 6, 0)));
  EXPECT_FALSE(is_ecn_capable(bytes({1, 2, 3})));
}

TEST(FrameMark, TellsIpFromWhatMustPass) {
  EXPECT_TRUE(is_ip(frame_v4(0)));
  EXPECT_TRUE(is_ip(frame_v6(0, 6, 0)));
  auto arp = frame_v4(0);
  arp[13] = std::byte{6};
  EXPECT_FALSE(is_ip(arp));
  EXPECT_TRUE(is_neighbour_discovery(frame_v6(0, 58, 135)));
  EXPECT_FALSE(is_neighbour_discovery(frame_v6(0, 58, 128)));  // an echo request
  EXPECT_FALSE(is_neighbour_discovery(frame_v6(0, 6, 135)));
  EXPECT_FALSE(is_neighbour_discovery(frame_v4(0)));
}

}  // namespace
}  // namespace snp::path
