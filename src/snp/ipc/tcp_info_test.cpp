#include "snp/ipc/tcp_info.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include <linux/tcp.h>

#include <gtest/gtest.h>

namespace snp::ipc {
namespace {

TEST(TcpInfo, SaysWhatTheEngineKnowsAndLeavesTheRest) {
  SlotInfo from;
  from.tcp_state = 8;
  from.srtt_us = 1234;
  from.min_rtt_us = 1000;
  from.cwnd_segments = 17;
  from.retransmits = 300;
  from.bytes_acked = 5'000'000'000;
  from.delivery_rate = 125'000'000;
  from.is_app_limited = 1;
  from.last_data_sent_ms = 0xffffff00;  // the tick counter has wrapped since
  from.snd_wnd = 65'000;
  tcp_info info{};
  info.tcpi_advmss = 1448;
  info.tcpi_options = TCPI_OPT_SACK;
  overlay_tcp_info(from, 0x100, &info, sizeof info);
  EXPECT_EQ(info.tcpi_state, 8);
  EXPECT_EQ(info.tcpi_rtt, 1234u);
  EXPECT_EQ(info.tcpi_min_rtt, 1000u);
  EXPECT_EQ(info.tcpi_snd_cwnd, 17u);
  EXPECT_EQ(info.tcpi_retransmits, 255) << "as much as the field holds";
  EXPECT_EQ(info.tcpi_bytes_acked, 5'000'000'000u);
  EXPECT_EQ(info.tcpi_delivery_rate, 125'000'000u);
  EXPECT_EQ(info.tcpi_delivery_rate_app_limited, 1);
  EXPECT_EQ(info.tcpi_last_data_sent, 0x200u);
  EXPECT_EQ(info.tcpi_pacing_rate, ~0ull) << "not paced";
  EXPECT_EQ(info.tcpi_snd_wnd, 65'000u);
  EXPECT_EQ(info.tcpi_advmss, 1448u) << "the kernel's";
  EXPECT_EQ(info.tcpi_options, TCPI_OPT_SACK);
}

// The C library's structure ends early; a caller may ask for less, and for more than we know.
TEST(TcpInfo, WritesNoMoreThanWasAskedFor) {
  SlotInfo from;
  from.snd_wnd = 7;
  from.tcp_state = 1;
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{104}, std::size_t{400}}) {
    std::array<unsigned char, 512> bytes;
    bytes.fill(0xaa);
    overlay_tcp_info(from, 0, bytes.data(), length);
    for (std::size_t i = std::min(length, sizeof(tcp_info)); i < bytes.size(); ++i)
      ASSERT_EQ(bytes[i], 0xaa) << length << " at " << i;
    EXPECT_EQ(bytes[0], length != 0 ? 1 : 0xaa);
  }
}

}  // namespace
}  // namespace snp::ipc
