// Pacing, and the ECN of DCTCP, through a connection.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

Start named(const char* congestion_control) {
  Start start;
  std::copy_n(congestion_control, std::char_traits<char>::length(congestion_control),
              start.state.cached.congestion_control.begin());
  start.state.cached.no_delay = true;
  start.state.delegated.cwnd_bytes = 60'000;
  return start;
}

TEST(Pacing, AUsersLimitSpreadsTheSegments) {
  Start start = named("cubic");
  start.state.cached.max_pacing_rate = 100'000;  // 1000 bytes each 10 ms
  Steps steps(start);
  steps.write(10'000).expect({.seq = 0, .len = 1000}).expect_none();
  for (std::uint32_t seq = 1000; seq < 10'000; seq += 1000) {
    steps.pass(milliseconds(7)).expect_none();
    steps.pass(milliseconds(3)).expect({.seq = seq, .len = 1000}).expect_none();
  }
}

TEST(Pacing, AFastPathLeavesInBurstsOfAMillisecond) {
  Start start = named("cubic");
  start.ring = 1u << 20;
  start.state.delegated.snd_wnd = 1'000'000;
  start.state.delegated.cwnd_bytes = 1'000'000;
  start.state.cached.max_pacing_rate = 10'000'000;  // 10,000 bytes each ms
  start.limits.max_segment_payload = 60'000;
  Steps steps(start);
  steps.write(500'000);
  std::uint64_t wakes = 0;
  steps.forget_output();
  const Instant end = steps.now() + milliseconds(20);
  while (steps.now() < end) {
    const Instant next = steps.connection().next_timeout();
    ASSERT_NE(next, kNever);
    ++wakes;
    steps.pass(std::max(next - steps.now(), Duration(1))).forget_output();
  }
  const auto sent = steps.connection().info().unacked_bytes;
  EXPECT_NEAR(sent, 200'000, 40'000);  // with the credit of a connection that was idle
  EXPECT_LE(wakes, 25u);
}

TEST(Pacing, AFinAloneDoesNotWait) {
  Start start = named("cubic");
  start.state.cached.max_pacing_rate = 10'000;
  Steps steps(start);
  steps.write(1000).expect({.len = 1000}).shutdown().expect({.seq = 1000, .len = 0});
}

TEST(Pacing, AnAcknowledgementDoesNotWait) {
  Start start = named("cubic");
  start.state.cached.max_pacing_rate = 10'000;
  Steps steps(start);
  steps.write(2000).expect({.len = 1000}).expect_none();
  steps.receive({.len = 1000}).receive({.seq = 1000, .len = 1000});
  steps.expect({.seq = 1000, .len = 0, .ack = 2000});
}

TEST(Pacing, WhatATimeoutRepeatsDoesNotWait) {
  Start start = named("cubic");
  start.state.constant.sack = false;         // no loss probe
  start.state.cached.max_pacing_rate = 100;  // 1000 bytes each 10 s
  Steps steps(start);
  steps.write(3000).expect({.seq = 0, .len = 1000}).expect_none();
  steps.pass(milliseconds(300)).expect({.seq = 0, .len = 1000, .resent = true}).expect_none();
  steps.pass(milliseconds(600)).expect({.seq = 0, .len = 1000, .resent = true}).expect_none();
}

// A rate that is measured over the silence would become the pace, and the pace the next rate.
TEST(Pacing, TheTimeUntilATimeoutIsNotMeasured) {
  Steps steps(named("bbr"));
  for (int i = 0; i < 5; ++i)
    steps.write(2000).forget_output().pass(milliseconds(2));
  steps.pass(seconds(3)).forget_output();
  const std::uint64_t pace = steps.connection().info().pacing_rate;
  for (std::uint32_t ack = 1000; ack <= 2000; ack += 1000) {
    steps.pass(steps.connection().next_timeout() - steps.now()).forget_output();
    steps.pass(milliseconds(10)).receive({.ack = ack}).forget_output();
    EXPECT_GT(steps.connection().info().delivery_rate, 50'000u);
  }
  EXPECT_GE(steps.connection().info().pacing_rate, std::min<std::uint64_t>(pace, 100'000));
}

TEST(Pacing, BbrSetsARate) {
  Steps steps(named("bbr"));
  steps.write(100'000).forget_output();
  EXPECT_GT(steps.connection().info().pacing_rate, 0u);
  EXPECT_LT(steps.connection().info().unacked_bytes, 60'000u);  // of the window, some is held back
}

// RFC 8257 3.2, figure 1: a change of the mark is told at once, what came before it by an ACK of
// its own, and each ACK has the bit of what it speaks for.
TEST(Dctcp, TheReceiverTellsEachMark) {
  Start start = named("dctcp");
  start.state.constant.ecn = true;
  Steps steps(start);
  constexpr std::uint8_t kEce = TcpFlags::kEce | TcpFlags::kAck;
  steps.receive({.seq = 0, .len = 1000}).expect_none();  // delayed
  steps.receive({.seq = 1000, .len = 1000, .is_ce = true});
  steps.expect({.ack = 1000, .flags = kAck}).expect({.ack = 2000, .flags = kEce}).expect_none();
  steps.receive({.seq = 2000, .len = 1000, .is_ce = true}).expect_none();
  steps.receive({.seq = 3000, .len = 1000, .is_ce = true}).expect({.ack = 4000, .flags = kEce});
  steps.receive({.seq = 4000, .len = 1000});
  steps.expect({.ack = 5000, .flags = kAck}).expect_none();
}

TEST(Dctcp, TheSenderReducesOnceAWindowByTheShare) {
  Start start = named("dctcp");
  start.state.constant.ecn = true;
  start.state.delegated.cwnd_bytes = start.state.delegated.ssthresh_bytes = 20'000;
  Steps steps(start);
  steps.write(200'000).forget_output();
  steps.pass(milliseconds(10));
  steps.receive({.ack = 2000, .flags = kAck | TcpFlags::kEce}).forget_output();
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 10'000u);  // alpha begins at 1
  steps.receive({.ack = 4000, .flags = kAck | TcpFlags::kEce}).forget_output();
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 10'000u);
}

}  // namespace
}  // namespace snp::tcp::testing
