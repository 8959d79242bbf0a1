// The sending half: segments, windows, Nagle, cork, persist, loss recovery.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

// cwnd large enough not to matter.
Start wide() {
  Start start;
  start.state.delegated.cwnd_bytes = 100'000;
  return start;
}

TEST(Send, DataLeavesInSegmentsOfTheMss) {
  Start start = wide();
  start.state.cached.no_delay = true;
  Steps(start)
      .write(2500)
      .expect({.seq = 0, .len = 1000, .ack = 0})
      .expect({.seq = 1000, .len = 1000})
      .expect({.seq = 2000, .len = 500})
      .expect_none();
}

TEST(Send, ADeviceThatCutsGetsOneLargePlan) {
  Start start = wide();
  start.limits.max_segment_payload = 20'000;
  Steps steps(start);
  steps.write(50'000).expect({.seq = 0, .len = 20'000}).expect({.seq = 20'000, .len = 20'000});
  steps.expect({.seq = 40'000, .len = 10'000}).expect_none();
}

TEST(Send, TheWindowOfThePeerIsTheLimit) {
  Start start = wide();
  start.state.delegated.snd_wnd = 2500;
  start.state.delegated.max_snd_wnd = 64'000;
  Steps(start)
      .write(5000)
      .expect({.seq = 0, .len = 1000})
      .expect({.seq = 1000, .len = 1000})
      .expect_none()
      .receive({.ack = 2000, .wnd = 63})
      .expect({.seq = 2000, .len = 1000})
      .expect({.seq = 3000, .len = 1000})
      .expect_none();
}

