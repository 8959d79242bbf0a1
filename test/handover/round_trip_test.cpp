// What a refilled socket knows of the round trip. Without a sample its first timers come after one
// second (loss probe) and three (retransmission, RFC 6298 5.7); it is given one, and a true one.
#include <fstream>

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 4 << 20;

Transfer exchange(std::size_t bytes) {
  Transfer t;
  t.host_sends = t.peer_expects = pattern(11, bytes);
  t.peer_sends = t.host_expects = pattern(12, bytes);
  return t;
}

tcp_info info_of(const Connection& c) {
  tcp_info info{};
  EXPECT_TRUE(host::read_tcp_info(c.host.get(), info));
  return info;
}

// Away and back, as if the engine had measured this.
void move_with(ParkingLab& lab, const Connection& c, RingPair& rings, std::uint32_t srtt_us) {
  auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  parked->state.delegated.srtt_us = parked->state.delegated.min_rtt_us = srtt_us;
  ASSERT_TRUE(lab.unpark(c, *parked, rings));
}

class RefilledRoundTripMs : public testing::TestWithParam<std::uint32_t> {};

TEST_P(RefilledRoundTripMs, IsToldAsItIs) {
  for (const Family family : {Family::kV4, Family::kV6}) {
    ParkingLab lab;
    const Connection c = lab.connect_pair(family);
    RingPair rings(kRingBytes);
    WireTap tap(lab.net());
    move_with(lab, c, rings, GetParam() * 1000);
    const tcp_info info = info_of(c);
    EXPECT_GE(info.tcpi_rtt, GetParam() * 1000);
    EXPECT_LE(info.tcpi_rtt, GetParam() * 1000 + 20'000) << "a loaded machine takes its time";
    EXPECT_LE(info.tcpi_rto, info.tcpi_rtt + std::max(2 * info.tcpi_rtt, 200'000u) + 8'000u);
    EXPECT_EQ(info.tcpi_unacked, 0u);
    EXPECT_EQ(host::ioctl_count(c.host.get(), SIOCOUTQ), 0u);
    EXPECT_TRUE(tap.take().empty()) << "nothing of this is for the wire";
    EXPECT_TRUE(finish(c, exchange(10000)));
  }
}

INSTANTIATE_TEST_SUITE_P(Path, RefilledRoundTripMs, testing::Values(1u, 20u, 80u, 300u));

// With bytes in both queues, and a peer that acknowledges them afterwards.
TEST(RefilledRoundTrip, IsToldBesideFullQueues) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  const Bytes to_peer = pattern(1, 40'000), to_host = pattern(2, 50'000);
  ASSERT_EQ(fill(c.peer.get(), to_host), to_host.size());
  lab.block_ingress(c);  // what the host sends stays unacknowledged
  ASSERT_EQ(fill(c.host.get(), to_peer), to_peer.size());
  move_with(lab, c, rings, 80'000);
  EXPECT_GT(info_of(c).tcpi_rtt, 0u);
  EXPECT_LE(info_of(c).tcpi_rto, 500'000u);
  EXPECT_TRUE(finish(
      c, {.host_sends = {}, .peer_sends = {}, .host_expects = to_host, .peer_expects = to_peer}));
}

// Hand-overs in quick succession, without an answer from the peer between them.
TEST(RefilledRoundTrip, DoesNotGrowFromHandOverToHandOver) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  move_with(lab, c, rings, 80'000);
  for (int round = 0; round < 30; ++round) {
    const auto parked = lab.park(c, rings);
    ASSERT_TRUE(parked);
    ASSERT_TRUE(lab.unpark(c, *parked, rings));
  }
  EXPECT_GE(info_of(c).tcpi_rtt, 70'000u);
  EXPECT_LE(info_of(c).tcpi_rtt, 110'000u);
}

// The last bytes are lost on the way: the next attempt comes after two round trips.
TEST(RefilledRoundTrip, ALostTailIsRepairedWithinASecond) {
  for (const std::uint32_t srtt_us : {100u, 80'000u}) {
    ParkingLab lab;
    const Connection c = lab.connect_pair(Family::kV4);
    RingPair rings(kRingBytes);
    move_with(lab, c, rings, srtt_us);
    const Bytes bytes = pattern(1, 100);
    lab.hold(c);
    write_all(c.host.get(), bytes);
    lab.release(c);
    EXPECT_EQ(read_some(c.peer.get(), bytes.size(), 900), bytes);
  }
}

// The kernel takes no sample of what was filled in but from a timestamp: the peer's next answer is
// waited for.
TEST(RefilledRoundTrip, IsNotKnownWithoutTimestamps) {
  ParkingLab lab;
  for (const NetnsLab::Side* side : {&lab.net().left(), &lab.net().right()}) {
    const InNamespace inside(*side);
    std::ofstream("/proc/sys/net/ipv4/tcp_timestamps") << 0;
  }
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked);
  parked->state.delegated.srtt_us = 20'000;
  const auto unparked = lab.unpark(c, *parked, rings);
  ASSERT_TRUE(unparked);
  EXPECT_FALSE(unparked->needs_forged_segment);
  EXPECT_EQ(info_of(c).tcpi_rtt, 0u);
  EXPECT_TRUE(finish(c, exchange(10000)));
}

}  // namespace
}  // namespace snp::test
