// The receiving half: acceptance, order, ACK policy, window, end of stream.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

TEST(Receive, InOrderDataIsReadableAndAcknowledgedEverySecondSegment) {
  Steps()
      .receive({.seq = 0, .len = 1000})
      .expect_none()
      .receive({.seq = 1000, .len = 1000})
      .expect({.seq = 0, .len = 0, .ack = 2000, .flags = kAck})
      .expect_none()
      .expect_events(kReadable)
      .consume(2000);
}

TEST(Receive, ALoneSegmentIsAcknowledgedAfterTheDelay) {
  Steps()
      .receive({.seq = 0, .len = 100})
      .pass(milliseconds(39))
      .expect_none()
      .pass(milliseconds(1))
      .expect({.len = 0, .ack = 100})
      .pass(seconds(10))
      .expect_none();
}

TEST(Receive, AnAnswerCarriesTheAck) {
  Steps()
      .receive({.seq = 0, .len = 100})
      .write(50)
      .expect({.seq = 0, .len = 50, .ack = 100})
      .receive({.seq = 100, .ack = 50, .len = 100})
      .write(50)
      .expect({.seq = 50, .len = 50, .ack = 200})
      .expect_none();
}

TEST(Receive, AMergedFrameIsAcknowledgedOnce) {
  Steps()
      .receive({.seq = 0, .len = 20'000, .gso = 1000})
      .expect({.len = 0, .ack = 20'000})
      .expect_none()
      .consume(20'000);
}

TEST(Receive, QuickAckMeansAtOnce) {
  Start start;
  start.state.cached.quick_ack = true;
  Steps(start).receive({.seq = 0, .len = 10}).expect({.len = 0, .ack = 10});
}

TEST(Receive, AGapIsReportedWithSackAndFilled) {
  Steps()
      .receive({.seq = 1000, .len = 1000})
      .expect({.ack = 0, .sack = Blocks{{1000, 2000}}})
      .receive({.seq = 3000, .len = 1000})
      .expect({.ack = 0, .sack = Blocks{{3000, 4000}, {1000, 2000}}})
      .receive({.seq = 0, .len = 1000})
      .expect({.ack = 2000, .sack = Blocks{{3000, 4000}}})
      .receive({.seq = 2000, .len = 1000})
      .expect({.ack = 4000, .sack = Blocks{}})
      .consume(4000);
}

TEST(Receive, WithoutSackAGapIsReportedByDuplicateAcks) {
  Start start;
  start.state.constant.sack = false;
  Steps(start)
      .receive({.seq = 1000, .len = 1000})
      .expect({.ack = 0, .sack = Blocks{}})
      .receive({.seq = 2000, .len = 1000})
      .expect({.ack = 0, .sack = Blocks{}});
}

TEST(Receive, ADuplicateIsReportedWithDsack) {
  Steps()
      .receive({.seq = 0, .len = 2000, .gso = 1000})
      .forget_output()
      .receive({.seq = 1000, .len = 1000}, false)
      .expect({.ack = 2000, .sack = Blocks{{1000, 2000}}})
      .receive({.seq = 3000, .len = 1000})
      .expect({.ack = 2000, .sack = Blocks{{3000, 4000}}})
      .receive({.seq = 3000, .len = 1000})
      .expect({.ack = 2000, .sack = Blocks{{3000, 4000}, {3000, 4000}}});
}

TEST(Receive, OverlapsDeliverEachByteOnce) {
  Steps()
      .receive({.seq = 0, .len = 700})
      .receive({.seq = 300, .len = 1000})
      .receive({.seq = 1200, .len = 500})
      .receive({.seq = 2000, .len = 500})
      .receive({.seq = 1600, .len = 900})
      .expect_events(kReadable)
      .consume(2500);
}

TEST(Receive, TheWindowFollowsTheRingAndNeverShrinks) {
  Start start;
  start.ring = 1u << 16;
  start.state.delegated.rcv_wnd = 60'000;
  Steps steps(start);
  steps.receive({.seq = 0, .len = 60'000, .gso = 1000});
  steps.expect({.ack = 60'000});
  steps.receive({.seq = 60'000, .len = 4000, .gso = 1000});
  steps.expect({.ack = 64'000});
  steps.consume(64'000);
  steps.expect({.ack = 64'000, .wnd_bytes = 65'536}).expect_none();
}

TEST(Receive, AnOfferOfTheHostThatTheRingCannotHoldIsTakenBack) {
  Start start;
  start.ring = 1u << 14;
  start.state.delegated.rcv_wnd = 60'000;
  Steps(start)
      .receive({.seq = 0, .len = 20'000, .gso = 1000})
      .expect({.ack = 16'384, .wnd_bytes = 0})
      .consume(16'384);
}

TEST(Receive, AFullRingTakesNothingMore) {
  Start start;
  start.ring = 1u << 14;
  start.state.delegated.rcv_wnd = 16'000;
  Steps steps(start);
  steps.receive({.seq = 0, .len = 16'020, .gso = 1000});  // 20 bytes into the rounding
  steps.receive({.seq = 16'020, .len = 5000, .gso = 1000});
  EXPECT_LE(steps.connection().streams().rx_range.length(), start.ring);
  steps.consume(16'020);
}

TEST(Receive, AZeroWindowOpensWithAnUpdate) {
  Start start;
  start.ring = 1u << 14;
  start.state.delegated.rcv_wnd = 16'000;
  Steps(start)
      .receive({.seq = 0, .len = 16'000, .gso = 1000})
      .expect({.wnd_bytes = 0})
      .consume(500)
      .expect_none()  // silly window
      .consume(4000)
      .expect({.len = 0, .ack = 16'000, .wnd_bytes = 4864})
      .consume(100)
      .expect_none();
}

TEST(Receive, TextBeyondTheWindowIsRefused) {
  Steps()
      .receive({.seq = 70'000, .len = 100}, false)
      .expect({.ack = 0, .sack = Blocks{}})
      .expect_events(0);
}

TEST(Receive, FinAfterDataClosesTheStream) {
  Steps()
      .receive({.seq = 0, .len = 100, .flags = kAck | kFin})
      .expect({.ack = 101})
      .expect_state(TcpState::kCloseWait)
      .expect_events(kReadable | kPeerClosed | kStateChanged)
      .consume(100);
}

TEST(Receive, FinOutOfOrderWaits) {
  Steps()
      .receive({.seq = 100, .len = 100, .flags = kAck | kFin})
      .expect({.ack = 0})
      .expect_state(TcpState::kEstablished)
      .expect_events(0)
      .receive({.seq = 0, .len = 100})
      .expect({.ack = 201})
      .expect_state(TcpState::kCloseWait)
      .expect_events(kReadable | kPeerClosed | kStateChanged)
      .receive({.seq = 100, .len = 100, .flags = kAck | kFin}, false)
      .expect({.ack = 201})
      .expect_events(0);
}

TEST(Receive, UrgentDataIsLeftToTheHost) {
  Steps()
      .receive({.seq = 0, .len = 10, .flags = kAck | TcpFlags::kUrg})
      .expect_none()
      .expect_events(kUrgent)
      .receive({.seq = 10, .len = 2000})
      .pass(seconds(1))
      .expect_none()
      .expect_events(0);
}

TEST(Receive, PawsDropsWhatIsOlderThanTheNewest) {
  Steps()
      .receive({.seq = 0, .len = 100})
      .receive({.seq = 100, .len = 100, .ts_val = 4'000'000}, false)
      .expect({.ack = 100})
      .expect_events(kReadable)
      .receive({.seq = 100, .len = 100, .flags = kRst | kAck, .ts_val = 4'000'000})  // not a reset
      .forget_output();
}

// The host cannot be asked for TS.Recent; half of all peers' clocks look older than 0.
TEST(Receive, PawsWaitsUntilTsRecentIsKnown) {
  Start start;
  start.state.delegated.ts_recent = 0;
  Steps(start)
      .receive({.seq = 0, .len = 100, .ts_val = 0xbdeab071})
      .expect_events(kReadable)
      .receive({.seq = 100, .len = 100, .ts_val = 0xbdeab070}, false)
      .forget_output();
}

TEST(Receive, TimestampsEchoTheSegmentThatIsAcknowledgedFirst) {
  Steps steps;
  steps.receive({.seq = 0, .len = 1000, .ts_val = 5'000'100});
  steps.receive({.seq = 1000, .len = 1000, .ts_val = 5'000'200});
  steps.expect({.ack = 2000});
  const ConnectionState state = steps.connection().export_state(steps.now());
  EXPECT_EQ(state.delegated.ts_recent, 5'000'100u);  // RFC 7323 4.3
}

TEST(Receive, ARepeatedSegmentIsEchoedByItsOwnTimestampWhereNothingIsMissing) {
  Steps steps;
  steps.receive({.seq = 0, .len = 3000, .gso = 1000}).forget_output();
  steps.receive({.seq = 0, .len = 1000, .ts_val = 5'007'000}, false).expect({.ack = 3000});
  EXPECT_EQ(steps.connection().export_state(steps.now()).delegated.ts_recent, 5'007'000u);
}

// The repetition overtakes what it was not sent for: PAWS must not drop that.
TEST(Receive, ARepeatedSegmentDoesNotMakeALateOneLookOld) {
  Steps steps;
  steps.receive({.seq = 0, .len = 2000, .gso = 1000}).forget_output();
  steps.receive({.seq = 3000, .len = 1000, .ts_val = 5'000'020}).forget_output();
  steps.receive({.seq = 0, .len = 1000, .ts_val = 5'000'050}, false).forget_output();
  steps.receive({.seq = 2000, .len = 1000, .ts_val = 5'000'010}).expect({.ack = 4000});
}

TEST(Receive, EcnMarksAreEchoedUntilCwr) {
  Start start;
  start.state.constant.ecn = true;
  Steps(start)
      .receive({.seq = 0, .len = 1000, .is_ce = true})
      .expect({.ack = 1000, .flags = kAck | TcpFlags::kEce})
      .receive({.seq = 1000, .len = 2000, .gso = 1000})
      .expect({.ack = 3000, .flags = kAck | TcpFlags::kEce})
      .receive({.seq = 3000, .len = 2000, .flags = kAck | TcpFlags::kCwr, .gso = 1000})
      .expect({.ack = 5000, .flags = kAck});
}

}  // namespace
}  // namespace snp::tcp::testing
