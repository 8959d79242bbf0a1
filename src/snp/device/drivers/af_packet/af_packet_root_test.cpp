// The driver against the kernel: what is steered, what comes back, what happens on bad days.
#include <fstream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>

#include <linux/bpf.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include "snp/device/drivers/af_packet/af_packet_device.h"

#include "test/support/device_frames.h"
#include "test/support/netns.h"
#include "test/support/tcp_pair.h"

namespace snp::device {
namespace {

using steer::FlowSteering;
using test::Bytes;
using test::collect;
using test::FrameToSend;
using test::is_readable;
using test::ReceivedFrame;
using test::TcpFrame;
using test::TcpPair;

class AfPacketTest : public testing::Test {
 protected:
  void SetUp() override {
    steering_ = std::move(*steer::Steering::load(16));
    ASSERT_TRUE(steering_->attach(net_.here.ifindex("snp0")));
  }
  void open(const AfPacketOptions& options = {}) {
    device_ = std::move(*open_af_packet("snp0", options, *steering_));
    for (std::uint32_t i = 0; i < options.queues; ++i)
      queues_.push_back(std::move(*device_->open_queue(i)));
    for (const auto& opened : queues_)
      ASSERT_TRUE(opened->tap());
  }
  PacketQueue& queue(std::size_t i = 0) { return *queues_[i]; }

