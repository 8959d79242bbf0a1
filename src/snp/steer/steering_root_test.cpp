// Steering on real devices, in namespaces of the test: attaching as a polite guest, flows, the
// fence.
#include <array>
#include <string>
#include <vector>

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

std::unique_ptr<Steering> load(Hook hook = Steering::best_hook()) {
  auto steering = Steering::load(64, hook);
  EXPECT_TRUE(steering) << steering.error().message;
  return std::move(*steering);
}

// Of linux/bpf.h in Linux 6.6.
constexpr std::array kTcxHooks = {static_cast<bpf_attach_type>(46),
                                  static_cast<bpf_attach_type>(47)};

// Somebody else's program: drops everything.
UniqueFd load_stranger() {
  const std::array<bpf_insn, 2> drop = {
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_SHOT},
      bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  return UniqueFd(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "stranger", "GPL", drop.data(), drop.size(), nullptr));
}

Result<> attach_stranger(std::uint32_t ifindex, bpf_tc_attach_point point) {
  const UniqueFd program = load_stranger();
  if (!program.is_open()) return fail_errno("stranger");
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
  (void)bpf_tc_hook_create(&hook);  // it may be there
  hook.attach_point = point;
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.prog_fd = program.get();
  options.handle = 1;
  options.priority = 100;
  const int error = bpf_tc_attach(&hook, &options);
  return error == 0 ? Result<>() : fail_errno("stranger", -error);
}

// The names of the programs at a device's tcx hooks, in the order of their calls.
std::vector<std::string> tcx_programs(std::uint32_t ifindex, bpf_attach_type type) {
  std::array<std::uint32_t, 16> ids{};
  auto count = static_cast<std::uint32_t>(ids.size());
  std::uint32_t flags = 0;
  if (bpf_prog_query(static_cast<int>(ifindex), type, 0, &flags, ids.data(), &count) != 0)
    return {};
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; ++i) {
    const UniqueFd program(bpf_prog_get_fd_by_id(ids[i]));
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    EXPECT_EQ(bpf_obj_get_info_by_fd(program.get(), &info, &length), 0);
    names.emplace_back(info.name);
  }
  return names;
}

class SteeringTest : public testing::Test {
 protected:
  [[nodiscard]] std::string qdiscs() const { return net_.here.output_of("tc qdisc show dev snp0"); }
  [[nodiscard]] bool has_clsact() const { return qdiscs().find("clsact") != std::string::npos; }
  [[nodiscard]] std::string filters(const std::string& direction) const {
    return net_.here.output_of("tc filter show dev snp0 " + direction + " 2>&1");
  }
  // How many programs of ours are there; the same number in both directions.
  [[nodiscard]] std::size_t attached() const {
    std::string in = filters("ingress"), out = filters("egress");
    for (const std::string& name : tcx_programs(ifindex_, kTcxHooks[0]))
      in += name + "\n";
    for (const std::string& name : tcx_programs(ifindex_, kTcxHooks[1]))
      out += name + "\n";
    EXPECT_EQ(count(in, "snp_ingress"), count(out, "snp_egress")) << in << out;
    return count(in, "snp_ingress");
  }
  // Lines with that word.
  static std::size_t count(const std::string& text, const std::string& word) {
    std::size_t found = 0;
    for (auto at = text.find(word); at != std::string::npos;
         at = text.find(word, text.find('\n', at)))
      ++found;
    return found;
  }

  VethPair net_;
  const NetNamespace::Inside inside_{net_.here};
  const std::uint32_t ifindex_ = net_.here.ifindex("snp0");
};

// On each kind of hook.
class SteeringHookTest : public SteeringTest, public testing::WithParamInterface<Hook> {
 protected:
  void SetUp() override {
    if (GetParam() == Hook::kTcx && Steering::best_hook() != Hook::kTcx)
      GTEST_SKIP() << "this kernel has no tcx";
  }
  [[nodiscard]] static std::unique_ptr<Steering> load() { return steer::load(GetParam()); }
  void expect_no_trace() const {
    EXPECT_EQ(attached(), 0u);
    EXPECT_FALSE(has_clsact());
  }
};
INSTANTIATE_TEST_SUITE_P(Hook, SteeringHookTest, testing::Values(Hook::kTcx, Hook::kClsact),
                         [](const auto& hook) {
                           return hook.param == Hook::kTcx ? "Tcx" : "Clsact";
                         });

TEST_P(SteeringHookTest, ComesAndGoesWithoutATrace) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(steering->attach(ifindex_)) << "again is no error";
  EXPECT_EQ(attached(), 1u);
  ASSERT_TRUE(steering->detach(ifindex_));
  expect_no_trace();
  EXPECT_FALSE(steering->detach(ifindex_)) << "no longer attached";
}

