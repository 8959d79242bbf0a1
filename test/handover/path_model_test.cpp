// A host that runs BBR tells the target what it knows of the path; the socket is a real one and has
// filled a real pipe.
#include <thread>

#include <linux/inet_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 4 << 20;
constexpr std::uint32_t kMostGainAfterStartup = 320;  // 5/4, of 256

bool choose(const Connection& c, std::string_view algorithm) {
  return ::setsockopt(c.host.get(), IPPROTO_TCP, TCP_CONGESTION, algorithm.data(),
                      static_cast<socklen_t>(algorithm.size())) == 0;
}

tcp_bbr_info model_of(const Connection& c) {
  tcp_cc_info info{};
  EXPECT_TRUE(host::read_option(c.host.get(), IPPROTO_TCP, TCP_CC_INFO, info));
  return info.bbr;
}

// One chunk to the peer, acknowledged. The gains are the kernel's only from its first ACK on.
void send_chunk(const Connection& c, std::size_t bytes) {
  const Bytes chunk = pattern(3, bytes);
  std::thread reader([&c, &chunk] { EXPECT_EQ(read_some(c.peer.get(), chunk.size()), chunk); });
  write_all(c.host.get(), chunk);
  reader.join();
  for (int i = 0; i < 4000 && host::ioctl_count(c.host.get(), SIOCOUTQ) != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

PathModel parked_model(ParkingLab& lab, const Connection& c) {
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  EXPECT_TRUE(parked) << parked.error().message;
  if (!parked) return {};
  const PathModel path = parked->state.path;
  EXPECT_TRUE(lab.unpark(c, *parked, rings));
  return path;
}

TEST(HostPathModel, IsThatOfItsBbr) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  if (!choose(c, "bbr")) GTEST_SKIP() << "this kernel has no BBR";
  tcp_bbr_info known{};
  for (int i = 0; i == 0 || (i < 400 && known.bbr_pacing_gain > kMostGainAfterStartup); ++i) {
    send_chunk(c, 1 << 20);
    known = model_of(c);
  }
  ASSERT_LE(known.bbr_pacing_gain, kMostGainAfterStartup);
  const PathModel path = parked_model(lab, c);
  EXPECT_EQ(path.bandwidth, std::uint64_t{known.bbr_bw_hi} << 32 | known.bbr_bw_lo);
  EXPECT_GT(path.bandwidth, 1'000'000u);
  EXPECT_EQ(path.min_rtt_us, known.bbr_min_rtt);
}

TEST(HostPathModel, IsNoneBeforeTheHostHasFoundIt) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV6);
  if (!choose(c, "bbr")) GTEST_SKIP() << "this kernel has no BBR";
  send_chunk(c, 1000);
  ASSERT_GT(model_of(c).bbr_pacing_gain, kMostGainAfterStartup);
  ASSERT_GT(model_of(c).bbr_bw_lo, 0u);
  EXPECT_EQ(parked_model(lab, c).bandwidth, 0u);
}

// TCP_CC_INFO of another algorithm means something else.
TEST(HostPathModel, IsNoneOfAHostThatGoesByLosses) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  ASSERT_TRUE(choose(c, "cubic"));
  EXPECT_EQ(parked_model(lab, c).bandwidth, 0u);
}

// Where ICMP never comes (RFC 4821) the host would lose every full segment for ever.
TEST(HostSegmentSize, IsThatWhichWasFoundToGetThrough) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  const std::uint16_t peers = parked->state.constant.remote_mss;
  constexpr std::uint16_t kFound = 700;
  parked->state.mtu_search = {.mss_limit = kFound, .mss_high = peers, .probe_end = {}};
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
  tcp_info info{};
  ASSERT_TRUE(host::read_tcp_info(c.host.get(), info));
  EXPECT_LE(info.tcpi_snd_mss, kFound);
  EXPECT_GE(info.tcpi_snd_mss, kFound - 12);
  send_chunk(c, 100'000);

  // And once larger ones got through, they do again.
  auto again = lab.park(c, rings);
  ASSERT_TRUE(again);
  again->state.constant.remote_mss = peers;  // as PathMemo tells it
  ASSERT_TRUE(lab.unpark(c, *again, rings));
  send_chunk(c, 100'000);
  ASSERT_TRUE(host::read_tcp_info(c.host.get(), info));
  EXPECT_GT(info.tcpi_snd_mss, kFound);
}

}  // namespace
}  // namespace snp::test
