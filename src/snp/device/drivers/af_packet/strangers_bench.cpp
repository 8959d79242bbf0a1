// What steering costs packets that it does not concern while some other flow is offloaded: one byte
// there and back between two kernel sockets over veth, all in one thread, with nothing, with the tc
// programs, with the tap, and with both at one end. Every round trip passes the fence once, and the
// tap and the ingress program once. The layers take turns in slices of some milliseconds; the
// figures are the tenth percentile of the slices and its difference to nothing, which the rest of
// the machine disturbs least. Root. Prints a Markdown table.
//
//   strangers_bench [ROUNDS [LAYER]]      LAYER: only this one, for a profiler
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "snp/base/assert.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"

#include "test/support/netns.h"
#include "test/support/tcp_pair.h"

namespace snp::device {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kTripsOfASlice = 200;

struct Layer {
  const char* name;
  bool has_programs = false;
  std::uint32_t queues = 0;    // 0: no tap
  bool has_plain_tap = false;  // a packet socket with the shortest filter there is
};

constexpr Layer kLayers[] = {
    {"nothing"},
    {"tc programs", true},
    {"a packet socket that wants nothing", false, 0, true},
    {"tap", false, 1},
    {"both, one shard", true, 1},
    {"both, two shards", true, 2},
};

UniqueFd plain_tap(std::uint32_t ifindex) {
  sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program = {1, &nothing};
  UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  const int on = 1;
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(ifindex);
  SNP_ASSERT(::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 &&
             ::setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) == 0 &&
             ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

// A wire of its own, a stranger's connection over it, and one offloaded flow beside that.
struct World {
  test::VethPair net;
  test::TcpPair stranger{net};
  std::unique_ptr<steer::Steering> steering;
  std::unique_ptr<PacketDevice> device;
  std::vector<std::unique_ptr<PacketQueue>> queues;
  UniqueFd plain;
  std::vector<double> slices;  // nanoseconds a round trip

  explicit World(const Layer& layer) {
    const test::NetNamespace::Inside inside(net.here);
    const std::uint32_t ifindex = net.here.ifindex("snp0");
    steering = std::move(*steer::Steering::load(16));
    if (layer.has_programs) SNP_ASSERT(steering->attach(ifindex));
    AfPacketOptions options;
    options.queues = std::max(1u, layer.queues);
    device = std::move(*open_af_packet("snp0", options, *steering));
    for (std::uint32_t i = 0; i < layer.queues; ++i) {
      queues.push_back(std::move(*device->open_queue(i)));
      SNP_ASSERT(queues.back()->tap());
    }
    if (layer.has_plain_tap) plain = plain_tap(ifindex);
    FourTuple offloaded = stranger.flow;
    ++offloaded.remote.port;
    SNP_ASSERT(steering->set(offloaded, steer::FlowSteering::kActive, 0));
  }

  void run_slice() {
    const auto start = Clock::now();
    for (int i = 0; i < kTripsOfASlice; ++i)
      SNP_ASSERT(test::TcpPair::passes(stranger.here, stranger.there) &&
                 test::TcpPair::passes(stranger.there, stranger.here));
    const std::chrono::duration<double, std::nano> took = Clock::now() - start;
    slices.push_back(took.count() / kTripsOfASlice);
  }

  [[nodiscard]] double percentile(double share) {
    const auto nth = slices.begin() +
                     static_cast<std::ptrdiff_t>(share * static_cast<double>(slices.size() - 1));
    std::nth_element(slices.begin(), nth, slices.end());
    return *nth;
  }
};

}  // namespace
}  // namespace snp::device

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
  const int only = argc > 2 ? std::atoi(argv[2]) : -1;
  std::vector<const snp::device::Layer*> layers;
  std::vector<std::unique_ptr<snp::device::World>> worlds;
  for (const auto& layer : snp::device::kLayers) {
    if (only >= 0 && &layer != &snp::device::kLayers[only]) continue;
    layers.push_back(&layer);
    worlds.push_back(std::make_unique<snp::device::World>(layer));
  }
  for (int round = 0; round < rounds; ++round)
    for (const auto& world : worlds)
      world->run_slice();
  const double base = worlds.front()->percentile(0.1);
  std::puts("| at one end | ns a round trip | more | % |");
  std::puts("|---|---|---|---|");
  for (std::size_t i = 0; i < worlds.size(); ++i) {
    const double ns = worlds[i]->percentile(0.1);
    std::printf("| %s | %.0f | %.0f | %.1f |\n", layers[i]->name, ns, ns - base,
                100 * (ns - base) / base);
  }
  return 0;
}
