// Requirements of the standards that no other test had a reason to look at; doc/rfc-ledger.toml
// names the test of each.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

Start wide() {
  Start start;
  start.state.delegated.cwnd_bytes = 100'000;
  return start;
}

// RFC 9293 3.8.6 SHLD-15, SHLD-16: a window that shrank lets no new data out; what was sent before
// is sent again. (The loss probe, an old segment, may lie beyond the window: MAY-7.)
TEST(Requirements, AWindowThatShrinksIsRespected) {
  Steps steps(wide());
  steps.write(4000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 1000, .wnd = 8}).write(4000).expect_none();  // 1024 bytes
  steps.pass(milliseconds(300));
  steps.expect({.seq = 3000, .len = 1000, .resent = true});
  steps.expect({.seq = 1000, .len = 1000, .resent = true}).expect_none();
}

// MUST-34, SHLD-17: data beyond the right edge is no reason to give the connection up.
TEST(Requirements, AWindowThatShrinksAndOpensAgainLosesNothing) {
  Steps steps(wide());
  steps.write(4000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 2000, .wnd = 0}).forget_output();
  for (int i = 0; i < 40; ++i)  // it answers, and stays closed
    steps.pass(seconds(5)).receive({.ack = 2000, .wnd = 0}).forget_output();
  steps.expect_state(TcpState::kEstablished);
  steps.receive({.ack = 2000, .wnd = 2000}).pass(seconds(130)).forget_output();
  steps.receive({.ack = 4000}).pass(seconds(200)).expect_none();
}

// MUST-66: with the window closed, a reset is obeyed and urgent data is noticed.
TEST(Requirements, AClosedWindowStillHearsResets) {
  Start start;
  start.ring = 1u << 14;
  start.unread = 1u << 14;
  start.state.delegated.rcv_wnd = 0;
  Steps(start).receive({.seq = 0, .flags = kRst}).expect_state(TcpState::kClosed);
}

// SHLD-2: a reset may carry text, which says why and is not read.
TEST(Requirements, AResetMayCarryText) {
  Steps steps;
  steps.receive({.seq = 0, .len = 20, .flags = kRst | kAck});
  steps.expect_state(TcpState::kClosed).expect_events(kReset | kClosed | kStateChanged);
}

// MUST-61, SHLD-27: the last segment of what was written carries PSH, the others do not.
TEST(Requirements, TheLastSegmentOfAWriteIsPushed) {
  Start start = wide();
  start.state.cached.no_delay = true;
  Steps steps(start);
  Connection& connection = steps.connection();
  connection.on_written(2500, steps.now());
  for (const std::uint32_t length : {1000u, 1000u, 500u}) {
    const auto plan = connection.poll_segment(steps.now());
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->payload_len, length);
    EXPECT_EQ((plan->flags & TcpFlags::kPsh) != 0, length == 500);
  }
}

// RFC 7323 3.2: the option is in every segment, a reset too; a segment without it is no reason to
// abort.
TEST(Requirements, ASegmentWithoutTimestampsAbortsNothing) {
  Start start;
  Steps steps(start);
  Segment bare;
  bare.seg_seq = steps.connection().export_delegated(steps.now()).rcv_nxt;
  bare.seg_ack = steps.connection().export_delegated(steps.now()).snd_una;
  bare.seg_wnd = 100;
  bare.flags = kAck;
  steps.connection().on_segment(bare, steps.now());
  steps.expect_state(TcpState::kEstablished);
  steps.connection().abort(steps.now());
  const auto reset = steps.connection().poll_segment(steps.now());
  ASSERT_TRUE(reset);
  EXPECT_TRUE(reset->options.has_timestamps);
}

// RFC 8985 7.3: no second loss probe before a round trip has been measured.
TEST(Requirements, NoLossProbeWithoutARoundTripSinceTheLast) {
  Start start = wide();
  start.state.constant.timestamps = false;
  Steps steps(start);
  steps.write(1000).forget_output().pass(milliseconds(66));
  steps.expect({.seq = 0, .resent = true});             // the probe
  steps.pass(milliseconds(10)).receive({.ack = 1000});  // of the probe or of the original?
  steps.write(1000).expect({.seq = 1000}).pass(milliseconds(100)).expect_none();
  steps.pass(milliseconds(200)).expect({.seq = 1000, .resent = true});  // the timeout
}

// RFC 5681 4.2: what fills a gap is acknowledged at once.
TEST(Requirements, WhatFillsAGapIsAcknowledgedAtOnce) {
  Steps steps;
  steps.receive({.seq = 1000, .len = 100}).expect({.ack = 0});
  steps.receive({.seq = 0, .len = 500}).expect({.ack = 500});
  steps.receive({.seq = 500, .len = 500}).expect({.ack = 1100});
}

// RFC 6298 5.7 and 5.3: an ACK of new data gives the next segment a whole timeout.
TEST(Requirements, AnAckOfNewDataRestartsTheTimer) {
  Start start = wide();
  start.state.constant.sack = false;
  Steps steps(start);
  steps.write(2000).forget_output().pass(milliseconds(200)).expect_none();
  steps.receive({.ack = 1000}).pass(milliseconds(200)).expect_none();
  steps.pass(milliseconds(60)).expect({.seq = 1000, .resent = true});
}

}  // namespace
}  // namespace snp::tcp::testing
