// Each variable of the delegated state comes out as it went in (reference 4.3, CHM-1), and what a
// state may say that cannot be is bounded.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

// What the connection says at the moment at which it is taken.
DelegatedState returned(const Start& start) {
  Steps steps(start);
  steps.forget_output();
  return steps.connection().export_delegated(steps.now());
}

Start in_flight(std::uint32_t bytes) {
  Start start;
  start.queued = bytes;
  start.state.delegated.snd_nxt = start.state.delegated.snd_max += bytes;
  return start;
}

TEST(Chm1Variables, TheSendWindowComesBack) {
  Start start = in_flight(3000);
  DelegatedState& d = start.state.delegated;
  d.snd_wnd = 40'000;
  d.snd_wl1 = d.rcv_nxt - 10;
  d.snd_wl2 = d.snd_una - 5;
  d.max_snd_wnd = 50'000;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.snd_una, d.snd_una);
  EXPECT_EQ(out.snd_nxt, d.snd_max);
  EXPECT_EQ(out.snd_max, d.snd_max);
  EXPECT_EQ(out.snd_wnd, 40'000u);
  EXPECT_EQ(out.snd_wl1, d.snd_wl1);
  EXPECT_EQ(out.snd_wl2, d.snd_wl2);
  EXPECT_EQ(out.max_snd_wnd, 50'000u);
}

TEST(Chm1Variables, WhatIsOfferedCountsFromTheLastAck) {
  Start start;
  start.state.cached.receive_buffer = 4096;
  DelegatedState& d = start.state.delegated;
  d.rcv_wup = d.rcv_nxt - 100;
  d.rcv_wnd = 2000;
  start.unread = 100;
  Steps steps(start);
  // The ACK is owed; until it leaves the edge is what was promised: 2000 beyond rcv_wup.
  EXPECT_EQ(steps.connection().export_delegated(steps.now()).rcv_nxt, d.rcv_nxt);
  steps.expect({.len = 0, .ack = 0}).expect_none();

  Start same;
  std::vector<std::byte> tx(same.ring), rx(same.ring);
  const Streams streams{{tx.data(), same.ring}, {}, {rx.data(), same.ring}, {0, 100}};
  const Connection connection(start.state, streams, start.limits, Instant(seconds(1000)));
  const DelegatedState out = connection.export_delegated(Instant(seconds(1000)));
  EXPECT_EQ(out.rcv_wup, d.rcv_wup);
  EXPECT_EQ(out.rcv_wnd, 2000u);
  EXPECT_EQ(connection.info().rcv_wnd, 1900u);
}

TEST(Chm1Variables, TheRoundTripComesBack) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.srtt_us = 50'000;
  d.rttvar_us = 60'000;
  d.min_rtt_us = 30'000;
  d.silence_ms = 7000;
  d.stall_ms = 8000;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.srtt_us, 50'000u);
  EXPECT_EQ(out.rttvar_us, 60'000u);
  EXPECT_EQ(out.min_rtt_us, 30'000u);
  EXPECT_EQ(out.rto_ms, 290u);
  EXPECT_EQ(out.silence_ms, 7000u);
  EXPECT_EQ(out.stall_ms, 8000u);
}

TEST(Chm1Variables, TheTimestampsComeBack) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.ts_recent_age_ms = 123'456'789;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.ts_val, d.ts_val + 1) << "never what was sent last";
  EXPECT_EQ(out.ts_recent, d.ts_recent);
  EXPECT_EQ(out.ts_recent_age_ms, 123'456'789u);
}

TEST(Chm1Variables, ARetransmissionComesBack) {
  Start start = in_flight(1000);
  DelegatedState& d = start.state.delegated;
  d.retransmits = 3;
  d.retransmit_delta_ms = 700;
  d.loss_probe_sent = true;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.retransmits, 3u);
  EXPECT_EQ(out.retransmit_delta_ms, 700);
  EXPECT_TRUE(out.loss_probe_sent);
}

TEST(Chm1Variables, APersistTimerComesBack) {
  Start start;
  start.queued = 1000;
  DelegatedState& d = start.state.delegated;
  d.snd_wnd = 0;
  d.persist_probes = 2;
  d.persist_backoff = 5;
  d.retransmit_delta_ms = 3000;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.persist_probes, 2u);
  EXPECT_EQ(out.persist_backoff, 5u);
  EXPECT_EQ(out.retransmit_delta_ms, 3000);
}

// A host that counts both alike tells no backoff.
TEST(Chm1Variables, UnansweredProbesAreAtLeastAsManyDoublings) {
  Start start;
  start.queued = 1000;
  start.state.delegated.snd_wnd = 0;
  start.state.delegated.persist_probes = 3;
  EXPECT_EQ(returned(start).persist_backoff, 3u);
}

// Nothing waits longer than the timers here would let it.
TEST(Chm1Variables, ADeadlineBeyondTheTimeoutIsBroughtForward) {
  Start resending = in_flight(1000);
  resending.state.delegated.retransmit_delta_ms = 100'000;
  EXPECT_EQ(returned(resending).retransmit_delta_ms, 210);

  Start persisting;
  persisting.queued = 1000;
  persisting.state.delegated.snd_wnd = 0;
  persisting.state.delegated.retransmit_delta_ms = 100'000;
  EXPECT_EQ(returned(persisting).retransmit_delta_ms, 210);
}

