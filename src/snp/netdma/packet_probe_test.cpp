#include "snp/netdma/packet_probe.h"

#include <gtest/gtest.h>

namespace snp::netdma {
namespace {

// No more can be said of a time than that some passed.
TEST(PacketProbe, APacketOfEachSizeCanBeMeasured) {
  PacketProbe probe;
  for (const std::uint32_t bytes : {64u, 1500u, 9000u, 65536u})
    EXPECT_GT(probe.measure_ns(bytes), 0) << bytes;
  EXPECT_EQ(probe.measure_ns(65537), 0) << "larger than any that is measured";
}

}  // namespace
}  // namespace snp::netdma