TEST(Send, CwndIsTheLimitAndGrowsInSlowStart) {
  Start start;
  start.state.delegated.cwnd_bytes = 4000;
  Steps steps(start);
  steps.write(50'000);
  for (std::uint32_t seq = 0; seq < 4000; seq += 1000)
    steps.expect({.seq = seq, .len = 1000});
  steps.expect_none().pass(milliseconds(10)).receive({.ack = 2000});
  for (std::uint32_t seq = 4000; seq < 8000; seq += 1000)
    steps.expect({.seq = seq, .len = 1000});
  steps.expect_none().expect_events(kWritable);
}

TEST(Send, NagleHoldsASecondSmallSegment) {
  Steps(wide())
      .write(10)
      .expect({.seq = 0, .len = 10})
      .write(10)
      .write(10)
      .expect_none()
      .receive({.ack = 10})
      .expect({.seq = 10, .len = 20})
      .expect_none();
}

TEST(Send, CorkHoldsAPartialSegmentForAWhile) {
  Start start = wide();
  start.state.cached.cork = true;
  Steps steps(start);
  steps.write(1200).expect({.seq = 0, .len = 1000}).expect_none();
  steps.receive({.ack = 1000}).expect_none();
  CachedState uncorked = start.state.cached;
  uncorked.cork = false;
  steps.update(uncorked).expect({.seq = 1000, .len = 200});
  steps.receive({.ack = 1200}).update(start.state.cached).write(1).expect_none();
  steps.pass(milliseconds(300)).expect({.seq = 1200, .len = 1}).forget_output();
}

TEST(Send, AZeroWindowIsProbed) {
  Start start = wide();
  Steps steps(start);
  steps.write(1000).expect({.len = 1000}).receive({.ack = 1000, .wnd = 0});
  steps.write(1000).expect_none();
  steps.pass(milliseconds(250)).expect({.seq = 999, .len = 0}).expect_none();
  steps.receive({.ack = 1000, .wnd = 0}).pass(milliseconds(500)).expect({.seq = 999, .len = 0});
  steps.expect_none();
  // A peer that answers is not given up.
  for (int i = 0; i < 40; ++i)
    steps.receive({.ack = 1000, .wnd = 0}).pass(seconds(120));
  steps.forget_output().expect_state(TcpState::kEstablished);
  steps.receive({.ack = 1000, .wnd = 100}).expect({.seq = 1000, .len = 1000});
}

TEST(Send, AWindowSmallerThanASegmentIsUsedOnlyAfterTheOverrideTimer) {
  Start start = wide();
  Steps(start)
      .write(1000)
      .expect({.len = 1000})
      .receive({.ack = 1000, .wnd = 10})  // 320 bytes
      .write(1000)
      .expect_none()
      .pass(milliseconds(250))
      .expect({.seq = 1000, .len = 320})
      .expect_none();
}

TEST(Send, PathMtuShrinksTheNextSegment) {
  Start start = wide();
  CachedState cached = start.state.cached;
  cached.path_mtu = 552;
  Steps(start).update(cached).write(500).expect({.len = 500}).write(500).expect({.len = 500});
}

TEST(Send, WhatIsUnderWayIsRepeatedInSmallerSegmentsWhenThePathShrinks) {
  Start start = wide();
  CachedState cached = start.state.cached;
  cached.path_mtu = 552;
  Steps steps(start);
  steps.write(1000).expect({.seq = 0, .len = 1000}).update(cached);
  steps.expect({.seq = 0, .len = 1000, .resent = true, .gso = 500}).expect_none();
  steps.receive({.ack = 1000}).expect_none();
  EXPECT_GE(steps.connection().info().cwnd_bytes, 100'000u);
}

TEST(Recovery, TheTimeoutDoublesAndGivesUp) {
  Start start;
  start.state.constant.sack = false;  // no loss probe
  Steps steps(start);
  steps.write(1000).expect({.len = 1000});
  steps.pass(milliseconds(209)).expect_none();
  steps.pass(milliseconds(1)).expect({.seq = 0, .len = 1000, .resent = true});
  steps.pass(milliseconds(419)).expect_none();
  steps.pass(milliseconds(1)).expect({.seq = 0, .len = 1000, .resent = true});
  steps.pass(seconds(100)).forget_output();  // RFC 9293 3.8.3 SHLD-11
  steps.expect_state(TcpState::kEstablished).pass(seconds(1100)).forget_output();
  steps.expect_state(TcpState::kClosed).expect_events(kTimedOut | kClosed | kStateChanged);
}

TEST(Recovery, TheUserTimeoutIsKept) {
  Start start;
  start.state.cached.user_timeout_ms = 700;
  Steps steps(start);
  steps.write(1000).pass(milliseconds(699)).forget_output();
  steps.expect_state(TcpState::kEstablished).pass(milliseconds(2));
  steps.expect_state(TcpState::kClosed).expect_events(kTimedOut | kClosed | kStateChanged);
}

TEST(Recovery, ALostTailIsProbedLongBeforeTheTimeout) {
  Steps steps(wide());
  steps.write(3000).forget_output();
  steps.pass(milliseconds(21)).expect_none();
  steps.pass(milliseconds(2)).expect({.seq = 2000, .len = 1000, .resent = true}).expect_none();
  // The answer shows what else is missing.
  steps.pass(milliseconds(10)).receive({.ack = 0, .sack = {{2000, 3000}}});
  steps.pass(milliseconds(5)).expect({.seq = 0, .resent = true}).expect({.seq = 1000});
  steps.pass(milliseconds(10)).receive({.ack = 3000}).pass(seconds(60)).expect_none();
}

TEST(Recovery, ThreeSackedSegmentsStartFastRetransmit) {
  Steps steps(wide());
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 2000}}}).expect_none();
  steps.receive({.ack = 0, .sack = {{1000, 3000}}}).expect_none();
  steps.receive({.ack = 0, .sack = {{1000, 4000}}});
  steps.expect({.seq = 0, .len = 1000, .resent = true}).expect_none();
  EXPECT_LT(steps.connection().info().ssthresh_bytes, 6000u);
  steps.pass(milliseconds(10)).receive({.ack = 6000}).pass(seconds(60)).expect_none();
}

TEST(Recovery, WorksAfterAnHourOfSilence) {
  Steps steps(wide());
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 6000}}}).expect({.seq = 0, .resent = true});
  steps.pass(milliseconds(10)).receive({.ack = 6000});
  steps.pass(seconds(3000));  // the 32-bit microseconds are more than half round
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 6000, .sack = {{7000, 10'000}}});
  steps.expect({.seq = 6000, .len = 1000, .resent = true});
}

TEST(Recovery, OnlyTheHolesAreSentAgain) {
  Steps steps(wide());
  steps.write(10'000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 1000, .sack = {{2000, 4000}, {5000, 10'000}}});
  steps.expect({.seq = 1000, .len = 1000, .resent = true});
  steps.expect({.seq = 4000, .len = 1000, .resent = true}).expect_none();
}

TEST(Recovery, ALostRetransmissionIsNoticed) {
  Steps steps(wide());
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 5000}}}).expect({.seq = 0, .resent = true});
  steps.write(2000).forget_output().pass(milliseconds(20));
  // What was sent after the retransmission has arrived, the retransmission has not.
  steps.receive({.ack = 0, .sack = {{1000, 8000}}}).pass(milliseconds(5));
  steps.expect({.seq = 0, .len = 1000, .resent = true});
}