TEST_P(SteeringHookTest, TheOwnersEndUndoesEverything) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  steering.reset();
  expect_no_trace();
}

TEST_P(SteeringHookTest, AnotherProcessMayEndWithoutUndoing) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  steering->disown();
  steering.reset();
  EXPECT_EQ(attached(), 1u);
  ASSERT_TRUE(Steering::cleanup(ifindex_));
  expect_no_trace();  // of clsact: the qdisc was ours, which cleanup() must know
}

TEST_P(SteeringHookTest, ACopyInAForkedProcessWorksAndLeavesThingsAlone) {
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
  EXPECT_EQ(attached(), 1u);
  EXPECT_TRUE(steering->remove(kFlow)) << "the child's flow is in the map that both share";
}

TEST_F(SteeringTest, AClsactThatWasThereStays) {
  net_.here.run("tc qdisc add dev snp0 clsact");
  auto steering = load(Hook::kClsact);
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_EQ(attached(), 1u);
  steering->detach_all();
  EXPECT_EQ(attached(), 0u);
  EXPECT_TRUE(has_clsact());
}

TEST_F(SteeringTest, AClsactThatOthersUseNowStays) {
  auto steering = load(Hook::kClsact);
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(attach_stranger(ifindex_, BPF_TC_EGRESS));
  steering->detach_all();
  EXPECT_EQ(attached(), 0u);
  EXPECT_NE(filters("egress").find("stranger"), std::string::npos);
}

TEST_P(SteeringHookTest, OthersFiltersStillSeePackets) {
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

TEST_P(SteeringHookTest, WhatAKilledProcessLeftIsReplaced) {
  auto killed = load();
  ASSERT_TRUE(killed->attach(ifindex_));
  killed->disown();
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_EQ(attached(), 1u);
  steering.reset();
  expect_no_trace();
}

TEST_P(SteeringHookTest, RestsWhereThatDisturbsNobody) {
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  ASSERT_TRUE(steering->rest(ifindex_));
  EXPECT_EQ(attached(), GetParam() == Hook::kTcx ? 0u : 1u);
  ASSERT_TRUE(steering->rest(ifindex_)) << "again is no error";
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_EQ(attached(), 1u);
  steering.reset();
  expect_no_trace();
}

TEST_P(SteeringHookTest, WhatTheOtherHookHasOfAKilledProcessIsReplaced) {
  auto killed = steer::load(GetParam() == Hook::kTcx ? Hook::kClsact : Hook::kTcx);
  ASSERT_TRUE(killed->attach(ifindex_));
  killed->disown();
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_EQ(attached(), 1u);
  steering.reset();
  expect_no_trace();
}

// A program that stands before ours could end the line.
TEST_F(SteeringTest, OursComesFirstAtTcxAndOthersStay) {
  if (Steering::best_hook() != Hook::kTcx) GTEST_SKIP() << "this kernel has no tcx";
  const UniqueFd stranger = load_stranger();
  ASSERT_EQ(bpf_prog_attach(stranger.get(), static_cast<int>(ifindex_), kTcxHooks[0], 0), 0);
  auto steering = load();
  ASSERT_TRUE(steering->attach(ifindex_));
  EXPECT_EQ(tcx_programs(ifindex_, kTcxHooks[0]),
            (std::vector<std::string>{"snp_ingress", "stranger"}));
  steering.reset();
  EXPECT_EQ(tcx_programs(ifindex_, kTcxHooks[0]), std::vector<std::string>{"stranger"});
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
  auto steering = load(Hook::kClsact);
  const auto attached = steering->attach(ifindex_);
  ASSERT_FALSE(attached);
  EXPECT_NE(attached.error().message.find("ingress qdisc"), std::string::npos)
      << attached.error().message;
  EXPECT_NE(qdiscs().find("ingress"), std::string::npos) << "it is not ours to remove";
}

TEST_P(SteeringHookTest, UnknownAndUnfitDevicesAreRefused) {
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
  auto steering = std::move(*Steering::load(2));
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

TEST_P(SteeringHookTest, AHeldFlowIsCutOffFromTheHostInBothDirectionsAndOthersAreNot) {
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
  EXPECT_GE(counters->taken_frames, 1u);
  EXPECT_GE(counters->taken_octets, 40u);
  EXPECT_GE(counters->fenced_frames, 1u);

  // Back in the host, retransmission repairs what was kept from it.
  ASSERT_TRUE(steering->remove(held.flow));
  EXPECT_EQ(::recv(held.here.get(), &byte, 1, 0), 1);
  EXPECT_EQ(::recv(held.there.get(), &byte, 1, 0), 1);
}

}  // namespace
}  // namespace snp::steer
