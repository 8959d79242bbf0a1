// Steering on real devices, in namespaces of the test: attaching as a polite guest, flows, the
// fence.
#include <array>
#include <string>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include "snp/base/unique_fd.h"
#include "snp/steer/steering.h"

#include "test/support/netns.h"
#include "test/support/tcp_pair.h"

namespace snp::steer {
namespace {

using test::NetNamespace;
using test::TcpPair;
using test::VethPair;

constexpr FourTuple kFlow = {{IpAddress::v4(10, 9, 0, 1), 80}, {IpAddress::v4(10, 9, 0, 2), 4711}};

std::unique_ptr<Steering> load(std::uint32_t max_flows = 64) {
  auto steering = Steering::load(max_flows);
  EXPECT_TRUE(steering) << steering.error().message;
  return std::move(*steering);
}

// Somebody else's filter on a device: drops everything.
Result<> attach_stranger(std::uint32_t ifindex, bpf_tc_attach_point point) {
  const std::array<bpf_insn, 2> drop = {
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_SHOT},
      bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "stranger", "GPL", drop.data(), drop.size(), nullptr));
  if (!program.is_open()) return fail_errno("stranger");
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = point;
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.prog_fd = program.get();
  options.handle = 1;
  options.priority = 100;
  const int error = bpf_tc_attach(&hook, &options);
  return error == 0 ? Result<>() : fail_errno("stranger", -error);
}

class SteeringTest : public testing::Test {
 protected:
  [[nodiscard]] std::string qdiscs() const { return net_.here.output_of("tc qdisc show dev snp0"); }
  [[nodiscard]] bool has_clsact() const { return qdiscs().find("clsact") != std::string::npos; }
  [[nodiscard]] std::string filters(const std::string& direction) const {
    return net_.here.output_of("tc filter show dev snp0 " + direction + " 2>&1");
  }
  [[nodiscard]] bool is_attached() const {
    const bool in = filters("ingress").find("snp_ingress") != std::string::npos;
    const bool out = filters("egress").find("snp_egress") != std::string::npos;
    EXPECT_EQ(in, out);
    return in;
  }

  VethPair net_;
  const NetNamespace::Inside inside_{net_.here};
  const std::uint32_t ifindex_ = net_.here.ifindex("snp0");
};

TEST_F(SteeringTest, ComesAndGoesWithoutATrace) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(steering->attach(ifindex_)) << "again is no error";
  EXPECT_TRUE(is_attached());
  ASSERT_TRUE(steering->detach(ifindex_));
  EXPECT_FALSE(has_clsact());
  EXPECT_FALSE(steering->detach(ifindex_)) << "no longer attached";
}

TEST_F(SteeringTest, TheOwnersEndUndoesEverything) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  steering.reset();
  EXPECT_FALSE(has_clsact());
}

TEST_F(SteeringTest, AnotherProcessMayEndWithoutUndoing) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  steering->disown();
  steering.reset();
  EXPECT_TRUE(is_attached());
  ASSERT_TRUE(Steering::cleanup(ifindex_));
  EXPECT_FALSE(has_clsact()) << "the qdisc was ours, which cleanup() must know";
}

TEST_F(SteeringTest, ACopyInAForkedProcessWorksAndLeavesThingsAlone) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  const pid_t child = ::fork();
  if (child == 0) {
    steering->disown();
    const bool is_set = steering->set(kFlow, FlowSteering::kHold, 0).has_value();
    steering.reset();
    ::_exit(is_set ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(is_attached());
  EXPECT_TRUE(steering->remove(kFlow)) << "the child's flow is in the map that both share";
}

TEST_F(SteeringTest, AClsactThatWasThereStays) {
  net_.here.run("tc qdisc add dev snp0 clsact");
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_TRUE(is_attached());
  steering->detach_all();
  EXPECT_FALSE(is_attached());
  EXPECT_TRUE(has_clsact());
}

TEST_F(SteeringTest, AClsactThatOthersUseNowStays) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(attach_stranger(ifindex_, BPF_TC_EGRESS));
  steering->detach_all();
  EXPECT_FALSE(is_attached());
  EXPECT_NE(filters("egress").find("stranger"), std::string::npos);
}

TEST_F(SteeringTest, OthersFiltersStillSeePackets) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(steering->set(kFlow, FlowSteering::kActive, 0));
  const TcpPair other(net_);
  EXPECT_TRUE(TcpPair::passes(other.there, other.here));
  ASSERT_TRUE(attach_stranger(ifindex_, BPF_TC_INGRESS));
  const char byte = 'x';
  ASSERT_EQ(::send(other.there.get(), &byte, 1, 0), 1);
  TcpPair::set_receive_timeout(other.here, 100);
  char received = 0;
  EXPECT_EQ(::recv(other.here.get(), &received, 1, 0), -1) << "the stranger drops everything";
}

