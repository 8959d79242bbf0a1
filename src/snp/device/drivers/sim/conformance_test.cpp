// The conformance suite over the wire that exists only in this process.
#include "snp/device/drivers/sim/sim_device.h"

#include "test/support/device_conformance.h"

namespace snp::device::sim {
namespace {

template <bool kSegments>
struct SimLink {
  Instant now{};
  Wire wire{WireConfig{.caps = {.max_frame_payload = kSegments ? 60'000u : 0u,
                                .tx_checksum = kSegments,
                                .rx_aggregation = kSegments},
                       .classify = {}},
            [this] { return now; }};
  std::unique_ptr<PacketQueue> ends[2] = {std::move(*wire.end(0).open_queue(0)),
                                          std::move(*wire.end(1).open_queue(0))};

  PacketQueue& left() { return *ends[0]; }
  PacketQueue& right() { return *ends[1]; }
  DeviceCaps caps() { return wire.end(0).caps(); }
  FourTuple flow() {
    return {{IpAddress::v4(10, 9, 0, 1), 80}, {IpAddress::v4(10, 9, 0, 2), 4711}};
  }
  std::array<std::uint8_t, 6> left_mac() { return {2, 0, 0, 0, 9, 1}; }
  std::array<std::uint8_t, 6> right_mac() { return {2, 0, 0, 0, 9, 2}; }
  void settle() { now += seconds(1); }
};

}  // namespace
}  // namespace snp::device::sim

namespace snp::test {

using Variants = testing::Types<device::sim::SimLink<true>, device::sim::SimLink<false>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Sim, DeviceConformance, Variants);

}  // namespace snp::test
