// What a frame costs through af_packet, one thread sending, delivering and receiving over a veth
// pair: nanoseconds of wall time per frame, sending (with the delivery into the peer's ring, which
// the kernel does inside the send call) apart from receiving. Root. Prints a Markdown table.
//
//   af_packet_bench [SECONDS-PER-POINT]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "snp/base/assert.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"

#include "test/support/device_frames.h"
#include "test/support/netns.h"

namespace snp::device {
namespace {

using Clock = std::chrono::steady_clock;

constexpr FourTuple kFlow = {{IpAddress::v4(10, 9, 0, 1), 80}, {IpAddress::v4(10, 9, 0, 2), 4711}};

struct End {
  std::unique_ptr<steer::Steering> steering;
  std::unique_ptr<PacketDevice> device;
  std::unique_ptr<PacketQueue> queue;

  End(const test::NetNamespace& ns, const char* name, const AfPacketOptions& options,
      const FourTuple& flow) {
    const test::NetNamespace::Inside inside(ns);
    steering = std::move(*steer::Steering::load(16));
    device = std::move(*open_af_packet(name, options, *steering));
    SNP_ASSERT(steering->attach(device->ifindex()));
    SNP_ASSERT(steering->set(flow, steer::FlowSteering::kActive, 0));
    queue = std::move(*device->open_queue(0));
    SNP_ASSERT(queue->tap());
  }
};

struct Point {
  const char* name;
  std::size_t frame_bytes;
  std::uint32_t batch;
  std::uint16_t gso_size = 0;
  bool qdisc_bypass = false;
  bool offloads = true;
};

struct Cost {
  double send_ns = 0, receive_ns = 0;
  std::uint64_t frames = 0;
};

Cost measure(const Point& point, double seconds) {
  const test::VethPair net;
  if (!point.offloads) net.here.run("ethtool -K snp0 tso off gso off tx off >/dev/null");
  AfPacketOptions options;
  options.qdisc_bypass = point.qdisc_bypass;
  End here(net.here, "snp0", options, kFlow);
  End there(net.there, "snp1", options, mirrored(kFlow));
  test::TcpFrame frame;
  frame.source = kFlow.local;
  frame.destination = kFlow.remote;
  frame.source_mac = {2, 0, 0, 0, 9, 1};
  frame.destination_mac = {2, 0, 0, 0, 9, 2};
  frame.payload.resize(point.frame_bytes - 54);
  const test::FrameToSend outgoing(frame, here.device->caps(), point.gso_size);
  std::vector<RxFrame> burst(64);

  Clock::duration sending{}, receiving{};
  std::uint64_t sent = 0, received = 0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    const auto start = Clock::now();
    for (std::uint32_t i = 0; i < point.batch; ++i)
      sent += here.queue->transmit(outgoing.frame()) ? 1u : 0u;
    here.queue->flush();
    const auto middle = Clock::now();
    for (std::size_t n = there.queue->receive(burst); n != 0; n = there.queue->receive(burst))
      received += n;
    receiving += Clock::now() - middle;
    sending += middle - start;
  }
  const auto per_frame = [](Clock::duration time, std::uint64_t frames) {
    return static_cast<double>(std::chrono::nanoseconds(time).count()) /
           static_cast<double>(std::max<std::uint64_t>(1, frames));
  };
  return {per_frame(sending, sent), per_frame(receiving, received), received};
}

}  // namespace
}  // namespace snp::device

int main(int argc, char** argv) {
  using snp::device::Point;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  const Point points[] = {
      {"118 bytes, 1 per flush", 118, 1},
      {"118 bytes, 8 per flush", 118, 8},
      {"118 bytes, 64 per flush", 118, 64},
      {"118 bytes, 64 per flush, bypass", 118, 64, 0, true},
      {"1514 bytes, 32 per flush", 1514, 32},
      {"9000 bytes GSO, 8 per flush", 9000, 8, 1448},
      {"62 KB GSO, 1 per flush", 62'000, 1, 1448},
      {"62 KB GSO, 8 per flush", 62'000, 8, 1448},
      {"62 KB GSO, 8 per flush, bypass", 62'000, 8, 1448, true},
      {"62 KB GSO, 8 per flush, no offloads", 62'000, 8, 1448, false, false},
  };
  std::puts("| frames | send ns | receive ns | frames/s | Gbit/s |");
  std::puts("|---|---|---|---|---|");
  for (const Point& point : points) {
    const auto cost = snp::device::measure(point, seconds);
    // The receiver of cut frames counts each piece.
    const double pieces = point.offloads || point.gso_size == 0 ? 1.0 : 43.0;
    const double total = cost.send_ns + cost.receive_ns * pieces;
    std::printf("| %s | %.0f | %.0f | %.0f k | %.1f |\n", point.name, cost.send_ns, cost.receive_ns,
                1e6 / total, static_cast<double>(point.frame_bytes) * 8 / total);
  }
  return 0;
}