  // The host forgets it when the device goes down.
  void restore_neighbour() {
    net_.here.run(std::string("ip neigh replace 10.9.0.2 lladdr ") + test::VethPair::kThereMac +
                  " dev snp0 nud permanent");
  }
  // A segment from here to there, as the pair's socket here would send it.
  TcpFrame segment(const TcpPair& pair, std::size_t payload) {
    TcpFrame frame;
    frame.source = pair.flow.local;
    frame.destination = pair.flow.remote;
    frame.source_mac = {2, 0, 0, 0, 9, 1};
    frame.destination_mac = {2, 0, 0, 0, 9, 2};
    frame.seq = TcpPair::sequence(pair.here, TCP_SEND_QUEUE);
    frame.ack = TcpPair::sequence(pair.here, TCP_RECV_QUEUE);
    frame.tcp_options = timestamps(pair.here);
    frame.payload = test::numbered_payload(payload, 7);
    return frame;
  }
  // RFC 7323 3.2: a segment without them would be dropped. The peer's PAWS takes any value that is
  // not before its last; the sockets' clocks run in milliseconds.
  static Bytes timestamps(const UniqueFd& sender) {
    std::uint32_t now = 0;
    socklen_t length = sizeof(now);
    SNP_ASSERT(::getsockopt(sender.get(), IPPROTO_TCP, TCP_TIMESTAMP, &now, &length) == 0);
    Bytes options = {1, 1, 8, 10};
    test::append32(options, now + 1000);
    test::append32(options, 0);
    return options;
  }
  static Bytes read(const UniqueFd& fd, std::size_t size) {
    Bytes bytes(size);
    std::size_t got = 0;
    while (got < size) {
      const ssize_t n = ::recv(fd.get(), bytes.data() + got, size - got, 0);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    bytes.resize(got);
    return bytes;
  }

  test::VethPair net_;
  const test::NetNamespace::Inside inside_{net_.here};
  std::unique_ptr<steer::Steering> steering_;
  std::unique_ptr<PacketDevice> device_;
  std::vector<std::unique_ptr<PacketQueue>> queues_;
};

class AfPacketFamilyTest : public AfPacketTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Family, AfPacketFamilyTest, testing::Bool(),
                         [](const auto& is_v6) { return is_v6.param ? "v6" : "v4"; });

TEST_P(AfPacketFamilyTest, TheKernelAcceptsWhatWeSend) {
  open();
  const TcpPair pair(net_, GetParam());
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  constexpr std::size_t kLarge = 50'000;
  const TcpFrame large = segment(pair, kLarge);
  TcpFrame small = segment(pair, 300);
  small.seq += kLarge;
  ASSERT_TRUE(queue().transmit(FrameToSend(large, device_->caps(), 1400, 999).frame()));
  ASSERT_TRUE(queue().transmit(FrameToSend(small, device_->caps()).frame()));
  queue().flush();
  Bytes expected = large.payload;
  test::append(expected, small.payload);
  EXPECT_EQ(read(pair.there, expected.size()), expected);
}

// Software segmentation and checksums by the kernel, verified by a device that does neither.
TEST_P(AfPacketFamilyTest, TheKernelAcceptsWhatWeSendThroughADeviceWithoutOffloads) {
  net_.here.run("ethtool -K snp0 tx off tso off gso off >/dev/null");
  net_.there.run("ethtool -K snp1 rx off gro off >/dev/null");
  open();
  const TcpPair pair(net_, GetParam());
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  const TcpFrame large = segment(pair, 50'000);
  ASSERT_TRUE(queue().transmit(FrameToSend(large, device_->caps(), 1400).frame()));
  queue().flush();
  EXPECT_EQ(read(pair.there, large.payload.size()), large.payload);
}

TEST_P(AfPacketFamilyTest, WeReceiveWhatTheKernelSends) {
  open();
  const TcpPair pair(net_, GetParam());
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  const Bytes data = test::numbered_payload(12'000, 3);  // within the initial window
  const std::uint32_t first = TcpPair::sequence(pair.there, TCP_SEND_QUEUE);
  ASSERT_EQ(::send(pair.there.get(), data.data(), data.size(), 0), ssize_t{12'000});
  const TcpFrame like = segment(pair, 0);
  Bytes received;
  while (received.size() < data.size()) {
    const auto frames = collect(queue(), 1);
    ASSERT_FALSE(frames.empty());
    for (const ReceivedFrame& frame : frames) {
      EXPECT_EQ(frame.checksum, Checksum::kValid);
      if (frame.seq(like) - first != received.size()) continue;  // a retransmission
      test::append(received, frame.payload(like));
    }
  }
  EXPECT_EQ(received, data);
}

TEST_P(AfPacketFamilyTest, OtherTrafficNeverReachesTheQueue) {
  open();
  const TcpPair steered(net_, GetParam());
  const TcpPair other(net_, GetParam());
  ASSERT_TRUE(steering_->set(steered.flow, FlowSteering::kActive, 0));
  EXPECT_TRUE(TcpPair::passes(other.there, other.here));
  EXPECT_TRUE(TcpPair::passes(other.here, other.there));
  EXPECT_FALSE(is_readable(queue(), 0));
  std::array<RxFrame, 4> out;
  EXPECT_EQ(queue().receive(out), 0u);
}

TEST_P(AfPacketFamilyTest, AShadowedFlowReachesHostAndQueue) {
  open();
  const TcpPair pair(net_, GetParam());
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kShadow, 0));
  EXPECT_TRUE(TcpPair::passes(pair.there, pair.here));
  EXPECT_GE(collect(queue(), 1).size(), 1u);
}

// Frames kept from the host reach it through reinject() as if they had just come: whatever their
// size, and without a retransmission by the peer.
TEST_P(AfPacketFamilyTest, ReinjectedFramesReachTheHost) {
  open();
  // Without tail loss probes the peer repeats nothing for at least 200 ms.
  net_.there.write_sysctl("ipv4/tcp_early_retrans", "0");
  bool had_retransmission = true;
  for (int attempt = 0; attempt < 30 && had_retransmission; ++attempt) {  // on a very slow machine
    const TcpPair pair(net_, GetParam());
    ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kHold, 0));
    const Bytes data = test::numbered_payload(12'000, 5);
    const TcpFrame like = segment(pair, 0);
    ASSERT_EQ(::send(pair.there.get(), data.data(), data.size(), 0), ssize_t{12'000});
    std::vector<ReceivedFrame> frames;
    for (std::size_t bytes = 0; bytes < data.size();) {
      const auto more = collect(queue(), 1);
      ASSERT_FALSE(more.empty());
      for (const ReceivedFrame& frame : more)
        bytes += frame.payload(like).size();
      frames.insert(frames.end(), more.begin(), more.end());
    }
    ASSERT_TRUE(steering_->remove(pair.flow));
    for (const ReceivedFrame& frame : frames)
      ASSERT_TRUE(queue().reinject({test::view(frame.bytes), frame.checksum, frame.gso_size}));
    EXPECT_EQ(read(pair.here, data.size()), data);
    had_retransmission = TcpPair::info(pair.there).tcpi_total_retrans != 0;
  }
  EXPECT_FALSE(had_retransmission);
}

// A forged frame comes with a finished checksum, which the host verifies.
TEST_P(AfPacketFamilyTest, TheHostVerifiesReinjectedFramesOfUnknownChecksum) {
  open();
  const TcpPair pair(net_, GetParam());
  TcpFrame frame = segment(pair, 100);
  std::swap(frame.source, frame.destination);
  std::swap(frame.source_mac, frame.destination_mac);
  std::swap(frame.seq, frame.ack);
  frame.tcp_options = timestamps(pair.there);
  Bytes bytes = test::make_frame(frame);
  bytes.back() ^= 1;
  ASSERT_TRUE(queue().reinject({test::view(bytes)}));
  TcpPair::set_receive_timeout(pair.here, 100);
  EXPECT_TRUE(read(pair.here, 100).empty());
  bytes.back() ^= 1;
  ASSERT_TRUE(queue().reinject({test::view(bytes)}));
  TcpPair::set_receive_timeout(pair.here, 30'000);
  EXPECT_EQ(read(pair.here, 100), frame.payload);
}

TEST_F(AfPacketTest, WhatIsNoTcpFrameIsNotReinjected) {
  open();
  const Bytes garbage(60, 0x55);
  EXPECT_FALSE(queue().reinject({test::view(garbage)}));
  EXPECT_FALSE(queue().reinject({}));
}

TEST_F(AfPacketTest, EachShardHasItsFlows) {
  AfPacketOptions options;
  options.queues = 3;
  open(options);
  // Leaving and joining the group anew must not shuffle its members.
  net_.here.run("ip link set snp0 down && ip link set snp0 up");
  restore_neighbour();
  const TcpPair pairs[] = {TcpPair(net_), TcpPair(net_), TcpPair(net_)};
  for (std::uint32_t shard = 0; shard < 3; ++shard) {
    ASSERT_TRUE(steering_->set(pairs[shard].flow, FlowSteering::kActive, shard));
    ASSERT_EQ(::send(pairs[shard].there.get(), "x", 1, 0), 1);
  }
  for (std::uint32_t shard = 0; shard < 3; ++shard) {
    const auto frames = collect(queue(shard), 1);
    ASSERT_FALSE(frames.empty()) << shard;
    const TcpFrame like = segment(pairs[shard], 0);
    for (const ReceivedFrame& frame : frames) {
      const std::size_t port = test::tcp_offset(like) + 2;
      EXPECT_EQ(frame.bytes[port] << 8 | frame.bytes[port + 1], pairs[shard].flow.local.port);
    }
  }
}

std::uint64_t runs_of(int program_fd) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  SNP_ASSERT(::bpf_obj_get_info_by_fd(program_fd, &info, &size) == 0);
  return info.run_cnt;
}

// A UDP socket with a port of its own.
struct Datagrams {
  UniqueFd fd;
  sockaddr_in name{};

  Datagrams(const test::NetNamespace& netns, std::uint32_t address) {
    const test::NetNamespace::Inside inside(netns);
    fd.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(address);
    socklen_t size = sizeof(name);
    SNP_ASSERT(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), size) == 0);
    SNP_ASSERT(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
    TcpPair::set_receive_timeout(fd, 5'000);
  }
  void send_to(const Datagrams& to, int count) const {
    const auto* address = reinterpret_cast<const sockaddr*>(&to.name);
    for (char byte = 'x'; count > 0; --count) {
      ASSERT_EQ(::sendto(fd.get(), &byte, 1, 0, address, sizeof(to.name)), 1);
      ASSERT_EQ(::recv(to.fd.get(), &byte, 1, 0), 1);
    }
  }
};

// Whoever taps pays for what the device sends, too, unless the kernel is told not to show it; a
// group can say so since Linux 6.10.
TEST_F(AfPacketTest, WhatTheDeviceSendsIsNotLookedAt) {
  const UniqueFd counting(::bpf_enable_stats(BPF_STATS_RUN_TIME));
  ASSERT_TRUE(counting.is_open());
  const Datagrams here(net_.here, 0x0a090001);
  const Datagrams there(net_.there, 0x0a090002);
  for (const std::uint32_t queues : {1u, 2u}) {
    SCOPED_TRACE(queues);
    AfPacketOptions options;
    options.queues = queues;
    queues_.clear();
    open(options);
    const int asked_first = queues == 1 ? steering_->socket_filter_fd() : steering_->fanout_fd();
    const std::uint64_t before = runs_of(asked_first);
    here.send_to(there, 20);
    EXPECT_EQ(runs_of(asked_first), before) << "frames that the device sends";
    there.send_to(here, 20);
    EXPECT_EQ(runs_of(asked_first), before + 20) << "frames that it receives";
  }
}

// The packet sockets that are hooked into the receive path: the R column of /proc/net/packet.
struct Hooks {
  int hooked = 0;
  int all = 0;
};

Hooks count_hooks() {
  std::ifstream file("/proc/thread-self/net/packet");
  std::string line;
  Hooks hooks;
  for (std::getline(file, line); std::getline(file, line);) {
    std::istringstream fields(line);
    std::string socket, references, type, protocol, device, is_running;
    fields >> socket >> references >> type >> protocol >> device >> is_running;
    ++hooks.all;
    if (is_running == "1") ++hooks.hooked;
  }
  return hooks;
}

// Untapping as the engine does it, with the test in the place of the shard.
void untap(PacketQueue& queue) {
  const auto fd = queue.prepare_untap();
  ASSERT_TRUE(fd) << fd.error().message;
  queue.untap();
  EXPECT_EQ(queue.wait_fd(), *fd);
  queue.finish_untap();
}

TEST_F(AfPacketTest, AQueueIsHookedOnlyWhileItIsTapped) {
  for (const std::uint32_t queues : {1u, 3u}) {
    SCOPED_TRACE(queues);
    AfPacketOptions options;
    options.queues = queues;
    options.rx_slots = 64;
    device_ = std::move(*open_af_packet("snp0", options, *steering_));
    for (std::uint32_t i = 0; i < queues; ++i)
      queues_.push_back(std::move(*device_->open_queue(i)));
    const int sockets = count_hooks().all;
    const TcpPair pair(net_);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(count_hooks().hooked, 0);
      for (const auto& each : queues_)
        ASSERT_TRUE(each->tap());
      EXPECT_EQ(count_hooks().hooked, static_cast<int>(queues));
      // Each shard gets its own in every round: the group is made anew.
      for (std::uint32_t shard = 0; shard < queues; ++shard) {
        ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kShadow, shard));
        EXPECT_TRUE(TcpPair::passes(pair.there, pair.here));
        EXPECT_GE(collect(queue(shard), 1).size(), 1u) << shard;
      }
      ASSERT_TRUE(steering_->remove(pair.flow));
      for (const auto& each : queues_)
        untap(*each);
      EXPECT_EQ(count_hooks().all, sockets) << "the old ends are closed";
    }
    EXPECT_GE(queue().stats().rx_frames, 3u) << "of all rounds";
    queues_.clear();
  }
}

TEST_F(AfPacketTest, ATapOnARemovedDeviceIsRefused) {
  AfPacketOptions options;
  device_ = std::move(*open_af_packet("snp0", options, *steering_));
  queues_.push_back(std::move(*device_->open_queue(0)));
  net_.here.run("ip link del snp0");
  EXPECT_FALSE(queue().tap());
  EXPECT_FALSE(queue().prepare_untap());
}

TEST_F(AfPacketTest, AFullRingDropsCountsAndRecovers) {
  AfPacketOptions options;
  options.rx_slots = 64;
  open(options);
  const TcpPair pair(net_);
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  auto other_steering = [this] {
    const test::NetNamespace::Inside inside(net_.there);
    return std::move(*steer::Steering::load(4));
  }();
  const test::NetNamespace::Inside inside(net_.there);
  auto sender_device = std::move(*open_af_packet("snp1", {}, *other_steering));
  auto sender = std::move(*sender_device->open_queue(0));
  TcpFrame frame = segment(pair, 10);
  std::swap(frame.source, frame.destination);
  std::swap(frame.source_mac, frame.destination_mac);
  for (std::uint32_t round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < 200; ++i) {
      frame.seq = i;
      ASSERT_TRUE(sender->transmit(FrameToSend(frame, sender_device->caps()).frame()));
    }
    sender->flush();
    // All of them have come before the first is taken, or there would be room for more.
    for (int wait = 0; wait < 6000 && queue().stats().rx_dropped < 136u * (round + 1); ++wait)
      ::usleep(10'000);
    const auto frames = collect(queue(), 200, 16, 50);
    ASSERT_EQ(frames.size(), 64u) << round;
    for (std::uint32_t i = 0; i < 64; ++i)
      EXPECT_EQ(frames[i].seq(frame), i);
    EXPECT_EQ(queue().stats().rx_dropped, 136u * (round + 1));
  }
}

TEST_F(AfPacketTest, ADeviceThatGoesDownLeavesTheQueueQuietAndComesBack) {
  open();
  const TcpPair pair(net_);
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  const TcpFrame frame = segment(pair, 10);
  net_.here.run("ip link set snp0 down");
  std::array<RxFrame, 4> out;
  int wakes = 0;
  while (is_readable(queue(), 0) && ++wakes < 1000)
    EXPECT_EQ(queue().receive(out), 0u);
  EXPECT_LT(wakes, 1000) << "a shard would spin";
  for (int i = 0; i < 3000; ++i)  // more than the ring holds
    (void)queue().transmit(FrameToSend(frame, device_->caps()).frame());
  queue().flush();
  EXPECT_FALSE(queue().transmit(FrameToSend(segment(pair, 9000), device_->caps(), 1400).frame()));
  EXPECT_GT(queue().stats().tx_dropped, 0u);

  net_.here.run("ip link set snp0 up");
  restore_neighbour();
  queue().flush();
  EXPECT_EQ(read(pair.there, frame.payload.size()), frame.payload);
  ASSERT_EQ(::send(pair.there.get(), "x", 1, 0), 1);
  EXPECT_GE(collect(queue(), 1).size(), 1u);
}

TEST_F(AfPacketTest, ADeviceThatIsRemovedLeavesTheQueueQuiet) {
  open();
  const TcpPair pair(net_);
  ASSERT_TRUE(steering_->set(pair.flow, FlowSteering::kActive, 0));
  const TcpFrame frame = segment(pair, 10);
  net_.here.run("ip link del snp0");
  std::array<RxFrame, 4> out;
  int wakes = 0;
  while (is_readable(queue(), 0) && ++wakes < 1000)
    EXPECT_EQ(queue().receive(out), 0u);
  EXPECT_LT(wakes, 1000) << "a shard would spin";
  (void)queue().transmit(FrameToSend(frame, device_->caps()).frame());
  queue().flush();
  EXPECT_FALSE(queue().reinject({test::view(test::make_frame(frame))}));
}

TEST_F(AfPacketTest, UnknownDevicesAndQueuesAreRefusedByName) {
  const auto unknown = open_af_packet("nosuch0", {}, *steering_);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::kNotFound);
  EXPECT_NE(unknown.error().message.find("nosuch0"), std::string::npos);
  open();
  EXPECT_FALSE(device_->open_queue(0)) << "open already";
  EXPECT_FALSE(device_->open_queue(1)) << "there is only one";
  AfPacketOptions odd;
  odd.rx_slots = 100;
  const auto device = open_af_packet("snp0", odd, *steering_);
  ASSERT_TRUE(device);
  EXPECT_EQ((*device)->open_queue(0).error().code, Errc::kInvalid);
}

TEST_F(AfPacketTest, AMissingPrivilegeIsNamed) {
  const auto device = open_af_packet("snp0", {}, *steering_);
  ASSERT_TRUE(device);
  const pid_t child = ::fork();
  if (child == 0) {
    steering_->disown();
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const auto queue = (*device)->open_queue(0);
    const bool is_named = !queue && queue.error().code == Errc::kDenied &&
                          queue.error().message.find("CAP_NET_RAW") != std::string::npos;
    ::_exit(is_named ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace snp::device