TEST_F(SteeringTest, WhatAKilledProcessLeftIsReplaced) {
  auto killed = load();
  ASSERT_TRUE(killed->attach(ifindex_));
  killed->disown();
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_TRUE(is_attached());
  const std::string programs = filters("ingress");
  EXPECT_EQ(programs.find("handle"), programs.rfind("handle")) << programs;
  steering.reset();
  EXPECT_FALSE(has_clsact());
}

TEST_F(SteeringTest, CleanupOfACleanDeviceIsNoError) {
  EXPECT_TRUE(Steering::cleanup(ifindex_));
  net_.here.run("tc qdisc add dev snp0 clsact");
  ASSERT_TRUE(attach_stranger(ifindex_, BPF_TC_INGRESS));
  EXPECT_TRUE(Steering::cleanup(ifindex_));
  EXPECT_NE(filters("ingress").find("stranger"), std::string::npos);
}

TEST_F(SteeringTest, AnIngressQdiscInTheWayIsNamed) {
  net_.here.run("tc qdisc add dev snp0 ingress");
  auto steering = load();
  const auto attached = steering->attach(ifindex_);
  ASSERT_FALSE(attached);
  EXPECT_NE(attached.error().message.find("ingress qdisc"), std::string::npos)
      << attached.error().message;
  EXPECT_NE(qdiscs().find("ingress"), std::string::npos) << "it is not ours to remove";
}

TEST_F(SteeringTest, UnknownAndUnfitDevicesAreRefused) {
  auto steering = load();
  const auto unknown = steering->attach(4242);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::kNotFound);
  const auto loopback = steering->attach(net_.here.ifindex("lo"));
  ASSERT_FALSE(loopback);
  EXPECT_EQ(loopback.error().code, Errc::kUnsupported);
}

TEST_F(SteeringTest, AMissingPrivilegeIsNamed) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const auto steering = Steering::load(64);
    const bool is_named = !steering && steering.error().code == Errc::kDenied &&
                          steering.error().message.find("CAP_BPF") != std::string::npos;
    ::_exit(is_named ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(SteeringTest, FlowsComeAndGo) {
  auto steering = load(2);
  EXPECT_EQ(steering->remove(kFlow).error().code, Errc::kNotFound);
  EXPECT_EQ(steering->counters(kFlow).error().code, Errc::kNotFound);
  ASSERT_TRUE(steering->set(kFlow, FlowSteering::kShadow, 0));
  ASSERT_TRUE(steering->set(kFlow, FlowSteering::kActive, 1));
  ASSERT_TRUE(steering->set(mirrored(kFlow), FlowSteering::kActive, 1));
  FourTuple third = kFlow;
  ++third.local.port;
  const auto full = steering->set(third, FlowSteering::kShadow, 0);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::kFull);
  EXPECT_TRUE(steering->counters(kFlow));
  EXPECT_TRUE(steering->remove(kFlow));
  EXPECT_TRUE(steering->set(third, FlowSteering::kShadow, 0));
}

TEST_F(SteeringTest, AHeldFlowIsCutOffFromTheHostInBothDirectionsAndOthersAreNot) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  const TcpPair held(net_);
  const TcpPair other(net_);
  ASSERT_TRUE(TcpPair::passes(held.here, held.there));

  ASSERT_TRUE(steering->set(held.flow, FlowSteering::kShadow, 0));
  EXPECT_TRUE(TcpPair::passes(held.here, held.there));
  EXPECT_TRUE(TcpPair::passes(held.there, held.here));

  ASSERT_TRUE(steering->set(held.flow, FlowSteering::kHold, 0));
  EXPECT_TRUE(TcpPair::passes(other.here, other.there));
  EXPECT_TRUE(TcpPair::passes(other.there, other.here));
  ASSERT_EQ(::send(held.here.get(), "x", 1, 0), 1);
  ASSERT_EQ(::send(held.there.get(), "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(::recv(held.here.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(::recv(held.there.get(), &byte, 1, MSG_DONTWAIT), -1);
  const auto counters = steering->counters(held.flow);
  ASSERT_TRUE(counters);
  EXPECT_GE(counters->ingress_frames, 1u);
  EXPECT_GE(counters->ingress_bytes, 54u);
  EXPECT_GE(counters->fenced_frames, 1u);

  // Back in the host, retransmission repairs what was kept from it.
  ASSERT_TRUE(steering->remove(held.flow));
  EXPECT_EQ(::recv(held.here.get(), &byte, 1, 0), 1);
  EXPECT_EQ(::recv(held.there.get(), &byte, 1, 0), 1);
}

}  // namespace
}  // namespace snp::steer
