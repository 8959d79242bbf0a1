// The steering programs themselves, in the kernel: a frame in, a verdict out.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include "snp/rss/hash_type.h"
#include "snp/rss/toeplitz.h"
#include "snp/wire/frame.h"

#include "bpf/shared/rss_hash.h"
#include "bpf/shared/steer_map.h"
#include "steer.skel.h"
#include "test/support/rss_vectors.h"
#include "test/support/tcp_frame.h"

namespace snp::steer {
namespace {

using test::Bytes;
using test::TcpFrame;

constexpr auto kUnspec = static_cast<std::uint32_t>(TC_ACT_UNSPEC);
constexpr std::uint32_t kShot = TC_ACT_SHOT;
constexpr std::uint32_t kWhole = 0xffffffff;
constexpr std::uint32_t kShard = 3;
constexpr std::uint32_t kAccount = 5;

const FourTuple kFlowV4 = {{IpAddress::v4(10, 9, 0, 1), 80}, {IpAddress::v4(10, 9, 0, 2), 4711}};
const FourTuple kFlowV6 = {{{{0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 443},
                           {{{0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}}, 60001}};

// An extension header of `units` * 8 bytes, then `next`: options of padding, or a routing header at
// its last stop.
Bytes extension(std::uint8_t next, std::size_t units) {
  Bytes header(units * 8);
  header[0] = next;
  header[1] = static_cast<std::uint8_t>(units - 1);
  header[2] = 0;
  return header;
}

// Frames to this host and from it.
TcpFrame incoming(const FourTuple& flow) {
  TcpFrame frame;
  frame.source = flow.remote;
  frame.destination = flow.local;
  return frame;
}
TcpFrame outgoing(const FourTuple& flow) {
  return incoming(mirrored(flow));
}

// What the programs remember is each CPU's own.
class PinnedThread {
 public:
  PinnedThread() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  PinnedThread(const PinnedThread&) = delete;
  PinnedThread& operator=(const PinnedThread&) = delete;
  ~PinnedThread() { sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_{};
};

class ProgramsTest : public testing::Test {
 protected:
  void SetUp() override {
    programs_ = steer_bpf::open_and_load();
    ASSERT_NE(programs_, nullptr) << "cannot load the programs (root is needed)";
  }
  void TearDown() override { steer_bpf::destroy(programs_); }

  static snp_flow_key key_of(const FourTuple& flow) {
    snp_flow_key key{};
    std::memcpy(key.local, flow.local.address.bytes.data(), 16);
    std::memcpy(key.remote, flow.remote.address.bytes.data(), 16);
    key.local_port = __builtin_bswap16(flow.local.port);
    key.remote_port = __builtin_bswap16(flow.remote.port);
    return key;
  }
  [[nodiscard]] int map() const { return bpf_map__fd(programs_->maps.snp_flows); }
  void steer(const FourTuple& flow, snp_flow_state state, std::uint32_t shard = kShard) const {
    const snp_flow_key key = key_of(flow);
    const snp_flow_value value = {state, shard, kAccount, 0};
    ASSERT_EQ(bpf_map_update_elem(map(), &key, &value, BPF_ANY), 0);
    programs_->bss->snp_flow_count = 1;
    programs_->bss->snp_flow_buckets[snp_flow_bucket(&key)] = 1;
    ++programs_->bss->snp_flow_generation;
  }
  [[nodiscard]] snp_account account() const {
    snp_account account{};
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(programs_->maps.snp_accounts), &kAccount, &account),
              0);
    return account;
  }

  struct Outcome {
    std::uint32_t verdict = 0;
    std::uint32_t mark = 0;
  };
  static Outcome run(const bpf_program* program, const Bytes& frame, std::uint32_t mark = 0) {
    __sk_buff context_in{};
    __sk_buff context_out{};
    context_in.mark = mark;
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.ctx_in = &context_in;
    options.ctx_size_in = sizeof(context_in);
    options.ctx_out = &context_out;
    options.ctx_size_out = sizeof(context_out);
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0)
        << ::strerrordesc_np(errno);
    return {options.retval, context_out.mark};
  }
  [[nodiscard]] std::uint32_t ingress(const TcpFrame& frame) const {
    return run(programs_->progs.snp_ingress, test::make_frame(frame)).verdict;
  }
  [[nodiscard]] std::uint32_t egress(const TcpFrame& frame, std::uint32_t mark = 0) const {
    return run(programs_->progs.snp_egress, test::make_frame(frame), mark).verdict;
  }
  // The test run takes an Ethernet header off before a socket program sees the frame; a packet
  // socket's filter sees one, a fanout program does not.
  static Bytes behind_ethernet(const Bytes& frame) {
    Bytes twice(frame.begin(), frame.begin() + 14);
    test::append(twice, frame);
    return twice;
  }
  [[nodiscard]] std::uint32_t socket_filter(const TcpFrame& frame, std::uint32_t mark = 0) const {
    return run(programs_->progs.snp_socket, behind_ethernet(test::make_frame(frame)), mark).verdict;
  }
  // What the socket filter says, then what the ingress program does, as the kernel asks them.
  enum class Way { kToHost, kToShard, kToBoth, kToNobody };
  [[nodiscard]] Way way_of(const TcpFrame& frame, std::uint32_t mark = 0) const {
    const bool is_copied = socket_filter(frame, mark) != 0;
    const Outcome outcome = run(programs_->progs.snp_ingress, test::make_frame(frame), mark);
    EXPECT_EQ(outcome.mark, mark == SNP_MARK_GIVEN ? 0 : mark) << "the host must not see ours";
    if (outcome.verdict == kUnspec) return is_copied ? Way::kToBoth : Way::kToHost;
    return is_copied ? Way::kToShard : Way::kToNobody;
  }
  void set_next(std::uint64_t next) const {
    snp_account changed = account();
    changed.next = next;
    EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(programs_->maps.snp_accounts), &kAccount, &changed,
                                  BPF_ANY),
              0);
  }
  static TcpFrame text(const FourTuple& flow, std::uint32_t seq, std::size_t length) {
    TcpFrame frame = incoming(flow);
    frame.seq = seq;
    frame.payload.assign(length, 'x');
    return frame;
  }
  [[nodiscard]] std::uint32_t fanout(const TcpFrame& frame) const {
    return run(programs_->progs.snp_fanout, test::make_frame(frame)).verdict;
  }

