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

// The counters that a stay in the host adds, and those that a target has.
TEST(TcpInfo, CountsTheWholeLife) {
  Slot slot;
  SlotLife& life = slot.life;
  TcpCounters earlier;
  earlier.bytes_acked = 5'000'000'000;
  earlier.segs_in = 0xfffffff0;
  earlier.delivered = 7;
  store(life.counted, earlier);
  TcpCounters start;
  start.bytes_acked = 1;  // an ACK that has still to come
  start.segs_in = 10;
  store(life.start, start);

  tcp_info info{};
  info.tcpi_segs_in = 42;
  info.tcpi_delivered = 3;
  info.tcpi_rtt = 99;
  tcp_info again = info;
  add_earlier_life(life, &info, sizeof info);
  EXPECT_EQ(info.tcpi_bytes_acked, 5'000'000'000u) << "never less than before";
  EXPECT_EQ(info.tcpi_segs_in, 0x10u) << "as the kernel's, it wraps";
  EXPECT_EQ(info.tcpi_delivered, 10u);
  EXPECT_EQ(info.tcpi_rtt, 99u);
  again.tcpi_bytes_acked = 101;
  add_earlier_life(life, &again, sizeof again);
  EXPECT_EQ(again.tcpi_bytes_acked, 5'000'000'100u);

  std::array<unsigned char, 256> bytes;
  bytes.fill(0xaa);
  add_earlier_life(life, bytes.data(), 104);  // what the C library knows of
  EXPECT_TRUE(std::all_of(bytes.begin() + 104, bytes.end(), [](auto b) { return b == 0xaa; }));
}

TEST(TcpInfo, ATargetsBytesFollowFromPositions) {
  Slot slot;
  TcpCounters earlier;
  earlier.bytes_acked = 100;
  earlier.bytes_received = 200;
  earlier.bytes_sent = 150;
  earlier.bytes_retrans = 10;
  store(slot.life.counted, earlier);
  slot.life.received_offset = 200 - kFirstPosition;
  slot.life.acked_offset = 100 - kFirstPosition;
  slot.life.sent_offset = 140 - (kFirstPosition + 40);
  slot.life.sent = kFirstPosition + 40;
  slot.engine.rx_head = slot.engine.tx_tail = kFirstPosition;
  EXPECT_EQ(told_at_target(slot.life, streams_of(slot)), earlier);

  slot.engine.rx_head = kFirstPosition + 5;
  slot.engine.tx_tail = kFirstPosition + 50;  // and the shard has not told yet how far it sent
  slot.engine.status = slot_status::kPeerClosed;
  slot.life.is_fin_acknowledged = 1;
  TcpCounters told = told_at_target(slot.life, streams_of(slot));
  EXPECT_EQ(told.bytes_received, 206u) << "the FIN, too";
  EXPECT_EQ(told.bytes_acked, 151u);
  EXPECT_EQ(told.bytes_sent, 160u);

  slot.engine.tx_tail = kFirstPosition - 1;
  slot.life.is_fin_acknowledged = 0;
  EXPECT_EQ(told_at_target(slot.life, streams_of(slot)).bytes_acked, 100u) << "never less";
}

}  // namespace
}  // namespace snp::ipc
