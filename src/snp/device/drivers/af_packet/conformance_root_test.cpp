// The conformance suite over a veth pair, in its variants.
#include "snp/base/assert.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"

#include "test/support/device_conformance.h"
#include "test/support/netns.h"

namespace snp::device {
namespace {

constexpr FourTuple kFlowV4 = {{IpAddress::v4(10, 9, 0, 1), 80},
                               {IpAddress::v4(10, 9, 0, 2), 4711}};
constexpr FourTuple kFlowV6 = {{{{0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 80},
                               {{{0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}}, 4711}};

// One end: its own steering, device and queues.
struct End {
  std::unique_ptr<steer::Steering> steering;
  std::unique_ptr<PacketDevice> device;
  std::vector<std::unique_ptr<PacketQueue>> queues;

  End(const test::NetNamespace& ns, const std::string& name, const AfPacketOptions& options,
      const FourTuple& flow, std::uint32_t shard) {
    const test::NetNamespace::Inside inside(ns);
    steering = std::move(*steer::Steering::load(16));
    device = std::move(*open_af_packet(name, options, *steering));
    SNP_ASSERT(steering->attach(device->ifindex()));
    SNP_ASSERT(steering->set(flow, steer::FlowSteering::kActive, shard));
    for (std::uint32_t i = 0; i < options.queues; ++i)
      queues.push_back(std::move(*device->open_queue(i)));
    for (const auto& queue : queues)
      SNP_ASSERT(queue->tap());
  }
};

template <class Variant>
struct VethLink {
  test::VethPair net;
  End here{net.here, "snp0", Variant::options(), Variant::kFlow, Variant::kQueue};
  End there{net.there, "snp1", Variant::options(), mirrored(Variant::kFlow), Variant::kQueue};

  VethLink() { Variant::adjust(net); }
  PacketQueue& left() { return *here.queues[Variant::kQueue]; }
  PacketQueue& right() { return *there.queues[Variant::kQueue]; }
  DeviceCaps caps() { return here.device->caps(); }
  FourTuple flow() { return Variant::kFlow; }
  std::array<std::uint8_t, 6> left_mac() { return {2, 0, 0, 0, 9, 1}; }
  std::array<std::uint8_t, 6> right_mac() { return {2, 0, 0, 0, 9, 2}; }
  void settle() {}
};

struct Plain {
  static constexpr FourTuple kFlow = kFlowV4;
  static constexpr std::uint32_t kQueue = 0;
  static AfPacketOptions options() { return {}; }
  static void adjust(const test::VethPair&) {}
};
struct Ipv6 : Plain {
  static constexpr FourTuple kFlow = kFlowV6;
};
// The kernel must cut and sum in software.
struct NoOffloads : Plain {
  static void adjust(const test::VethPair& net) {
    net.here.run("ethtool -K snp0 tso off gso off tx off >/dev/null");
    net.there.run("ethtool -K snp1 tso off gso off tx off >/dev/null");
  }
};
struct NoOffloadsIpv6 : NoOffloads {
  static constexpr FourTuple kFlow = kFlowV6;
};
struct QdiscBypass : Plain {
  static AfPacketOptions options() {
    AfPacketOptions options;
    options.qdisc_bypass = true;
    return options;
  }
};
// Rings that wrap all the time.
struct TinyRings : Plain {
  static AfPacketOptions options() {
    AfPacketOptions options;
    options.rx_slots = 512;
    options.tx_slots = 8;
    options.large_frames = 1;
    return options;
  }
};
// A merged frame of 64 KB fits into a slot.
struct LargeSlots : Plain {
  static AfPacketOptions options() {
    AfPacketOptions options;
    options.rx_slots = 512;
    options.rx_slot_bytes = 65536;
    return options;
  }
};
struct SecondOfThreeQueues : Plain {
  static constexpr std::uint32_t kQueue = 1;
  static AfPacketOptions options() {
    AfPacketOptions options;
    options.queues = 3;
    return options;
  }
};

}  // namespace
}  // namespace snp::device

namespace snp::test {

using Variants =
    testing::Types<device::VethLink<device::Plain>, device::VethLink<device::Ipv6>,
                   device::VethLink<device::NoOffloads>, device::VethLink<device::NoOffloadsIpv6>,
                   device::VethLink<device::QdiscBypass>, device::VethLink<device::TinyRings>,
                   device::VethLink<device::LargeSlots>,
                   device::VethLink<device::SecondOfThreeQueues>>;
INSTANTIATE_TYPED_TEST_SUITE_P(AfPacket, DeviceConformance, Variants);

}  // namespace snp::test
