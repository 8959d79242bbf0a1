// Paths that reorder, and windows that the device's bursts leave a little unused.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

Start with_window(std::uint32_t cwnd_bytes) {
  Start start;
  start.state.delegated.cwnd_bytes = cwnd_bytes;
  return start;
}

// The hole at 1000 was only late, which its echo tells. Pre: nothing else is outstanding.
void see_a_late_segment(Steps& steps) {
  steps.write(6000).forget_output().pass(milliseconds(10));
  const std::uint32_t echo = 70'001;  // of the first copies
  steps.receive({.ack = 1000, .sack = {{2000, 5000}}, .ts_ecr = echo});
  steps.expect({.seq = 1000, .len = 1000, .resent = true});
  steps.pass(milliseconds(2)).receive({.ack = 6000, .ts_ecr = echo}).forget_output();
}

TEST(Reordering, AfterALateSegmentTheNextGapWaits) {
  Steps steps(with_window(100'000));
  see_a_late_segment(steps);
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 6000, .sack = {{7000, 12'000}}}).expect_none();
  steps.pass(milliseconds(1)).expect_none();  // a quarter of the least round-trip time: 2.5 ms
  steps.pass(milliseconds(3)).expect({.seq = 6000, .len = 1000, .resent = true});
}

TEST(Reordering, ALateSegmentTakesTheReductionBack) {
  Steps steps(with_window(100'000));
  see_a_late_segment(steps);
  EXPECT_GE(steps.connection().info().cwnd_bytes, 100'000u);
}

TEST(Reordering, IsCounted) {
  Steps steps(with_window(100'000));
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 1000, .sack = {{2000, 3000}}}).expect_none();
  EXPECT_EQ(steps.connection().info().reorderings, 0u);
  steps.receive({.ack = 3000});
  EXPECT_EQ(steps.connection().info().reorderings, 1u);
}

TEST(Reordering, ASackGrowsTheWindowWhereOrderTellsLittle) {
  Start start = with_window(20'000);
  Steps steps(start);
  see_a_late_segment(steps);
  steps.write(60'000).forget_output().pass(milliseconds(10));
  const std::uint32_t before = steps.connection().info().cwnd_bytes;
  steps.receive({.ack = 6000, .sack = {{8000, 9000}}});
  EXPECT_EQ(steps.connection().info().cwnd_bytes, before + 1000);
}

TEST(Reordering, ASackAloneGivesARoundTripTime) {
  Start start = with_window(100'000);
  start.state.delegated.srtt_us = start.state.delegated.rttvar_us = 0;
  start.state.delegated.min_rtt_us = 0;
  Steps steps(start);
  steps.write(6000).forget_output().pass(milliseconds(33));
  steps.receive({.ack = 0, .sack = {{1000, 2000}}});
  EXPECT_EQ(steps.connection().info().srtt_us, 33'000u);
}

// A window of 30 segments and a device that would take 20 at once: some of the window waits for the
// next burst when a loss shows. It was in use all the same.
TEST(Reordering, WhatWaitsForABurstCountsAsUsed) {
  Start start = with_window(30'000);
  start.limits.max_segment_payload = 20'000;
  start.state.delegated.srtt_us = start.state.delegated.min_rtt_us = 200;
  start.state.delegated.ssthresh_bytes = 30'000;
  Steps steps(start);
  steps.write(200'000).forget_output().pass(microseconds(200));
  steps.receive({.ack = 4000, .wnd = 4000}).expect_none();  // four segments: not worth a burst
  steps.receive({.ack = 4000, .wnd = 4000, .sack = {{5000, 9000}}}).forget_output();
  EXPECT_GE(steps.connection().info().ssthresh_bytes, 21'000u);  // 0.7 of the window
}

// A long path at a low rate: a burst of a third of the window would only fill queues.
TEST(Reordering, BurstsAreShortWhereTheRateIsLow) {
  Start start = with_window(30'000);
  start.limits.max_segment_payload = 20'000;
  start.state.delegated.srtt_us = start.state.delegated.min_rtt_us = 100'000;
  start.state.delegated.ssthresh_bytes = 30'000;
  Steps steps(start);
  steps.write(200'000).forget_output().pass(milliseconds(100));
  steps.receive({.ack = 2000, .wnd = 4000}).expect({.seq = 30'000, .len = 2000}).expect_none();
}

// Two segments, the first of which does not arrive. Returns how long its repetition waits; it is
// acknowledged a round trip later, with a DSACK if it was in vain.
Duration repair_a_hole(Steps& steps, std::uint32_t& base, bool is_in_vain) {
  steps.write(2000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = base, .sack = {{base + 1000, base + 2000}}});
  const Instant since = steps.now();
  while (steps.pending() == 0 && steps.now() < since + milliseconds(100))
    steps.pass(microseconds(500));
  const Duration waited = steps.now() - since;
  steps.expect({.seq = base, .len = 1000, .resent = true}).expect_none().pass(milliseconds(10));
  if (is_in_vain)
    steps.receive({.ack = base + 2000, .sack = {{base, base + 1000}}}).forget_output();
  else
    steps.receive({.ack = base + 2000}).forget_output();
  base += 2000;
  return waited;
}

// RFC 8985 6.2 step 4: a DSACK widens the wait by a quarter of the least round trip, for as long as
// sixteen recoveries bring no other.
TEST(Reordering, AWidenedWaitIsForgottenAfterSixteenRecoveries) {
  constexpr Duration kQuarter = microseconds(2500);
  Steps steps(with_window(100'000));
  std::uint32_t base = 6000;
  see_a_late_segment(steps);
  EXPECT_EQ(repair_a_hole(steps, base, true), kQuarter);
  for (int i = 1; i <= 10; ++i)
    EXPECT_EQ(repair_a_hole(steps, base, false), 2 * kQuarter) << "recovery " << i;
  EXPECT_EQ(repair_a_hole(steps, base, true), 2 * kQuarter);  // another: the count begins anew
  for (int i = 1; i <= 16; ++i)
    EXPECT_EQ(repair_a_hole(steps, base, false), 3 * kQuarter) << "recovery " << i;
  EXPECT_EQ(repair_a_hole(steps, base, false), kQuarter);
}

// RFC 8985 6.2 step 4: many needless repetitions widen the wait, but not beyond a round trip.
TEST(Reordering, TheWaitIsBoundedByTheRoundTrip) {
  Steps steps(with_window(100'000));
  std::uint32_t base = 6000;
  see_a_late_segment(steps);
  Duration waited{};
  for (int i = 0; i < 12; ++i) {  // without the bound 30 ms at last
    waited = repair_a_hole(steps, base, true);
    EXPECT_LE(waited, microseconds(steps.connection().info().srtt_us) + microseconds(500));
  }
  EXPECT_GE(waited, milliseconds(9));
}

// RFC 3708: a DSACK of what this recovery did not send again takes nothing back, and one that comes
// without any repetition of ours is the path's.
TEST(Reordering, DuplicatesOfThePathTakeNothingBack) {
  Start start = with_window(20'000);
  start.state.constant.timestamps = false;
  Steps steps(start);
  steps.write(10'000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 5000}}}).forget_output();  // [0, 1000) is sent again
  const std::uint32_t reduced = steps.connection().info().ssthresh_bytes;
  EXPECT_LT(reduced, 20'000u);
  steps.receive({.ack = 0, .sack = {{3000, 4000}, {1000, 6000}}});
  steps.pass(milliseconds(10)).receive({.ack = 10'000}).forget_output();
  steps.write(6000).forget_output().pass(milliseconds(10));
  steps.receive({.ack = 11'000, .sack = {{9000, 10'000}}});
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, reduced);
}

// Two holes: the first was sent and is late, the second is lost and sent again. The echo of the
// first is older than the repetition, of which it says nothing.
TEST(Reordering, TheEchoOfALateSegmentBelowSaysNothingOfARepetitionAbove) {
  Start start = with_window(20'000);
  start.state.delegated.min_rtt_us = 8000;  // a late segment may be 2 ms late
  Steps steps(start);
  see_a_late_segment(steps);
  steps.write(4000).forget_output().pass(milliseconds(2));  // [6000, 10000)
  steps.write(4000).forget_output().pass(milliseconds(8));  // [10000, 14000)
  steps.receive({.ack = 6000, .sack = {{8000, 10'000}}, .ts_ecr = 70'012}).expect_none();
  const std::uint32_t before = steps.connection().info().ssthresh_bytes;
  steps.pass(milliseconds(3)).expect({.seq = 6000, .resent = true}).forget_output();
  EXPECT_LT(steps.connection().info().ssthresh_bytes, before);
}

}  // namespace
}  // namespace snp::tcp::testing
