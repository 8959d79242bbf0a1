// Recoveries that nothing had been lost for: limited transmit before them, and what takes them
// back.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

Start no_timestamps(bool sack, std::uint32_t cwnd) {
  Start start;
  start.state.constant.timestamps = false;
  start.state.constant.remote_mss = 1000;
  start.state.constant.sack = sack;
  start.state.delegated.cwnd_bytes = cwnd;
  start.state.delegated.ssthresh_bytes = cwnd;
  start.state.cached.no_delay = true;
  return start;
}

void send(Steps& steps, std::uint32_t first, std::uint32_t last) {
  for (std::uint32_t seq = first; seq < last; seq += 1000)
    steps.expect({.seq = seq, .len = 1000, .resent = false});
}

// RFC 3042: the first two duplicate ACKs let one new segment go each.
TEST(LimitedTransmit, WithoutSackADuplicateAckLetsANewSegmentGo) {
  Steps steps(no_timestamps(false, 4000));
  steps.write(20'000);
  send(steps, 0, 4000);
  steps.expect_none().pass(milliseconds(10));
  steps.receive({.ack = 0}).expect({.seq = 4000, .len = 1000, .resent = false}).expect_none();
  steps.receive({.ack = 0}).expect({.seq = 5000, .len = 1000, .resent = false}).expect_none();
  steps.receive({.ack = 0}).expect({.seq = 0, .len = 1000, .resent = true});
}

TEST(LimitedTransmit, WithSackToo) {
  Steps steps(no_timestamps(true, 4000));
  steps.write(20'000);
  send(steps, 0, 4000);
  steps.expect_none().pass(milliseconds(1));
  steps.receive({.ack = 0, .sack = {{1000, 2000}}}).expect({.seq = 4000, .len = 1000});
  steps.receive({.ack = 0, .sack = {{1000, 3000}}}).expect({.seq = 5000, .len = 1000});
}

// RFC 5682 3.1: the timeout was a delay; the ACK for what was not sent again says so.
TEST(Frto, WithSackAnAckForAnOriginalTakesTheTimeoutBack) {
  Steps steps(no_timestamps(true, 8000));
  steps.write(20'000);
  send(steps, 0, 8000);
  steps.pass(milliseconds(500)).forget_output();  // the loss probe and the timeout
  const std::uint32_t resent = steps.connection().info().total_retransmits;
  ASSERT_GE(resent, 1u);
  steps.receive({.ack = 1000});  // step 2b: new data, not the next of the lost
  steps.expect({.seq = 9000, .resent = false}).forget_output();
  steps.receive({.ack = 2000});  // step 3b
  EXPECT_EQ(steps.connection().info().cwnd_bytes / 1000, 8u);
  EXPECT_EQ(steps.connection().info().total_retransmits, resent);
}

TEST(Frto, WithoutSackToo) {
  Steps steps(no_timestamps(false, 8000));
  steps.write(20'000);
  send(steps, 0, 8000);
  steps.pass(milliseconds(300)).expect({.seq = 0, .len = 1000, .resent = true}).expect_none();
  steps.receive({.ack = 1000});
  steps.expect({.seq = 8000, .resent = false}).expect({.seq = 9000, .resent = false}).expect_none();
  steps.receive({.ack = 2000});
  EXPECT_EQ(steps.connection().info().cwnd_bytes / 1000, 8u);
}

// RFC 5682 2.1 step 3a: a duplicate ACK means that it was a loss.
TEST(Frto, ADuplicateAckGoesOnWithTheRepair) {
  Steps steps(no_timestamps(false, 8000));
  steps.write(20'000);
  send(steps, 0, 8000);
  steps.pass(milliseconds(300)).expect({.seq = 0, .resent = true});
  steps.receive({.ack = 1000}).expect({.seq = 8000, .resent = false}).forget_output();
  steps.receive({.ack = 1000}).expect({.seq = 1000, .resent = true}).forget_output();
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 5600u);
}

// RFC 5682 2.1 step 2a: everything is acknowledged; that proves nothing.
TEST(Frto, AnAckOfEverythingKeepsTheReduction) {
  Steps steps(no_timestamps(false, 8000));
  steps.write(8000);
  send(steps, 0, 8000);
  steps.pass(milliseconds(300)).expect({.seq = 0, .resent = true}).receive({.ack = 8000});
  EXPECT_LT(steps.connection().info().ssthresh_bytes, 8000u);
}

// With nothing new to send the conventional recovery goes on.
TEST(Frto, WithoutNewDataTheRepairGoesOn) {
  Steps steps(no_timestamps(false, 8000));
  steps.write(4000);
  send(steps, 0, 4000);
  steps.pass(milliseconds(300)).expect({.seq = 0, .resent = true}).receive({.ack = 1000});
  steps.expect({.seq = 1000, .resent = true});
}

// RFC 3708: reordering looked like a loss; the DSACK for the only repetition restores the window.
TEST(DsackUndo, WhenAllThatWasRepeatedWasADuplicate) {
  Steps steps(no_timestamps(true, 10'000));
  steps.write(40'000);
  send(steps, 0, 10'000);
  steps.pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{1000, 5000}}});
  steps.expect({.seq = 0, .len = 1000, .resent = true}).forget_output();
  EXPECT_LT(steps.connection().info().ssthresh_bytes, 10'000u);
  steps.pass(milliseconds(1)).receive({.ack = 5000}).forget_output();  // the first copy, late
  steps.pass(milliseconds(9));
  steps.receive({.ack = 10'000, .sack = {{0, 1000}}});  // and the second: RFC 2883
  EXPECT_EQ(steps.connection().info().ssthresh_bytes, 10'000u);
  EXPECT_GE(steps.connection().info().cwnd_bytes, 10'000u);
}

TEST(DsackUndo, NotWhenOneOfTwoWasNeeded) {
  Steps steps(no_timestamps(true, 10'000));
  steps.write(40'000);
  send(steps, 0, 10'000);
  steps.pass(milliseconds(10));
  steps.receive({.ack = 0, .sack = {{2000, 6000}}}).forget_output();
  ASSERT_GE(steps.connection().info().total_retransmits, 1u);
  steps.pass(milliseconds(1)).receive({.ack = 0, .sack = {{2000, 8000}}}).forget_output();
  ASSERT_EQ(steps.connection().info().total_retransmits, 2u);
  steps.pass(milliseconds(9)).receive({.ack = 10'000, .sack = {{0, 1000}}});
  EXPECT_LT(steps.connection().info().ssthresh_bytes, 10'000u);
}

// RFC 3522: the echo is of the first copy.
TEST(Eifel, AnEchoOlderThanTheRepetitionTakesTheTimeoutBack) {
  Start start;
  start.state.delegated.cwnd_bytes = start.state.delegated.ssthresh_bytes = 8000;
  Steps steps(start);
  steps.write(20'000);
  send(steps, 0, 8000);
  const auto first_echo = start.state.delegated.ts_val + 1;
  steps.pass(milliseconds(500)).forget_output();
  steps.receive({.ack = 2000, .ts_ecr = first_echo}).forget_output();
  EXPECT_EQ(steps.connection().info().cwnd_bytes / 1000, 8u);
  EXPECT_GT(steps.connection().info().ssthresh_bytes, 7000u);
}

}  // namespace
}  // namespace snp::tcp::testing