  steer_bpf* programs_ = nullptr;
};

class ProgramsFamilyTest : public ProgramsTest, public testing::WithParamInterface<FourTuple> {};
INSTANTIATE_TEST_SUITE_P(Family, ProgramsFamilyTest, testing::Values(kFlowV4, kFlowV6),
                         [](const auto& family) { return family.param == kFlowV4 ? "v4" : "v6"; });

TEST_P(ProgramsFamilyTest, StrangersPassEverything) {
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), 0u);
  EXPECT_EQ(fanout(incoming(GetParam())), 0u);
}

TEST_P(ProgramsFamilyTest, ShadowGivesCopiesAndLeavesTheHostAlone) {
  steer(GetParam(), SNP_FLOW_SHADOW);
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), kWhole);
  EXPECT_EQ(fanout(incoming(GetParam())), kShard);
  EXPECT_EQ(account().taken_frames, 0u);
}

TEST_P(ProgramsFamilyTest, HoldAndActiveKeepFramesFromTheHostAndCountThem) {
  for (const snp_flow_state state : {SNP_FLOW_HOLD, SNP_FLOW_ACTIVE}) {
    const snp_account before = account();
    steer(GetParam(), state);
    TcpFrame frame = incoming(GetParam());
    frame.payload.assign(100, 'x');
    EXPECT_EQ(ingress(frame), kShot);
    EXPECT_EQ(ingress(frame), kShot);
    EXPECT_EQ(socket_filter(frame), kWhole);
    EXPECT_EQ(fanout(frame), kShard);
    const snp_account counted = account();
    EXPECT_EQ(counted.taken_frames - before.taken_frames, 2u);
    EXPECT_EQ(counted.taken_segments - before.taken_segments, 2u);
    EXPECT_EQ(counted.taken_octets - before.taken_octets, 2 * (test::make_frame(frame).size() - 14))
        << "IP's, without the Ethernet header";
    EXPECT_EQ(counted.fenced_frames, 0u);
  }
}