TEST(Chm1Variables, AnIdleConnectionDoesNotPersist) {
  Start start;
  start.state.delegated.retransmit_delta_ms = 100;
  Steps steps(start);
  EXPECT_EQ(steps.connection().next_timeout(), kNever);
  EXPECT_EQ(steps.connection().export_delegated(steps.now()).retransmit_delta_ms, -1);
}

TEST(Chm1Variables, KeepaliveComesBack) {
  Start start;
  start.state.cached.keepalive = {.enabled = true, .idle_s = 100, .interval_s = 10, .probes = 5};
  DelegatedState& d = start.state.delegated;
  d.keepalive_probes = 2;
  d.keepalive_delta_ms = 4321;
  d.peer_doubted = true;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.keepalive_probes, 2u);
  EXPECT_EQ(out.keepalive_delta_ms, 4321);
  EXPECT_TRUE(out.peer_doubted);
}

// The timer of a connection that is not probed may still be told.
TEST(Chm1Variables, KeepaliveThatIsOffDoesNotRun) {
  Start start;
  start.state.delegated.keepalive_delta_ms = 1000;
  EXPECT_EQ(returned(start).keepalive_delta_ms, -1);
}

TEST(Chm1Variables, NothingIsProbedInTimeWait) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.state = TcpState::kTimeWait;
  d.peer_doubted = true;
  d.keepalive_delta_ms = 1000;
  d.end_delta_ms = 20'000;
  const DelegatedState out = returned(start);
  EXPECT_FALSE(out.peer_doubted);
  EXPECT_EQ(out.keepalive_delta_ms, -1);
  EXPECT_EQ(out.end_delta_ms, 20'000);
}

TEST(Chm1Variables, TheEndComesNoLaterThanItsBound) {
  Start start;
  start.limits.time_wait = seconds(60);
  DelegatedState& d = start.state.delegated;
  d.state = TcpState::kFinWait2;
  d.end_delta_ms = 3'600'000;
  EXPECT_EQ(returned(start).end_delta_ms, 60'000);
  d.end_delta_ms = 0;  // it was due: it expires at once
  Steps steps(start);
  EXPECT_EQ(steps.connection().export_delegated(steps.now()).end_delta_ms, 0);
  steps.pass(milliseconds(1)).expect_state(TcpState::kClosed);
  d.state = TcpState::kTimeWait;
  d.end_delta_ms = -1;  // not told
  EXPECT_EQ(returned(start).end_delta_ms, 60'000);
}

TEST(Chm1Variables, WhatEcnOwesComesBack) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.ecn_echo_due = d.cwr_due = true;
  EXPECT_FALSE(returned(start).ecn_echo_due) << "not agreed";
  EXPECT_FALSE(returned(start).cwr_due);
  start.state.constant.ecn = true;
  EXPECT_TRUE(returned(start).ecn_echo_due);
  EXPECT_TRUE(returned(start).cwr_due);
}

TEST(Chm1Variables, AFinThatWaitsComesBack) {
  Start start;
  start.queued = 5000;
  start.state.delegated.fin_pending = true;
  start.state.delegated.snd_wnd = 0;
  EXPECT_TRUE(returned(start).fin_pending);
  start.state.delegated.fin_pending = false;
  EXPECT_FALSE(returned(start).fin_pending);
}

// RFC 9293 3.3.2: the state follows from both FINs.
TEST(Chm1Variables, AFinThatWasSentAfterThePeersMeansLastAck) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.state = TcpState::kCloseWait;
  d.fin_pending = true;
  d.snd_nxt = d.snd_max += 1;
  EXPECT_EQ(returned(start).state, TcpState::kLastAck);
}

// RFC 7323 2.3: 14 is the largest shift.
TEST(Chm1Variables, AShiftBeyondFourteenIsFourteen) {
  Start start;
  start.state.constant.snd_wind_shift = 15;
  Steps steps(start);
  steps.receive({.wnd = 1});
  EXPECT_EQ(steps.connection().info().snd_wnd, 1u << 14);
}

TEST(Chm1Variables, NumbersThatContradictEachOtherAreBounded) {
  Start start;
  DelegatedState& d = start.state.delegated;
  d.snd_max = d.snd_una - 10;
  d.rcv_wup = d.rcv_nxt + 10;
  const DelegatedState out = returned(start);
  EXPECT_EQ(out.snd_max, d.snd_una);
  EXPECT_EQ(out.rcv_wup, d.rcv_nxt);
}

TEST(Chm1Variables, FrozenNothingExpiresAndNothingIsAccepted) {
  Start start = in_flight(1000);
  start.state.cached.keepalive.enabled = true;
  Steps steps(start);
  steps.connection().freeze(steps.now());
  steps.connection().freeze(steps.now());  // once more changes nothing
  EXPECT_EQ(steps.connection().next_timeout(), kNever);
  const DelegatedState before = steps.connection().export_delegated(steps.now());
  steps.connection().on_timeout(steps.now() + seconds(10));
  steps.receive({.seq = 0, .ack = 1000, .len = 10}, false).expect_none();
  const DelegatedState after = steps.connection().export_delegated(steps.now());
  EXPECT_EQ(after.snd_una, before.snd_una);
  EXPECT_EQ(after.rcv_nxt, before.rcv_nxt);
  EXPECT_EQ(after.retransmits, 0u);
}

}  // namespace
}  // namespace snp::tcp::testing
