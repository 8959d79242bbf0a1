// Life after ESTABLISHED: closing in every order, resets, challenges, keepalive, hand-over.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

TEST(States, WeCloseFirst) {
  Steps()
      .write(100)
      .shutdown()
      .expect({.seq = 0, .len = 100, .flags = kAck})
      .expect({.seq = 100, .len = 0, .flags = kAck | kFin})
      .expect_state(TcpState::kFinWait1)
      .receive({.ack = 101})
      .expect_state(TcpState::kFinWait2)
      .receive({.seq = 0, .ack = 101, .len = 10})
      .receive({.seq = 10, .ack = 101, .flags = kAck | kFin})
      .expect({.seq = 101, .ack = 11})
      .expect_state(TcpState::kTimeWait)
      .pass(seconds(59))
      .expect_state(TcpState::kTimeWait)
      .forget_events()
      .pass(seconds(2))
      .expect_state(TcpState::kClosed)
      .expect_events(kClosed | kStateChanged);
}

TEST(States, TheyCloseFirst) {
  Steps()
      .receive({.seq = 0, .flags = kAck | kFin})
      .expect({.ack = 1})
      .expect_state(TcpState::kCloseWait)
      .write(100)
      .shutdown()
      .expect({.seq = 0, .len = 100})
      .expect({.seq = 100, .flags = kAck | kFin})
      .expect_state(TcpState::kLastAck)
      .forget_events()
      .receive({.seq = 1, .ack = 101})
      .expect_state(TcpState::kClosed)
      .expect_events(kWritable | kClosed | kStateChanged);
}

TEST(States, BothCloseAtOnce) {
  Steps()
      .shutdown()
      .expect({.seq = 0, .flags = kAck | kFin})
      .receive({.seq = 0, .ack = 0, .flags = kAck | kFin})
      .expect({.seq = 1, .ack = 1})
      .expect_state(TcpState::kClosing)
      .receive({.seq = 1, .ack = 1})
      .expect_state(TcpState::kTimeWait);
}

TEST(States, FinAndAckOfOursTogether) {
  Steps()
      .shutdown()
      .forget_output()
      .receive({.seq = 0, .ack = 1, .flags = kAck | kFin})
      .expect({.seq = 1, .ack = 1})
      .expect_state(TcpState::kTimeWait);
}

TEST(States, ALostFinIsSentAgain) {
  Steps steps;
  steps.write(10).shutdown().forget_output().receive({.ack = 10});
  steps.pass(milliseconds(300)).expect({.seq = 10, .len = 0, .flags = kAck | kFin, .resent = true});
}

TEST(States, TimeWaitAnswersARepeatedFinAndStartsAnew) {
  Steps steps;
  steps.shutdown().receive({.seq = 0, .ack = 1, .flags = kAck | kFin}).forget_output();
  steps.pass(seconds(50)).receive({.seq = 0, .ack = 1, .flags = kAck | kFin}, false);
  steps.expect({.ack = 1}).pass(seconds(50)).expect_state(TcpState::kTimeWait);
  steps.pass(seconds(11)).expect_state(TcpState::kClosed);
}

TEST(States, FinWaitsForCwnd) {
  Start start;
  start.state.delegated.cwnd_bytes = 2000;
  Steps steps(start);
  steps.write(3000).shutdown().forget_output().expect_state(TcpState::kEstablished);
  EXPECT_TRUE(steps.connection().export_state(steps.now()).delegated.fin_pending);
  steps.receive({.ack = 2000}).expect({.seq = 2000, .len = 1000, .flags = kAck | kFin});
  steps.expect_state(TcpState::kFinWait1);
}

TEST(States, DataAfterCloseDrawsAReset) {
  Steps()
      .close()
      .expect({.flags = kAck | kFin})
      .receive({.ack = 1})
      .expect_state(TcpState::kFinWait2)
      .forget_events()
      .receive({.seq = 0, .ack = 1, .len = 10})
      .expect({.seq = 1, .flags = kAck | kRst})
      .expect_state(TcpState::kClosed)
      .expect_events(kClosed | kStateChanged);
}

TEST(States, FinWait2EndsAfterClose) {
  Steps().close().receive({.ack = 1}).pass(seconds(61)).expect_state(TcpState::kClosed);
}

TEST(States, FinWait2LastsAfterShutdownOnly) {
  Steps().shutdown().receive({.ack = 1}).pass(seconds(3000)).expect_state(TcpState::kFinWait2);
}