TEST_P(ProgramsFamilyTest, TheFenceStopsTheHostButNotTheEngine) {
  for (const snp_flow_state state : {SNP_FLOW_HOLD, SNP_FLOW_ACTIVE}) {
    const snp_account before = account();
    steer(GetParam(), state);
    EXPECT_EQ(egress(outgoing(GetParam())), kShot);
    EXPECT_EQ(egress(outgoing(GetParam()), 7), kShot) << "anybody else's mark";
    EXPECT_EQ(egress(outgoing(GetParam()), SNP_MARK_ENGINE), kUnspec);
    const snp_account counted = account();
    EXPECT_EQ(counted.fenced_frames - before.fenced_frames, 2u);
    EXPECT_EQ(counted.fenced_segments - before.fenced_segments, 2u);
    EXPECT_EQ(counted.fenced_octets - before.fenced_octets,
              2 * (test::make_frame(outgoing(GetParam())).size() - 14));
    EXPECT_EQ(counted.fenced_resets, before.fenced_resets);
    TcpFrame reset = outgoing(GetParam());
    reset.flags = TcpFlags::kRst | TcpFlags::kAck;
    EXPECT_EQ(egress(reset), kShot);
    EXPECT_EQ(account().fenced_resets - before.fenced_resets, 1u);
  }
}

// Coming home: the rebuilt socket may send before it may receive.
TEST_P(ProgramsFamilyTest, ReturnKeepsFramesFromTheHostAndLetsItSend) {
  steer(GetParam(), SNP_FLOW_RETURN);
  EXPECT_EQ(ingress(incoming(GetParam())), kShot);
  EXPECT_EQ(socket_filter(incoming(GetParam())), kWhole);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(account().fenced_frames, 0u);
}

TEST_P(ProgramsFamilyTest, DirectionMatters) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  EXPECT_EQ(ingress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(egress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(outgoing(GetParam())), 0u);
}

TEST_P(ProgramsFamilyTest, EveryPartOfTheTupleCounts) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  for (int part = 0; part < 4; ++part) {
    FourTuple other = GetParam();
    if (part == 0) ++other.local.port;
    if (part == 1) ++other.remote.port;
    if (part == 2) ++other.local.address.bytes[15];
    if (part == 3) ++other.remote.address.bytes[15];
    EXPECT_EQ(ingress(incoming(other)), kUnspec) << part;
    EXPECT_EQ(egress(outgoing(other)), kUnspec) << part;
    EXPECT_EQ(socket_filter(incoming(other)), 0u) << part;
  }
}

// SYN segments and resets of an offloaded connection are for the engine to judge (RFC 5961 3, 4).
TEST_P(ProgramsFamilyTest, FlagsDoNotMatter) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  for (const std::uint8_t flags : Bytes{0x02, 0x04, 0x11, 0x12, 0x14}) {
    TcpFrame frame = incoming(GetParam());
    frame.flags = flags;
    EXPECT_EQ(ingress(frame), kShot) << int{flags};
    EXPECT_EQ(socket_filter(frame), kWhole) << int{flags};
  }
}

TEST_P(ProgramsFamilyTest, FramesForOtherMachinesAreNotOurs) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(GetParam());
  frame.destination_mac = {2, 0, 0, 0, 0, 77};
  EXPECT_EQ(ingress(frame), kUnspec);
  EXPECT_EQ(socket_filter(frame), 0u);
}

TEST_P(ProgramsFamilyTest, TaggedFramesAreOfAnotherNetwork) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  Bytes frame = test::make_frame(incoming(GetParam()));
  const Bytes tag = {0x81, 0x00, 0x00, 0x05};
  frame.insert(frame.begin() + 12, tag.begin(), tag.end());
  EXPECT_EQ(run(programs_->progs.snp_ingress, frame).verdict, kUnspec);
  EXPECT_EQ(run(programs_->progs.snp_egress, frame).verdict, kUnspec);
}

TEST_P(ProgramsFamilyTest, ReinjectedFramesTurnRoundWithAnotherMark) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  const Outcome outcome =
      run(programs_->progs.snp_egress, test::make_frame(incoming(GetParam())), SNP_MARK_REINJECT);
  EXPECT_EQ(outcome.verdict, std::uint32_t{TC_ACT_REDIRECT});
  EXPECT_EQ(outcome.mark, SNP_MARK_GIVEN);
}

