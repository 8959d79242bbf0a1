// What keeps a connection in the host, seen on real sockets; each obstacle has its reason.
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "snp/host/netlink.h"
#include "snp/host/socket_calls.h"
#include "snp/wire/frame.h"

#include "test/handover/parking_lab.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace snp::test {
namespace {

using chimney::Reason;

std::string_view reason_of(int fd) {
  const auto seen = host::survey(fd);
  return seen ? chimney::text_of(seen->reason).name : "no TCP socket at all";
}

class Survey : public testing::Test {
 protected:
  void SetUp() override { c_ = lab_.connect_pair(Family::kV4); }
  ParkingLab lab_;
  InNamespace inside_{lab_.net().left()};  // as snpd is
  Connection c_;
};

TEST_F(Survey, TellsTheConnectionAndItsQueues) {
  write_all(c_.peer.get(), pattern(1, 700));
  lab_.block_ingress(c_);
  write_all(c_.host.get(), pattern(2, 300));
  for (int i = 0; i < 2000; ++i) {
    if (host::survey(c_.host.get())->unread_bytes == 700) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto seen = host::survey(c_.host.get());
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_EQ(seen->tuple, c_.tuple);
  EXPECT_EQ(seen->state, TcpState::kEstablished);
  EXPECT_EQ(seen->unread_bytes, 700u);
  EXPECT_EQ(seen->unacked_bytes, 300u);
  EXPECT_EQ(seen->unsent_bytes, 0u);
  EXPECT_NE(seen->cookie, 0u);
  EXPECT_EQ(chimney::text_of(seen->reason).name, "offloaded");
}

TEST_F(Survey, TuplesOfEachFamily) {
  for (const Family family : {Family::kV6, Family::kMapped, Family::kLinkLocal}) {
    const Connection c = lab_.connect_pair(family);
    const auto seen = host::survey(c.host.get());
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->tuple, c.tuple);
    EXPECT_EQ(seen->tuple.local.address.is_v4(), family == Family::kMapped);
    EXPECT_EQ(seen->bound_ifindex, family == Family::kLinkLocal ? lab_.net().left().ifindex : 0);
    EXPECT_EQ(chimney::text_of(seen->reason).name, "offloaded");
  }
}

TEST_F(Survey, WhatIsNoTcpSocketFails) {
  const UniqueFd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(host::survey(udp.get()));
  EXPECT_FALSE(host::survey(local.get()));
  EXPECT_FALSE(host::survey(-1));
}

TEST_F(Survey, StatesThatCannotMove) {
  EXPECT_EQ(reason_of(c_.listener.get()), "state");
  const UniqueFd fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(reason_of(fresh.get()), "state");
  ::shutdown(c_.peer.get(), SHUT_WR);
  ASSERT_TRUE(wait_for_state(c_.host.get(), host::kKernelCloseWait));
  EXPECT_EQ(reason_of(c_.host.get()), "offloaded");
  lab_.block_ingress(c_);
  ::shutdown(c_.host.get(), SHUT_WR);
  EXPECT_EQ(reason_of(c_.host.get()), "state") << "LAST_ACK";
}

TEST_F(Survey, Multipath) {
  const UniqueFd mptcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
  if (!mptcp.is_open()) GTEST_SKIP() << "the kernel has no MPTCP";
  EXPECT_EQ(reason_of(mptcp.get()), "mptcp");
}

TEST_F(Survey, KernelTls) {
  if (::setsockopt(c_.host.get(), IPPROTO_TCP, TCP_ULP, "tls", 4) != 0)
    GTEST_SKIP() << "the kernel has no TLS";
  EXPECT_EQ(reason_of(c_.host.get()), "ktls");
}

TEST_F(Survey, ClassicFilter) {
  sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
  const sock_fprog program{1, &all};
  ASSERT_EQ(::setsockopt(c_.host.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  EXPECT_EQ(reason_of(c_.host.get()), "socket-filter");
}

TEST_F(Survey, EbpfFilter) {
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = -1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  load.insns = reinterpret_cast<std::uint64_t>(pass);
  load.insn_cnt = 2;
  load.license = reinterpret_cast<std::uint64_t>("GPL");
  const UniqueFd program(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load)));
  ASSERT_TRUE(program.is_open());
  ASSERT_TRUE(host::set_option(c_.host.get(), SOL_SOCKET, SO_ATTACH_BPF, program.get()));
  EXPECT_EQ(reason_of(c_.host.get()), "socket-filter");
}

TEST_F(Survey, UrgentData) {
  ASSERT_EQ(::send(c_.peer.get(), "u", 1, MSG_OOB), 1);
  for (int i = 0; i < 2000 && reason_of(c_.host.get()) != "urgent-data"; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(reason_of(c_.host.get()), "urgent-data");
  host::set_option(c_.host.get(), SOL_SOCKET, SO_OOBINLINE, 1);
  EXPECT_EQ(reason_of(c_.host.get()), "urgent-data") << "in line";
}

TEST_F(Survey, AnotherNamespace) {
  const InNamespace inside(lab_.net().right());
  EXPECT_EQ(reason_of(c_.host.get()), "other-namespace");
}

TEST_F(Survey, PeekOffset) {
  if (!host::set_option(c_.host.get(), SOL_SOCKET, SO_PEEK_OFF, 0))
    GTEST_SKIP() << "the kernel has no SO_PEEK_OFF for TCP";
  EXPECT_EQ(reason_of(c_.host.get()), "peek-offset");
}

// RFC 9293 3.9.2.1 MUST-51, and 3.7.1: the engine would leave them out.
TEST_F(Survey, IpOptions) {
  const std::array<unsigned char, 4> no_operation{1, 1, 1, 0};
  ASSERT_EQ(
      ::setsockopt(c_.host.get(), IPPROTO_IP, IP_OPTIONS, no_operation.data(), no_operation.size()),
      0);
  EXPECT_EQ(reason_of(c_.host.get()), "ip-options");
  ASSERT_EQ(::setsockopt(c_.host.get(), IPPROTO_IP, IP_OPTIONS, nullptr, 0), 0);
  EXPECT_EQ(reason_of(c_.host.get()), "offloaded");

  const Connection v6 = lab_.connect_pair(Family::kV6);
  const std::array<unsigned char, 8> padding{0, 0, 1, 4, 0, 0, 0, 0};  // RFC 8200 4.2 PadN
  ASSERT_EQ(::setsockopt(v6.host.get(), IPPROTO_IPV6, IPV6_DSTOPTS, padding.data(), padding.size()),
            0);
  EXPECT_EQ(reason_of(v6.host.get()), "ip-options");
}

// RFC 9293 3.9.1.8 MUST-47.
TEST_F(Survey, ErrorReports) {
  ASSERT_TRUE(host::set_option(c_.host.get(), IPPROTO_IP, IP_RECVERR, 1));
  EXPECT_EQ(reason_of(c_.host.get()), "error-reports");
  const Connection v6 = lab_.connect_pair(Family::kV6);
  ASSERT_TRUE(host::set_option(v6.host.get(), IPPROTO_IPV6, IPV6_RECVERR, 1));
  EXPECT_EQ(reason_of(v6.host.get()), "error-reports");
}

TEST_F(Survey, Md5Signatures) {
  for (const Family family : {Family::kV4, Family::kV6}) {
    const Connection c = lab_.connect_pair(family);
    tcp_md5sig key{};
    const auto peer = *host::remote_address(c.host.get());
    std::memcpy(&key.tcpm_addr, &peer.storage, sizeof peer.storage);
    key.tcpm_keylen = 4;
    std::memcpy(key.tcpm_key, "key!", 4);
    if (::setsockopt(c.host.get(), IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key) != 0)
      GTEST_SKIP() << "the kernel has no TCP MD5";
    EXPECT_EQ(reason_of(c.host.get()), "tcp-md5");
  }
}

// Gives the lab's subnet the route feature RTAX_FEATURE_TCP_USEC_TS, which ip(8) does not know yet.
bool use_microsecond_timestamps(const NetnsLab::Side& side) {
  constexpr std::uint32_t kFeatureTcpUsecTs = 1u << 4;
  const InNamespace inside(side);
  auto socket = host::NetlinkSocket::open();
  host::NetlinkRequest request(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  auto& route = request.put_header<rtmsg>();
  route.rtm_family = AF_INET;
  route.rtm_dst_len = 24;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_KERNEL;
  route.rtm_scope = RT_SCOPE_LINK;
  route.rtm_type = RTN_UNICAST;
  request.put_address(RTA_DST, IpAddress::v4(10, 77, 0, 0));
  request.put_address(RTA_PREFSRC, side.v4);
  request.put_u32(RTA_OIF, side.ifindex);
  nlattr* metrics = mnl_attr_nest_start(request.header(), RTA_METRICS);
  request.put_u32(RTAX_FEATURES, kFeatureTcpUsecTs);
  mnl_attr_nest_end(request.header(), metrics);
  return socket && socket->ask(request, [](const nlmsghdr&) {}).has_value();
}

TEST_F(Survey, MicrosecondTimestamps) {
  if (!use_microsecond_timestamps(lab_.net().left()) ||
      !use_microsecond_timestamps(lab_.net().right()))
    GTEST_SKIP() << "the kernel does not know the route feature tcp_usec_ts";
  const Connection c = lab_.connect_pair(Family::kV4, true);
  EXPECT_EQ(reason_of(c.host.get()), "timestamp-unit");
}

// A socket whose listener is bound to every address forgets its own when it is emptied.
TEST_F(Survey, AddressThatTheRouteWouldNotChoose) {
  NetnsLab::run_in(lab_.net().left(), {"ip", "addr", "add", "10.77.0.9/32", "dev", "l0"});
  UniqueFd client;
  {
    const InNamespace inside(lab_.net().right());
    client.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  const auto port = host::to_endpoint(*host::local_address(c_.listener.get()))->port;
  const auto to = host::to_socket_address({IpAddress::v4(10, 77, 0, 9), port}, AF_INET, 0);
  ASSERT_EQ(::connect(client.get(), to.raw(), to.length), 0);
  const UniqueFd accepted(::accept4(c_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_EQ(reason_of(accepted.get()), "local-address");
}

// A hole in front of a segment: the socket holds memory that no unread byte explains.
TEST_F(Survey, SegmentsOutOfOrder) {
  const NetnsLab::Side& right = lab_.net().right();
  NetnsLab::run_in(right, {"ip", "route", "replace", "10.77.0.0/24", "dev", right.device, "src",
                           "10.77.0.2", "rto_min", "60s"});
  const Connection c = lab_.connect_pair(Family::kV4);
  host::set_option(c.peer.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  lab_.hold(c);
  write_all(c.peer.get(), pattern(1, 500));
  write_all(c.peer.get(), pattern(2, 500));
  // The peer must not hear of the hole, or it would fill it at once.
  NetnsLab::run_in(right, {"nft",
                           "add table ip t; add chain ip t in { type filter hook input "
                           "priority 0; }; add rule ip t in tcp dport >= 1 drop"});
  auto frames = lab_.take_held_frames();
  std::erase_if(frames, [](const Bytes& frame) {
    ParsedFrame parsed;
    return parse_frame(std::span(frame).subspan(ParkingLab::kVnetHeader), 0, parsed) !=
               FrameVerdict::kTcp ||
           parsed.segment.payload.empty();
  });
  ASSERT_GE(frames.size(), 2u);
  lab_.release(c);
  lab_.inject(frames[1]);
  EXPECT_EQ(host::survey(c.host.get())->unread_bytes, 0u);
  EXPECT_EQ(reason_of(c.host.get()), "out-of-order");
  RingPair rings(1 << 20);
  const auto parked = lab_.park(c, rings);
  ASSERT_FALSE(parked);
  EXPECT_EQ(parked.error().code, Errc::kBusy);
  lab_.inject(frames[0]);
  EXPECT_EQ(host::survey(c.host.get())->unread_bytes, 1000u);
  EXPECT_EQ(reason_of(c.host.get()), "offloaded");
}

}  // namespace
}  // namespace snp::test
