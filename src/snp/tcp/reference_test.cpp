// The original's rules of a hand-over and of unusual segments (reference 4.8, 4.9, 4.11), by the
// ids of its checklist. Where RFC 5961 or Linux is stricter, that is what is done, and said.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

// Our clock begins one tick after the value that was taken over: it is never sent twice.
std::uint32_t stamp(Steps& steps) {
  return steps.connection().export_state(steps.now()).delegated.ts_val;
}

// CHM-6, the vectors of 4.9: (target's clock since the offload, stamp) from TsTime 100, 350.
TEST(Chm6Timestamps, TheStampFollowsTheGiversClock) {
  for (const std::uint32_t ts_time : {100u, 350u, 0xfffffff8u}) {  // the last one wraps
    Start start;
    start.state.delegated.ts_val = ts_time;
    Steps steps(start);
    EXPECT_EQ(stamp(steps), ts_time + 1);
    steps.pass(milliseconds(10));
    EXPECT_EQ(stamp(steps), ts_time + 11);  // "NIC sends at 210: stamp 110"
    steps.pass(milliseconds(40));
    EXPECT_EQ(stamp(steps), ts_time + 51);  // "upload at 250: TsTime 150"
  }
}

// "ACK of 100 at 205: MRTT 5": what the giver sent is timed by the taker's clock.
TEST(Chm6Timestamps, AnEchoOfTheGiversStampGivesARoundTrip) {
  Start start;
  start.state.delegated.ts_val = 100;
  start.state.delegated.srtt_us = 0;
  start.state.delegated.snd_max = start.state.delegated.snd_nxt =
      start.state.delegated.snd_una + 500;
  start.queued = 500;
  Steps steps(start);
  steps.pass(milliseconds(5)).receive({.ack = 500, .ts_ecr = 101});
  EXPECT_EQ(steps.connection().info().srtt_us, 5000u);
}

// "drift case", "second offload after drift": hand-over after hand-over, never backwards.
TEST(Chm6Timestamps, TheyGoOnOverManyHandOvers) {
  Steps steps;
  std::uint32_t last = stamp(steps);
  for (int i = 0; i < 5; ++i) {
    steps.pass(milliseconds(20)).hand_over();
    EXPECT_GT(stamp(steps), last + 19);
    EXPECT_LE(stamp(steps), last + 22);
    last = stamp(steps);
  }
}

// CHM-8: RST and SYN by where they lie.
TEST(Chm8Segments, AResetOutsideTheWindowIsDroppedInSilence) {
  Steps().receive({.seq = 900'000, .flags = kRst | kAck}, false).expect_none();
}
TEST(Chm8Segments, AResetAtRcvNxtEnds) {
  Steps().receive({.seq = 0, .flags = kRst | kAck}).expect_state(TcpState::kClosed);
}
TEST(Chm8Segments, AResetElsewhereInTheWindowIsChallengedOncePerPeriod) {
  Steps()
      .receive({.seq = 100, .flags = kRst | kAck})
      .expect({.ack = 0, .flags = kAck})
      .receive({.seq = 101, .flags = kRst | kAck})
      .expect_none()
      .expect_state(TcpState::kEstablished);
}
// The reference uploads in CLOSED for SEG.SEQ = RCV.NXT; RFC 5961 4.2 challenges wherever it lies.
TEST(Chm8Segments, ASynIsChallengedWhereverItLies) {
  for (const std::uint32_t seq : {0u, 100u}) {
    Steps()
        .receive({.seq = seq, .flags = TcpFlags::kSyn | kAck}, false)
        .expect({.ack = 0, .flags = kAck})
        .expect_state(TcpState::kEstablished);
  }
}
TEST(Chm8Segments, UrgentDataIsLeftToTheHostWithAllThatFollows) {
  Steps steps;
  steps.receive({.seq = 0, .len = 10, .flags = TcpFlags::kUrg | kAck});
  steps.expect_none().expect_events(kUrgent);
  steps.receive({.seq = 10, .len = 10}).pass(milliseconds(100)).expect_none();
  EXPECT_EQ(steps.connection().export_state(steps.now()).delegated.rcv_nxt,
            Start().state.delegated.rcv_nxt);
}
TEST(Chm8Segments, UrgentDataWithImpossibleNumbersIsDropped) {
  Steps steps;
  steps.receive({.seq = 900'000, .len = 10, .flags = TcpFlags::kUrg | kAck}, false);
  steps.forget_output().expect_events(0);
  steps.receive({.seq = 0, .len = 10}).expect_events(kReadable);
}

// CHM-3, 4.7: what was SACKed and not acknowledged is dropped; the peer sends it again.
TEST(Chm3Data, WhatWasSackedOnlyIsDroppedAtTheUpload) {
  Steps steps;
  steps.receive({.seq = 1000, .len = 1000}).expect({.ack = 0, .sack = Blocks{{1000, 2000}}});
  steps.hand_over().forget_output();
  EXPECT_FALSE(steps.connection().has_gap());
  steps.receive({.seq = 0, .len = 1000}).forget_output().consume(1000).expect_none();
  steps.receive({.seq = 1000, .len = 1000}).forget_output().consume(1000);
}

// CHM-5: counts and remainders; -1 is not running, 0 expires at once.
TEST(Chm5Timers, TheCountOfRetransmissionsGoesOn) {
  Steps steps;
  steps.write(100).pass(milliseconds(900)).forget_output();
  const auto before = steps.connection().export_state(steps.now()).delegated;
  ASSERT_GE(before.retransmits, 1);
  ASSERT_GT(before.retransmit_delta_ms, 0);
  steps.hand_over().forget_output();
  const auto after = steps.connection().export_state(steps.now()).delegated;
  EXPECT_EQ(after.retransmits, before.retransmits);
  EXPECT_LE(after.retransmit_delta_ms, before.retransmit_delta_ms);
  EXPECT_GE(after.retransmit_delta_ms, before.retransmit_delta_ms - 2);
}
TEST(Chm5Timers, NothingRunsWithoutAReason) {
  Steps steps;
  const auto state = steps.connection().export_state(steps.now()).delegated;
  EXPECT_EQ(state.retransmit_delta_ms, -1);
  EXPECT_EQ(state.keepalive_delta_ms, -1);
  EXPECT_EQ(state.end_delta_ms, -1);
}
TEST(Chm5Timers, AKeepaliveThatWasDueExpiresAtOnce) {
  Start start;
  start.state.cached.keepalive = {.enabled = true, .idle_s = 60, .interval_s = 5, .probes = 3};
  start.state.delegated.keepalive_delta_ms = 0;
  start.state.delegated.keepalive_probes = 1;
  Steps steps(start);
  EXPECT_LE(steps.connection().next_timeout(), steps.now() + milliseconds(1));
  EXPECT_EQ(steps.connection().export_state(steps.now()).delegated.keepalive_probes, 1);
}
TEST(Chm5Timers, FinWait2KeepsItsRemainder) {
  Steps steps;
  steps.close().forget_output().receive({.ack = 1}).forget_output().pass(seconds(20));
  steps.hand_over();
  const auto state = steps.connection().export_state(steps.now()).delegated;
  EXPECT_EQ(state.state, TcpState::kFinWait2);
  EXPECT_NEAR(state.end_delta_ms, 40'000, 5);
}

}  // namespace
}  // namespace snp::tcp::testing