TEST_P(ProgramsFamilyTest, TheMarkOfGivenFramesEndsAtTheIngressProgramWhoeverHasTheFlow) {
  EXPECT_EQ(way_of(incoming(GetParam()), SNP_MARK_GIVEN), Way::kToHost) << "nobody steers it";
  EXPECT_EQ(way_of(incoming(GetParam()), 42), Way::kToHost);
  for (const snp_flow_state state : {SNP_FLOW_HOLD, SNP_FLOW_ACTIVE, SNP_FLOW_RETURN}) {
    steer(GetParam(), state);
    EXPECT_EQ(way_of(incoming(GetParam()), SNP_MARK_GIVEN), Way::kToShard) << "it is away again";
  }
}

// What came later goes by the shard until the host has all that came before.
TEST_P(ProgramsFamilyTest, NothingOvertakesWhatTheShardHasStillToGive) {
  const PinnedThread pinned;
  const auto on = [&](std::uint32_t seq, std::size_t length) {
    return text(GetParam(), seq, length);
  };
  constexpr std::uint32_t kNext = 0xfffffff0;  // it wraps
  set_next(SNP_NEXT_KNOWN | kNext);
  steer(GetParam(), SNP_FLOW_FOLLOW);
  EXPECT_EQ(way_of(on(kNext + 100, 50)), Way::kToShard) << "the shard has 100 bytes before";
  EXPECT_EQ(way_of(on(kNext + 150, 50)), Way::kToShard);
  EXPECT_EQ(way_of(on(kNext - 1, 0)), Way::kToHost) << "old: nothing to wait for";
  EXPECT_EQ(way_of(on(kNext, 100), SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(on(kNext + 200, 50)), Way::kToShard) << "the two are still on their way";
  EXPECT_EQ(way_of(on(kNext + 100, 50), SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(on(kNext + 150, 50), SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(on(kNext + 200, 50), SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(on(kNext + 250, 50)), Way::kToHost) << "the host has caught up";
  EXPECT_EQ(way_of(on(kNext + 300, 0)), Way::kToHost);
  TcpFrame last = on(kNext + 300, 10);
  last.flags = TcpFlags::kAck | TcpFlags::kFin;
  EXPECT_EQ(way_of(last), Way::kToHost);
  EXPECT_EQ(way_of(on(kNext + 311, 0)), Way::kToHost) << "a FIN has a number";
  EXPECT_EQ(way_of(on(kNext + 312, 0)), Way::kToShard);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec) << "the host speaks as it likes";
}

TEST_P(ProgramsFamilyTest, WhenItIsNotKnownWhatIsNextAllGoesByTheShardUntilTheFirstIsGiven) {
  const PinnedThread pinned;
  set_next(SNP_NEXT_UNKNOWN);
  steer(GetParam(), SNP_FLOW_FOLLOW);
  EXPECT_EQ(way_of(text(GetParam(), 5000, 10)), Way::kToShard);
  EXPECT_EQ(way_of(text(GetParam(), 5000, 10), SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(text(GetParam(), 5010, 10)), Way::kToHost);
}

TEST_P(ProgramsFamilyTest, AFlowThatIsFetchedBackHasNoFrameTwiceAndNoneNowhere) {
  const PinnedThread pinned;
  set_next(SNP_NEXT_KNOWN | 5000);
  steer(GetParam(), SNP_FLOW_FOLLOW);
  const TcpFrame frame = text(GetParam(), 5000, 10);
  ASSERT_EQ(socket_filter(frame), 0u) << "it is the host's";
  set_next(SNP_NEXT_NOTHING);
  steer(GetParam(), SNP_FLOW_HOLD);  // between the two programs
  EXPECT_EQ(ingress(frame), kUnspec);
  EXPECT_EQ(way_of(frame), Way::kToShard) << "the next is the shard's";
  steer(GetParam(), SNP_FLOW_FOLLOW);
  EXPECT_EQ(way_of(frame, SNP_MARK_GIVEN), Way::kToHost);
  EXPECT_EQ(way_of(text(GetParam(), 5010, 10)), Way::kToShard) << "nothing goes straight any more";
}

TEST_P(ProgramsFamilyTest, OtherMarksArePreserved) {
  EXPECT_EQ(run(programs_->progs.snp_egress, test::make_frame(outgoing(GetParam())), 42).mark, 42u);
}

TEST_P(ProgramsFamilyTest, WhatIsCountedNowhereIsNotLookedUp) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  programs_->bss->snp_flow_count = 0;
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), 0u);
  programs_->bss->snp_flow_count = 1;
  EXPECT_EQ(ingress(incoming(GetParam())), kShot);
  const snp_flow_key key = key_of(GetParam());
  programs_->bss->snp_flow_buckets[snp_flow_bucket(&key)] = 0;
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), 0u);
}