TEST(States, AnOrphanDoesNotProbeAClosedWindowForEver) {
  Start start;
  start.state.delegated.snd_wnd = 0;
  Steps steps(start);
  steps.write(10).close().expect_none();
  // Each probe is answered.
  for (int i = 0; i < 20 && steps.connection().state() != TcpState::kClosed; ++i)
    steps.receive({.ack = 0, .wnd = 0}).pass(seconds(120));
  steps.forget_output().expect_state(TcpState::kClosed);
}

TEST(States, AbortSendsAReset) {
  Steps()
      .write(10)
      .forget_output()
      .abort()
      .expect({.seq = 10, .len = 0, .flags = kAck | kRst})
      .expect_none()
      .expect_state(TcpState::kClosed);
}

TEST(Reset, ExactlyAtRcvNxtCloses) {
  Steps()
      .receive({.seq = 0, .flags = kRst})
      .expect_none()
      .expect_state(TcpState::kClosed)
      .expect_events(kReset | kClosed | kStateChanged);
}

// Reference 4.11: one challenge, until the peer has shown that it is there.
TEST(Reset, ElsewhereInTheWindowIsChallengedOnce) {
  Steps()
      .receive({.seq = 100, .flags = kRst})
      .expect({.seq = 0, .len = 0, .ack = 0, .flags = kAck})
      .receive({.seq = 200, .flags = kRst})
      .expect_none()
      .pass(seconds(60))
      .receive({.seq = 200, .flags = kRst})
      .expect_none()
      .receive({.seq = 0, .len = 10})
      .pass(seconds(1))
      .forget_output()
      .receive({.seq = 200, .flags = kRst})
      .expect({.ack = 10})
      .expect_state(TcpState::kEstablished);
}