TEST(Recovery, NewRenoSendsOneHolePerPartialAck) {
  Start start = wide();
  start.state.constant.sack = false;
  Steps steps(start);
  steps.write(8000).forget_output().pass(milliseconds(10));
  for (int i = 0; i < 2; ++i)
    steps.receive({.ack = 1000});
  steps.receive({.ack = 1000}).expect_none();
  steps.receive({.ack = 1000}).expect({.seq = 1000, .len = 1000, .resent = true}).expect_none();
  steps.receive({.ack = 4000}).expect({.seq = 4000, .len = 1000, .resent = true}).expect_none();
  steps.receive({.ack = 8000}).expect_none().pass(seconds(60)).expect_none();
}

TEST(Recovery, LimitedTransmitSendsNewDataOnTheFirstDuplicates) {
  Start start;
  start.state.constant.sack = false;
  start.state.delegated.cwnd_bytes = 4000;
  Steps steps(start);
  steps.write(20'000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0}).expect({.seq = 4000, .len = 1000}).expect_none();
  steps.receive({.ack = 0}).expect({.seq = 5000, .len = 1000}).expect_none();
  steps.receive({.ack = 0}).expect({.seq = 0, .len = 1000, .resent = true});
}

TEST(Recovery, APeerThatRenegesGetsItsDataAgain) {
  Steps steps(wide());
  steps.write(5000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 5000}}}).expect({.seq = 0, .resent = true});
  steps.pass(milliseconds(10)).receive({.ack = 1000});  // it has forgotten [1000, 5000)
  steps.expect({.seq = 1000, .resent = true}).pass(milliseconds(10)).forget_output();
  steps.receive({.ack = 2000}).pass(seconds(2)).forget_output();
  steps.receive({.ack = 5000}).pass(seconds(60)).expect_none();
}

// The ACK that shows it is the new owner's: what that one has got is not sent again.
TEST(Recovery, WhatAPeerHasGotSinceItRenegedIsNotSentAgain) {
  Steps steps(wide());
  steps.write(9000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 7000}}}).expect({.seq = 0, .resent = true});
  steps.receive({.ack = 0, .sack = {{8000, 9000}}}).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 1000, .sack = {{8000, 9000}}});
  EXPECT_EQ(steps.connection().info().sacked_bytes, 1000u);
  EXPECT_EQ(steps.connection().info().unacked_bytes, 8000u);
  steps.receive({.ack = 9000}).forget_output().pass(seconds(60)).expect_none();
}

TEST(Recovery, AnOldEchoTakesTheTimeoutBack) {
  Start start = wide();
  start.state.constant.sack = false;
  Steps steps(start);
  steps.write(5000).forget_output();
  const std::uint32_t echo = 70'001;
  steps.pass(milliseconds(210)).expect({.seq = 0, .resent = true});
  const std::uint32_t reduced = steps.connection().info().cwnd_bytes;
  EXPECT_EQ(reduced, 1000u);
  steps.receive({.ack = 1000, .ts_ecr = echo}).expect_none();
  EXPECT_GE(steps.connection().info().cwnd_bytes, 100'000u);
}

TEST(Recovery, EcnEchoReducesOncePerWindow) {
  Start start;
  start.state.constant.ecn = true;
  start.state.delegated.cwnd_bytes = 10'000;
  Steps steps(start);
  steps.write(30'000);
  EXPECT_EQ(steps.pending(), 10u);
  steps.forget_output().pass(milliseconds(10));
  steps.receive({.ack = 1000, .flags = kAck | TcpFlags::kEce});
  steps.receive({.ack = 2000, .flags = kAck | TcpFlags::kEce});
  EXPECT_EQ(steps.connection().info().bytes_marked, 2000u);
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 7000u);
  steps.expect({.seq = 10'000, .flags = kAck | TcpFlags::kCwr});
}

TEST(Recovery, RoundTripTimeIsMeasuredFromUnambiguousSegmentsOnly) {
  Start start;
  start.state.constant.timestamps = false;
  start.state.constant.sack = false;
  start.state.delegated.srtt_us = 0;
  start.state.delegated.rttvar_us = 0;
  Steps steps(start);
  steps.write(500).pass(milliseconds(80)).receive({.ack = 500});
  EXPECT_EQ(steps.connection().info().srtt_us, 80'000u);
  steps.forget_output().write(500).forget_output().pass(milliseconds(500)).forget_output();
  steps.receive({.ack = 1000});
  EXPECT_EQ(steps.connection().info().srtt_us, 80'000u);
}

}  // namespace
}  // namespace snp::tcp::testing