// Two flows that differ, but not in their bucket.
TEST_P(ProgramsFamilyTest, FlowsOfOneBucketAreToldApart) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  FourTuple other = GetParam();
  std::swap(other.local.port, other.remote.port);
  EXPECT_EQ(ingress(incoming(other)), kUnspec);
  EXPECT_EQ(egress(outgoing(other)), kUnspec);
}

TEST_P(ProgramsFamilyTest, FlowsOfOneBucketAreSteeredEachItsWay) {
  FourTuple other = GetParam();
  std::swap(other.local.port, other.remote.port);
  steer(GetParam(), SNP_FLOW_ACTIVE);
  steer(other, SNP_FLOW_SHADOW);
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(ingress(incoming(GetParam())), kShot);
    EXPECT_EQ(ingress(incoming(other)), kUnspec);
    EXPECT_EQ(socket_filter(incoming(other)), kWhole);
  }
}

TEST_P(ProgramsFamilyTest, WhatACpuRemembersOfAFlowEndsWithTheGeneration) {
  const PinnedThread pinned;
  steer(GetParam(), SNP_FLOW_ACTIVE);
  EXPECT_EQ(ingress(incoming(GetParam())), kShot);
  const snp_flow_key key = key_of(GetParam());
  ASSERT_EQ(bpf_map_delete_elem(map(), &key), 0);
  EXPECT_EQ(ingress(incoming(GetParam())), kShot) << "it was looked up again";
  ++programs_->bss->snp_flow_generation;
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(egress(outgoing(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), 0u);
  steer(GetParam(), SNP_FLOW_SHADOW);
  EXPECT_EQ(ingress(incoming(GetParam())), kUnspec);
  EXPECT_EQ(socket_filter(incoming(GetParam())), kWhole);
}

TEST_F(ProgramsTest, Ipv4OptionsAreSteppedOver) {
  steer(kFlowV4, SNP_FLOW_ACTIVE);
  for (const std::size_t words : {1u, 4u, 10u}) {
    TcpFrame frame = incoming(kFlowV4);
    frame.ip_options.assign(words * 4, 1);  // no operation
    EXPECT_EQ(ingress(frame), kShot) << words;
    EXPECT_EQ(socket_filter(frame), kWhole) << words;
    EXPECT_EQ(fanout(frame), kShard) << words;
  }
}

TEST_F(ProgramsTest, FragmentsGoToTheHost) {
  steer(kFlowV4, SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(kFlowV4);
  frame.fragment = 0x4000;  // DF alone: a whole packet
  EXPECT_EQ(ingress(frame), kShot);
  for (const std::uint16_t fragment : std::vector<std::uint16_t>{0x2000, 0x0001, 0x2010}) {
    frame.fragment = fragment;
    EXPECT_EQ(ingress(frame), kUnspec) << fragment;
    EXPECT_EQ(socket_filter(frame), fragment == 0x2000 ? kWhole : 0u) << fragment;
  }
}

TEST_F(ProgramsTest, Ipv6FragmentsGoToTheHost) {
  steer(kFlowV6, SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(kFlowV6);
  frame.first_extension = 44;
  // RFC 8200 4.5: next header, reserved, offset and M, identification.
  for (const std::uint16_t offset : std::vector<std::uint16_t>{0x0001, 0x0000, 0x0008, 0x0101}) {
    frame.extensions = extension(6, 1);
    frame.extensions[1] = 0xff;  // to be ignored
    frame.extensions[2] = static_cast<std::uint8_t>(offset >> 8);
    frame.extensions[3] = static_cast<std::uint8_t>(offset);
    EXPECT_EQ(ingress(frame), kUnspec) << offset;
    EXPECT_EQ(socket_filter(frame), offset < 8 ? kWhole : 0u) << offset;
    if (offset < 8) {
      EXPECT_EQ(fanout(frame), kShard);
    }
  }
}

TEST_F(ProgramsTest, Ipv6ExtensionHeadersAreSteppedOver) {
  steer(kFlowV6, SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(kFlowV6);
  frame.first_extension = 0;                         // hop-by-hop
  frame.extensions = extension(60, 1);               // then destination options
  test::append(frame.extensions, extension(43, 2));  // then routing
  test::append(frame.extensions, extension(6, 3));
  EXPECT_EQ(ingress(frame), kShot);
  EXPECT_EQ(socket_filter(frame), kWhole);
  EXPECT_EQ(fanout(frame), kShard);
  std::swap(frame.source, frame.destination);
  EXPECT_EQ(egress(frame), kShot);
}

TEST_F(ProgramsTest, TheChainOfExtensionHeadersIsBounded) {
  steer(kFlowV6, SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(kFlowV6);
  frame.first_extension = 60;
  const auto chain = [&frame](int headers) {
    frame.extensions.clear();
    for (int i = 1; i <= headers; ++i)
      test::append(frame.extensions, extension(i == headers ? 6 : 60, 1));
  };
  chain(8);
  EXPECT_EQ(ingress(frame), kShot);
  chain(9);
  EXPECT_EQ(ingress(frame), kUnspec);
}

TEST_F(ProgramsTest, OtherIpv6ChainsGoToTheHost) {
  steer(kFlowV6, SNP_FLOW_ACTIVE);
  TcpFrame frame = incoming(kFlowV6);
  frame.first_extension = 43;
  frame.extensions = extension(6, 1);
  frame.extensions[3] = 1;  // segments left: to be forwarded
  EXPECT_EQ(ingress(frame), kUnspec);
  frame.first_extension = 60;
  frame.extensions = extension(0, 1);  // hop-by-hop options not in the first place
  test::append(frame.extensions, extension(6, 1));
  EXPECT_EQ(ingress(frame), kUnspec);
  frame.extensions = extension(6, 1);
  for (const std::uint8_t header : Bytes{50 /* ESP */, 51 /* AH */, 59 /* none */}) {
    frame.first_extension = header;
    EXPECT_EQ(ingress(frame), kUnspec) << int{header};
    EXPECT_EQ(socket_filter(frame), 0u) << int{header};
  }
}

TEST_P(ProgramsFamilyTest, OtherProtocolsPass) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  Bytes frame = test::make_frame(incoming(GetParam()));
  frame[GetParam() == kFlowV4 ? 14 + 9 : 14 + 6] = 17;
  EXPECT_EQ(run(programs_->progs.snp_ingress, frame).verdict, kUnspec);
  EXPECT_EQ(run(programs_->progs.snp_socket, behind_ethernet(frame)).verdict, 0u);
}

TEST_P(ProgramsFamilyTest, CutFramesPass) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  const TcpFrame whole = incoming(GetParam());
  const Bytes frame = test::make_frame(whole);
  // The kernel's test run itself refuses less than an IP header behind the Ethernet header.
  const std::size_t ip_header = test::tcp_offset(whole) - 14;
  for (std::size_t length = ip_header; length < test::tcp_offset(whole) + 4; ++length) {
    const Bytes cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_EQ(run(programs_->progs.snp_socket, behind_ethernet(cut)).verdict, 0u) << length;
    if (length < test::tcp_offset(whole)) continue;
    EXPECT_EQ(run(programs_->progs.snp_ingress, cut).verdict, kUnspec) << length;
    EXPECT_EQ(run(programs_->progs.snp_egress, cut).verdict, kUnspec) << length;
  }
}

// Whatever single byte is damaged: before the ports it must take the frame out of the flow, unless
// the byte says nothing about whose packet it is; what follows must not matter.
TEST_P(ProgramsFamilyTest, DamageInTheAddressPartTakesAFrameOut) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  const TcpFrame whole = incoming(GetParam());
  const Bytes frame = test::make_frame(whole);
  const std::size_t addresses = GetParam() == kFlowV4 ? 14 + 12 : 14 + 8;
  for (std::size_t i = addresses; i < frame.size(); ++i) {
    Bytes damaged = frame;
    damaged[i] ^= 0x40;
    const bool is_named = i < test::tcp_offset(whole) + 4;
    EXPECT_EQ(run(programs_->progs.snp_ingress, damaged).verdict, is_named ? kUnspec : kShot) << i;
  }
}

TEST_F(ProgramsTest, Ipv6PacketsDoNotPoseAsIpv4) {
  steer(kFlowV4, SNP_FLOW_ACTIVE);
  Bytes frame = test::make_frame(incoming(kFlowV6));
  std::copy_n(kFlowV4.remote.address.bytes.begin(), 16, frame.begin() + 14 + 8);
  std::copy_n(kFlowV4.local.address.bytes.begin(), 16, frame.begin() + 14 + 24);
  test::put16(frame, 14 + 40, kFlowV4.remote.port);
  test::put16(frame, 14 + 42, kFlowV4.local.port);
  EXPECT_EQ(run(programs_->progs.snp_ingress, frame).verdict, kUnspec);
  EXPECT_EQ(run(programs_->progs.snp_socket, behind_ethernet(frame)).verdict, 0u);
}

// The programs and the engine's parser must agree whose frame it is: what the engine would take for
// the flow reaches it, and what it could not make out stays with the host.
TEST_P(ProgramsFamilyTest, DamagedFramesAreJudgedAsTheEngineJudgesThem) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TcpFrame whole = incoming(GetParam());
  whole.payload.assign(100, 'x');
  int kept = 0;
  for (int round = 0; round < 5000; ++round) {
    whole.ip_options.assign(random() % 3 * 4, 1);
    whole.first_extension = 60;
    whole.extensions = extension(6, 1 + random() % 2);
    Bytes frame = test::make_frame(whole);
    for (auto changes = random() % 3; changes != 0; --changes)
      frame[12 + random() % (test::tcp_offset(whole) + 8)] = static_cast<std::uint8_t>(random());
    ParsedFrame parsed;
    const FrameVerdict verdict = parse_frame(test::view(frame), 0, parsed);
    const bool is_flows = verdict == FrameVerdict::kTcp && parsed.tuple == GetParam();
    const bool is_strange = verdict == FrameVerdict::kNotIp || verdict == FrameVerdict::kFragment ||
                            verdict == FrameVerdict::kNotTcp;
    const bool is_kept = run(programs_->progs.snp_ingress, frame).verdict == kShot;
    // The test run fixes where the IP header is by the first Ethernet header, which names IP. Of a
    // first fragment the shard gets a copy.
    const bool names_ip =
        frame[12] == (whole.is_v4() ? 0x08 : 0x86) && frame[13] == (whole.is_v4() ? 0x00 : 0xdd);
    if (names_ip && verdict != FrameVerdict::kFragment) {
      const bool is_copied =
          run(programs_->progs.snp_socket, behind_ethernet(frame)).verdict == kWhole;
      ASSERT_EQ(is_copied, is_kept) << round;
    }
    if (is_flows) {
      ASSERT_TRUE(is_kept) << round;
    }
    if (is_strange) {
      ASSERT_FALSE(is_kept) << round << ": " << to_string(verdict);
    }
    kept += is_kept ? 1 : 0;
  }
  EXPECT_GT(kept, 1000);
  EXPECT_LT(kept, 5000);
}

TEST_P(ProgramsFamilyTest, GarbagePasses) {
  steer(GetParam(), SNP_FLOW_ACTIVE);
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 2000; ++round) {
    Bytes frame = test::make_frame(incoming(GetParam()));
    frame.resize(14 + 40 + random() % 200);
    for (std::size_t i = 14; i < frame.size(); ++i)
      frame[i] = static_cast<std::uint8_t>(random());
    ASSERT_EQ(run(programs_->progs.snp_ingress, frame).verdict, kUnspec);
    ASSERT_EQ(run(programs_->progs.snp_egress, frame).verdict, kUnspec);
    ASSERT_EQ(run(programs_->progs.snp_socket, behind_ethernet(frame)).verdict, 0u);
  }
}

