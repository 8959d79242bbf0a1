// Whatever the handshake agreed on holds after the way there and back; a closed window stays closed
// and opens again.
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"
#include "snp/wire/segment.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 4 << 20;
// A shift of 0 both ways is written as agreed scaling; ECN_SEEN comes with the first ECT packet.
constexpr std::uint8_t kMayChange = TCPI_OPT_WSCALE | TCPI_OPT_ECN_SEEN;

struct Agreement {
  const char* name;
  std::vector<std::pair<std::string, int>> settings;  // net.ipv4
};

void apply(const NetnsLab::Side& side, const Agreement& agreement) {
  const InNamespace inside(side);
  for (const auto& [setting, value] : agreement.settings) {
    std::ofstream file("/proc/sys/net/ipv4/" + setting);
    file << value;
    ASSERT_TRUE(file.flush()) << setting;
  }
}

class Handshake : public testing::TestWithParam<Agreement> {};

TEST_P(Handshake, HoldsAcrossHandOvers) {
  ParkingLab lab;
  for (const NetnsLab::Side* side : {&lab.net().left(), &lab.net().right()})
    ASSERT_NO_FATAL_FAILURE(apply(*side, GetParam()));
  const Connection c = lab.connect_pair(Family::kV4);
  tcp_info before{};
  ASSERT_TRUE(host::read_tcp_info(c.host.get(), before));
  WireTap tap(lab.net());
  RingPair rings(kRingBytes);
  Bytes to_peer, to_host;
  for (std::uint32_t round = 0; round < 4; ++round) {
    const Bytes from_peer = pattern(round, 20000);
    ASSERT_EQ(fill(c.peer.get(), from_peer), from_peer.size());
    to_host = to_host + from_peer;
    if (round % 2 == 1) lab.block_ingress(c);
    const Bytes from_host = pattern(100 + round, 20000);
    ASSERT_EQ(fill(c.host.get(), from_host), from_host.size());
    to_peer = to_peer + from_host;
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked) << parked.error().message;
    const ConstState& constant = parked->state.constant;
    EXPECT_EQ(constant.timestamps, (before.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0);
    EXPECT_EQ(constant.sack, (before.tcpi_options & TCPI_OPT_SACK) != 0);
    EXPECT_EQ(constant.ecn, (before.tcpi_options & TCPI_OPT_ECN) != 0);
    EXPECT_EQ(constant.snd_wind_shift, before.tcpi_snd_wscale);
    EXPECT_EQ(constant.rcv_wind_shift, before.tcpi_rcv_wscale);
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
    tcp_info after{};
    ASSERT_TRUE(host::read_tcp_info(c.host.get(), after));
    EXPECT_EQ(after.tcpi_options & ~kMayChange, before.tcpi_options & ~kMayChange);
    EXPECT_EQ(after.tcpi_snd_wscale, before.tcpi_snd_wscale);
    EXPECT_EQ(after.tcpi_rcv_wscale, before.tcpi_rcv_wscale);
    EXPECT_EQ(after.tcpi_snd_mss, before.tcpi_snd_mss);
  }
  EXPECT_TRUE(finish(
      c, {.host_sends = {}, .peer_sends = {}, .host_expects = to_host, .peer_expects = to_peer}));
  for (const WireTap::Seen& seen : tap.take())
    EXPECT_FALSE((seen.flags & TcpFlags::kRst) != 0);
}

INSTANTIATE_TEST_SUITE_P(
    Agreements, Handshake,
    testing::Values(Agreement{"Usual", {}}, Agreement{"NoTimestamps", {{"tcp_timestamps", 0}}},
                    Agreement{"NoSack", {{"tcp_sack", 0}}},
                    Agreement{"NoScaling", {{"tcp_window_scaling", 0}}},
                    Agreement{"Nothing",
                              {{"tcp_timestamps", 0}, {"tcp_sack", 0}, {"tcp_window_scaling", 0}}},
                    Agreement{"Ecn", {{"tcp_ecn", 1}}}),
    [](const auto& agreement) { return agreement.param.name; });

// The peer has closed its window: nothing leaves but probes, and all leaves when it opens again.
TEST(ClosedWindow, StaysClosedAndOpensAgain) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  Bytes bytes = pattern(1, 8 << 20);
  std::size_t written = 0;
  tcp_info info{};
  for (int i = 0; i < 3000 && !(written > 0 && info.tcpi_snd_wnd == 0); ++i) {
    written += fill(c.host.get(), std::span(bytes).subspan(written));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(host::read_tcp_info(c.host.get(), info));
  }
  ASSERT_EQ(info.tcpi_snd_wnd, 0u);
  bytes.resize(written);
  RingPair rings(16 << 20);
  for (int round = 0; round < 3; ++round) {
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked) << parked.error().message;
    EXPECT_EQ(parked->state.delegated.snd_wnd, 0u);
    EXPECT_GT(parked->tx_range.length(), 0u);
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
  }
  EXPECT_TRUE(
      finish(c, {.host_sends = {}, .peer_sends = {}, .host_expects = {}, .peer_expects = bytes}));
}

}  // namespace
}  // namespace snp::test
