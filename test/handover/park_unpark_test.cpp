// A connection goes into the rings and comes home: every byte both ways, end of file, options, and
// nothing on the wire while the socket is parked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/host/socket_calls.h"

#include "test/handover/parking_lab.h"

namespace snp::test {
namespace {

constexpr std::uint32_t kRingBytes = 4 << 20;

TEST(ParkUnpark, EmptyConnectionComesHome) {
  ParkingLab lab;
  const Connection c = lab.connect_pair(Family::kV4);
  RingPair rings(kRingBytes);
  const auto parked = lab.park(c, rings);
  ASSERT_TRUE(parked) << parked.error().message;
  EXPECT_EQ(parked->rx_range.length(), 0u);
  EXPECT_EQ(parked->tx_range.length(), 0u);
  const auto unparked = lab.unpark(c, *parked, rings);
  ASSERT_TRUE(unparked) << unparked.error().message;
  write_all(c.host.get(), pattern(1, 100));
  EXPECT_EQ(read_some(c.peer.get(), 100), pattern(1, 100));
  write_all(c.peer.get(), pattern(2, 100));
  EXPECT_EQ(read_some(c.host.get(), 100), pattern(2, 100));
}

}  // namespace
}  // namespace snp::test