// The program gives only a table's entry away: ten bits of the hash. The hash is linear in the
// key's table, so a table shifted to the right shows the next ten.
class DistributionTest : public ProgramsTest {
 protected:
  void distribute(rss::HashTypes types, std::uint32_t shift) const {
    snp_rss& distribution = programs_->bss->snp_rss;
    const rss::ToeplitzTable key(rss::kVerificationKey);
    for (std::size_t i = 0; i < SNP_RSS_MAX_INPUT; ++i)
      for (std::size_t value = 0; value < 256; ++value)
        distribution.key[i][value] = key.table()[i][value] >> shift;
    for (std::uint32_t bucket = 0; bucket < SNP_RSS_MAX_ENTRIES; ++bucket)
      distribution.shards[bucket] = bucket;
    distribution.mask = SNP_RSS_MAX_ENTRIES - 1;
    distribution.default_shard = 7777;
    distribution.types = types;
  }
  [[nodiscard]] std::uint32_t hash_of(const FourTuple& flow, rss::HashTypes types) const {
    std::uint32_t hash = 0;
    for (std::uint32_t shift = 0; shift < 32; shift += 10) {
      distribute(types, shift);
      hash |= fanout(incoming(flow)) << shift;
    }
    return hash;
  }
  [[nodiscard]] FourTuple steer_by_hash(const test::RssVector& vector) const {
    const FourTuple flow{parse_endpoint(vector.destination).value(),
                         parse_endpoint(vector.source).value()};
    steer(flow, SNP_FLOW_ACTIVE, SNP_SHARD_BY_HASH);
    return flow;
  }
};

