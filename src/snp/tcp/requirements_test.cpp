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
TEST(Requirements, AClosedWindowStillHearsResetsAndUrgentData) {
  Start start;
  start.ring = 1u << 14;
  start.unread = 1u << 14;
  start.state.delegated.rcv_wnd = 0;
  Steps(start).receive({.seq = 0, .flags = kRst}).expect_state(TcpState::kClosed);
  Steps(start).receive({.seq = 0, .flags = kAck | TcpFlags::kUrg}).expect_events(kUrgent);
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

// RFC 9293 3.8.4 MUST-25, MUST-28: keepalive is off, and its interval two hours.
TEST(Requirements, AnIdleConnectionSaysNothing) {
  EXPECT_FALSE(CachedState{}.keepalive.enabled);
  EXPECT_GE(CachedState{}.keepalive.idle_s, 7200u);
  Steps().pass(seconds(48 * 3600)).expect_none();
}

// RFC 5681 4.1.
TEST(Requirements, TheWindowRestartsAfterAPause) {
  Steps steps(wide());
  steps.write(1000).forget_output().pass(milliseconds(10)).receive({.ack = 1000});
  steps.pass(seconds(60)).write(100'000);
  EXPECT_LE(steps.pending(), 10u);
}

// RFC 7323 5.3: a reset counts whatever its timestamp.
TEST(Requirements, AResetIsNotSubjectToPaws) {
  Steps steps;
  steps.receive({.seq = 0, .flags = kRst, .ts_val = 1}).expect_state(TcpState::kClosed);
}

// RFC 7323 5.5.
TEST(Requirements, PawsForgetsAfterTwentyFourDays) {
  constexpr auto kDay = seconds(24 * 3600);
  Steps steps;
  steps.receive({.seq = 0, .len = 100, .ts_val = 5'000'000}).forget_output();
  steps.pass(23 * kDay);
  steps.receive({.seq = 100, .len = 100, .ts_val = 4'000'000}, false).forget_output();
  steps.pass(2 * kDay).receive({.seq = 100, .len = 100, .ts_val = 4'000'000});
  steps.expect_events(kReadable);
}

// RFC 8985 7.3.
TEST(Requirements, TheLossProbeIsNewDataWhenThereIsSome) {
  Start start;
  start.state.delegated.cwnd_bytes = 2000;
  Steps steps(start);
  steps.write(5000).forget_output().pass(milliseconds(23));
  steps.expect({.seq = 2000, .len = 1000, .resent = false}).expect_none();
}

// RFC 8985 7.4.2: had the only segment, or the last, not been lost, both copies would be answered.
TEST(Requirements, ALossThatTheProbeRepairedReducesTheWindow) {
  struct Answer {
    bool comes_twice;
    bool has_dsack;
  };
  for (const Answer answer : {Answer{false, false}, Answer{true, false}, Answer{true, true}}) {
    Steps steps(wide());
    steps.write(1000).forget_output().pass(milliseconds(66)).expect({.seq = 0, .resent = true});
    steps.pass(milliseconds(10)).receive({.ack = 1000});
    const Blocks twice = answer.has_dsack ? Blocks{{0, 1000}} : Blocks{};
    if (answer.comes_twice) steps.receive({.ack = 1000, .sack = twice});
    steps.write(1000).forget_output().pass(milliseconds(10)).receive({.ack = 2000});
    EXPECT_EQ(steps.connection().info().ssthresh_bytes < 100'000, !answer.comes_twice);
  }
}

// RFC 6937 3: of a window of 20 segments one is lost; CUBIC goes down to 14. What leaves while the
// others are SACKed keeps to that share, neither in a burst nor after a silence.
TEST(Requirements, PrrSendsInProportionToWhatArrives) {
  Start start;
  start.state.delegated.cwnd_bytes = start.state.delegated.ssthresh_bytes = 20'000;
  start.state.cached.no_delay = true;
  Steps steps(start);
  steps.write(60'000).forget_output().pass(milliseconds(10));
  std::size_t sent = 0;
  for (std::uint32_t sacked = 1; sacked < 20; ++sacked) {
    steps.receive({.ack = 0, .sack = {{1000, 1000 + sacked * 1000}}});
    sent += steps.pending();
    steps.forget_output();
    EXPECT_LE(sent, sacked * 14 / 20 + 3) << sacked;
    EXPECT_GE(sent + 4, sacked * 14 / 20) << sacked;
  }
  steps.pass(milliseconds(10)).receive({.ack = 20'000});
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 14'000u);
  steps.pass(milliseconds(1)).forget_output();
  EXPECT_LE(steps.connection().info().cwnd_bytes, 16'000u);
}

// RFC 7323 2.3: a scale of more than 14 counts as 14.
TEST(Requirements, AWindowIsScaledByFourteenAtMost) {
  Start start;
  start.state.constant.snd_wind_shift = 20;
  start.state.constant.rcv_wind_shift = 20;
  Steps steps(start);
  steps.receive({.ack = 0, .wnd = 2}).forget_output();
  EXPECT_EQ(steps.connection().info().snd_wnd, 2u << 14);
}

// RFC 8985 6.2 step 2: of what was sent twice an answer sooner than any round trip is for the first
// copy, and says nothing of what left after that: all of it would seem to be lost.
TEST(Requirements, AnAnswerSoonerThanARoundTripIsForTheFirstCopy) {
  Start start = wide();
  start.state.constant.timestamps = false;
  Steps steps(start);
  steps.write(6000).forget_output().pass(milliseconds(10));
  const std::uint32_t mss = steps.connection().info().snd_mss;
  steps.receive({.ack = 0, .sack = {{mss, 4 * mss}}});
  steps.expect({.seq = 0, .len = mss, .resent = true}).expect_none();
  steps.pass(milliseconds(1)).receive({.ack = 4 * mss}).pass(milliseconds(1));
  // The rest left before the repetition, and more than its "round trip" ago.
  steps.expect_none();
}

// Numbers of another owner that cannot be: our FIN is acknowledged, so nothing can be under way.
TEST(Requirements, WhatIsAcknowledgedWholeIsNeverSentAgain) {
  Start start;
  start.state.delegated.state = TcpState::kFinWait2;
  start.state.delegated.snd_max = start.state.delegated.snd_una + 5000;
  Steps steps(start);
  EXPECT_EQ(steps.connection().info().unacked_bytes, 0u);
  steps.pass(seconds(200)).expect_none();
}

// A CUBIC connection whose window was once `most` segments, at `cwnd` after a loss.
CongestionState after_loss(const CongestionAlgorithm& cubic, std::uint32_t most, Instant now) {
  CongestionState state;
  state.mss = 1000;
  state.cwnd = most * 1000;
  cubic.start(state, 100'000, {}, now);
  cubic.on_congestion(state, Congestion::kLoss, state.cwnd, now);
  state.cwnd = state.ssthresh;
  return state;
}

// RFC 9438 4.2: however far the curve has gone, a round trip brings at most half of the window.
TEST(Requirements, CubicGrowsAtMostByHalfARoundTrip) {
  const CongestionAlgorithm& cubic = congestion_algorithm_or_default("cubic");
  Instant now(seconds(100));
  CongestionState state = after_loss(cubic, 100, now);
  cubic.on_acked(state, {.bytes = 1000, .min_rtt_us = 100'000}, now);  // the epoch begins
  now += seconds(60);
  const std::uint32_t before = state.cwnd;
  for (std::uint32_t acked = 0; acked < before; acked += 1000)
    cubic.on_acked(state, {.bytes = 1000, .min_rtt_us = 100'000}, now);
  EXPECT_GT(state.cwnd, before + before / 4);
  EXPECT_LE(state.cwnd, before + before * 6 / 10);
}

// RFC 9438 4.7: after a second loss below the first, the plateau lies at 0.85 of where it was.
TEST(Requirements, CubicGivesRoomToNewcomers) {
  const CongestionAlgorithm& cubic = congestion_algorithm_or_default("cubic");
  Instant now(seconds(100));
  CongestionState state = after_loss(cubic, 200, now);
  state.cwnd = 160'000;
  cubic.on_congestion(state, Congestion::kLoss, state.cwnd, now);
  state.cwnd = state.ssthresh;  // 112 segments; the plateau is at 136, reached after 3.9 s
  for (int i = 0; i < 39; ++i) {
    now += milliseconds(100);
    cubic.on_acked(state, {.bytes = state.cwnd, .min_rtt_us = 100'000}, now);
  }
  EXPECT_NEAR(state.cwnd, 136'000, 3000);
}

}  // namespace
}  // namespace snp::tcp::testing