TEST(Reset, OutsideTheWindowIsIgnored) {
  Steps()
      .receive({.seq = 100'000, .flags = kRst}, false)
      .expect_none()
      .receive({.seq = 0xffffff00u, .flags = kRst}, false)
      .expect_none()
      .expect_state(TcpState::kEstablished);
}

TEST(Challenge, SynIsChallenged) {
  Steps()
      .receive({.seq = 0, .flags = TcpFlags::kSyn}, false)
      .expect({.ack = 0, .flags = kAck})
      .expect_state(TcpState::kEstablished);
}

TEST(Challenge, AnAckOfWhatWasNeverSentIsChallenged) {
  Steps()
      .receive({.seq = 0, .ack = 5000, .len = 10}, false)
      .expect({.seq = 0, .ack = 0})
      .expect_events(0)
      .pass(seconds(1))
      .receive({.seq = 0, .ack = 0xfff00000u, .len = 10}, false)
      .expect({.seq = 0, .ack = 0})
      .expect_events(0);
}

TEST(Challenge, AKeepaliveProbeOfThePeerIsAnswered) {
  Steps().receive({.seq = 0xffffffffu}, false).expect({.seq = 0, .len = 0, .ack = 0});
}

TEST(Keepalive, ProbesThenGivesUpWithAReset) {
  Start start;
  start.state.cached.keepalive = {.enabled = true, .idle_s = 10, .interval_s = 2, .probes = 3};
  Steps steps(start);
  steps.pass(milliseconds(9900)).expect_none();
  steps.pass(milliseconds(200)).expect({.seq = 0xffffffffu, .len = 0}).expect_none();
  steps.receive({.ack = 0}).pass(seconds(9)).expect_none();
  steps.pass(seconds(2)).expect({.seq = 0xffffffffu, .len = 0});
  steps.pass(seconds(4)).expect({.len = 0}).expect({.len = 0}).expect_none();
  steps.pass(seconds(2)).expect({.flags = kAck | kRst});
  steps.expect_state(TcpState::kClosed).expect_events(kTimedOut | kClosed | kStateChanged);
}

TEST(Keepalive, TrafficKeepsItQuiet) {
  Start start;
  start.state.cached.keepalive = {.enabled = true, .idle_s = 10, .interval_s = 2, .probes = 3};
  Steps steps(start);
  for (std::uint32_t i = 0; i < 10; ++i)
    steps.pass(seconds(8)).receive({.seq = i * 10, .len = 10}).pass(seconds(1)).forget_output();
  steps.expect_state(TcpState::kEstablished);
  EXPECT_EQ(steps.connection().info().segments_out, 10u);
}

TEST(HandOver, UnacknowledgedDataIsStillRepaired) {
  Steps steps;
  steps.write(3000).forget_output().hand_over().expect_none();
  steps.pass(milliseconds(30)).expect({.seq = 2000, .len = 1000, .resent = true});
  steps.receive({.ack = 3000}).pass(seconds(60)).expect_none();
}

TEST(HandOver, FreezeSendsTheOwedAckOnly) {
  Steps steps;
  steps.receive({.seq = 0, .len = 100}).expect_none().hand_over();
  steps.expect({.len = 0, .ack = 100}).expect_none().pass(seconds(1)).expect_none();
}

TEST(HandOver, TimestampsGoOn) {
  Steps steps;
  steps.write(10).forget_output();
  const auto first = steps.connection().export_state(steps.now()).delegated.ts_val;
  EXPECT_GT(first, 70'000u);
  steps.pass(milliseconds(1500)).forget_output().hand_over();
  EXPECT_GT(steps.connection().export_state(steps.now()).delegated.ts_val, first + 1500);
}

TEST(HandOver, EveryStateContinues) {
  Steps fin_wait_1;
  fin_wait_1.write(10).shutdown().hand_over().expect_state(TcpState::kFinWait1).forget_output();
  fin_wait_1.receive({.ack = 11}).expect_state(TcpState::kFinWait2).hand_over();
  fin_wait_1.receive({.seq = 0, .ack = 11, .flags = kAck | kFin}).expect({.seq = 11, .ack = 1});
  fin_wait_1.expect_state(TcpState::kTimeWait).hand_over().pass(seconds(61));
  fin_wait_1.expect_state(TcpState::kClosed);

  Steps close_wait;
  close_wait.receive({.seq = 0, .flags = kAck | kFin}).hand_over().forget_output();
  close_wait.expect_state(TcpState::kCloseWait).write(5).expect({.seq = 0, .len = 5, .ack = 1});
  close_wait.shutdown().expect({.seq = 5, .flags = kAck | kFin}).hand_over();
  close_wait.expect_state(TcpState::kLastAck).receive({.seq = 1, .ack = 6});
  close_wait.expect_state(TcpState::kClosed);
}

TEST(HandOver, APendingFinIsSent) {
  Start start;
  start.queued = 500;
  start.state.delegated.fin_pending = true;
  start.state.delegated.state = TcpState::kFinWait1;  // as Linux calls it already
  Steps(start)
      .expect({.seq = 0, .len = 500, .flags = kAck | kFin})
      .expect_state(TcpState::kFinWait1);
}

TEST(HandOver, ARecordOlderThanTheFinIsUnderstood) {
  Start start;
  start.queued = 500;
  start.state.delegated.fin_pending = true;
  start.state.delegated.snd_max += 501;  // the FIN left after the record was written
  Steps steps(start);
  steps.expect_none().expect_state(TcpState::kFinWait1);
  steps.receive({.ack = 501}).expect_state(TcpState::kFinWait2);
}

TEST(HandOver, TimersKeepTheirRemainder) {
  Start start;
  start.state.constant.sack = false;
  Steps steps(start);
  steps.write(10).forget_output();
  for (int i = 0; i < 4; ++i)
    steps.pass(milliseconds(50)).hand_over().expect_none();
  steps.pass(milliseconds(11)).expect({.seq = 0, .len = 10, .resent = true});
}

// The host does not tell when its timer would have expired: not the whole backed-off time again.
TEST(HandOver, ABackedOffTimeoutOfTheHostIsNotWaitedForTwice) {
  Start start;
  start.queued = 10;
  start.state.delegated.snd_max += 10;
  start.state.delegated.retransmits = 3;
  Steps steps(start);
  steps.pass(milliseconds(209)).expect_none();
  steps.pass(milliseconds(2)).expect({.seq = 0, .len = 10, .resent = true});
  steps.pass(milliseconds(1500)).expect_none();  // and then the backoff goes on
}

TEST(HandOver, UnreadDataStaysReadable) {
  Start start;
  start.unread = 5000;
  Steps steps(start);
  steps.receive({.seq = 0, .len = 2000, .gso = 1000}).forget_output().hand_over();
  EXPECT_EQ(steps.connection().streams().rx_range.length(), 7000u);
}

}  // namespace
}  // namespace snp::tcp::testing