TEST_F(DistributionTest, GivesThePublishedValues) {
  for (const test::RssVector& vector : test::kRssVectors) {
    const FourTuple flow = steer_by_hash(vector);
    EXPECT_EQ(hash_of(flow, rss::kIpv4 | rss::kIpv6), vector.address_hash);
    EXPECT_EQ(hash_of(flow, rss::kAllIpv4 | rss::kTcpIpv6 | rss::kIpv6), vector.tcp_hash);
    EXPECT_EQ(hash_of(flow, rss::kTcpIpv4 | rss::kTcpIpv6Ex), vector.tcp_hash);
  }
}

TEST_F(DistributionTest, EqualsTheOtherImplementationsOnRandomFlows) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const rss::Toeplitz hash(rss::kVerificationKey);
  for (int round = 0; round < 50; ++round) {
    FourTuple flow;
    for (Endpoint* end : {&flow.local, &flow.remote}) {
      end->port = static_cast<std::uint16_t>(random());
      for (auto& byte : end->address.bytes)
        byte = static_cast<std::uint8_t>(random());
      if (round % 2 == 0) {
        const auto& bytes = end->address.bytes;
        end->address = IpAddress::v4(bytes[0], bytes[1], bytes[2], bytes[3]);
      }
    }
    steer(flow, SNP_FLOW_ACTIVE, SNP_SHARD_BY_HASH);
    rss::PacketFields packet;
    packet.source = flow.remote.address;
    packet.destination = flow.local.address;
    packet.transport = rss::Transport::kTcp;
    packet.source_port = flow.remote.port;
    packet.destination_port = flow.local.port;
    const auto input = select_input(packet, rss::kTcpIpv4 | rss::kTcpIpv6).value();
    EXPECT_EQ(hash_of(flow, rss::kTcpIpv4 | rss::kTcpIpv6), hash.hash(input.span()))
        << to_string(flow);
  }
}

TEST_F(DistributionTest, WhatHasNoHashGoesToTheDefaultShard) {
  const FourTuple flow = steer_by_hash(test::kRssVectors[0]);
  distribute(rss::kTcpIpv6, 0);
  EXPECT_EQ(fanout(incoming(flow)), 7777u);
  distribute(0, 0);
  EXPECT_EQ(fanout(incoming(flow)), 7777u);
}

TEST_F(DistributionTest, BoundFlowsDoNotAskTheHash) {
  distribute(rss::kTcpIpv4, 0);
  steer(kFlowV4, SNP_FLOW_ACTIVE);
  EXPECT_EQ(fanout(incoming(kFlowV4)), kShard);
}

TEST_F(DistributionTest, CountsThePacketsOfEachBucket) {
  const FourTuple flow = steer_by_hash(test::kRssVectors[0]);
  distribute(rss::kTcpIpv4, 0);
  const std::uint32_t bucket = 0x51ccc178 & (SNP_RSS_MAX_ENTRIES - 1);
  const auto before = programs_->bss->snp_rss.packets[bucket];
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(fanout(incoming(flow)), bucket);
  EXPECT_EQ(programs_->bss->snp_rss.packets[bucket], before + 5);
}

}  // namespace
}  // namespace snp::steer
