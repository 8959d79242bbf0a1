// Where payload may be copied before its segment is processed: free memory only, and only where no
// segment that comes before it could make it count.
#include "snp/tcp/segments_ahead.h"

#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

class SegmentsAheadTest : public ::testing::Test {
 protected:
  SegmentsAheadTest() : base_(steps_.connection().export_delegated(steps_.now()).rcv_nxt) {}

  Segment segment(std::uint32_t seq, std::uint32_t length, std::uint8_t flags = kAck) {
    Segment segment;
    const DelegatedState state = steps_.connection().export_delegated(steps_.now());
    segment.seg_seq = base_ + seq;
    segment.seg_ack = state.snd_una;
    segment.seg_wnd = 2000;
    segment.options.has_timestamps = true;
    segment.options.ts_val = state.ts_recent;
    segment.flags = flags;
    segment.payload = std::span(bytes_).first(length);
    return segment;
  }
  std::uint32_t placeable(std::uint32_t seq, std::uint32_t length, std::uint8_t flags = kAck) {
    return ahead_.placeable(steps_.connection(), segment(seq, length, flags));
  }
  std::uint32_t wait(std::uint32_t seq, std::uint32_t length) {
    return ahead_.add(segment(seq, length), placeable(seq, length));
  }

  Steps steps_;
  SeqNum base_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(1u << 20);
  SegmentsAhead ahead_;
};

TEST_F(SegmentsAheadTest, TheNextOfTheStreamIsPlaceable) {
  EXPECT_EQ(placeable(0, 1000), 1000u);
  EXPECT_EQ(placeable(0, 1000, kAck | TcpFlags::kPsh | kFin), 1000u);
  EXPECT_EQ(placeable(0, 0), 0u);
  EXPECT_EQ(placeable(1, 1000), 0u);
  steps_.receive({.seq = 0, .len = 500});
  EXPECT_EQ(placeable(0, 1000), 0u);  // a part is there already
  EXPECT_EQ(placeable(500, 1000), 1000u);
}

TEST_F(SegmentsAheadTest, WhatIsNotPlainDataIsNot) {
  EXPECT_EQ(placeable(0, 1000, kAck | kRst), 0u);
  EXPECT_EQ(placeable(0, 1000, kAck | TcpFlags::kSyn), 0u);
  EXPECT_EQ(placeable(0, 1000, kAck | TcpFlags::kUrg), 0u);
  EXPECT_EQ(placeable(0, 1000, 0), 0u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableBeyondWindowOrRing) {
  const std::uint32_t room = placeable(0, 1u << 20);
  EXPECT_GT(room, 0u);
  EXPECT_LE(room, Start().ring);
  ahead_.add(segment(0, room), room);
  EXPECT_EQ(placeable(room, 1000), 0u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableWhileThereIsAGap) {
  steps_.receive({.seq = 1000, .len = 1000});
  EXPECT_EQ(placeable(0, 500), 0u);  // what is beyond may be known to the peer as received
  steps_.receive({.seq = 0, .len = 1000});
  EXPECT_EQ(placeable(2000, 1000), 1000u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableWhenNobodyWillReadIt) {
  steps_.close();
  EXPECT_EQ(placeable(0, 1000), 0u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableIntoAClosedWindow) {
  Start start;
  start.limits.receive_buffer = 2048;
  start.state.delegated.rcv_wnd = 0;
  Steps closed(start);
  Segment next = segment(0, 1000);
  EXPECT_LE(ahead_.placeable(closed.connection(), next), 31u);  // what rounding the window up gave
  closed.receive({.seq = 0, .len = 31}).forget_output();
  next.seg_seq += 31;
  EXPECT_EQ(ahead_.placeable(closed.connection(), next), 0u);
  next.seg_seq += 1000;
  EXPECT_EQ(closed.connection().placeable(next, 1000), 0u) << "whatever the owner says is ahead";
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableWhileTheConnectionMoves) {
  steps_.connection().freeze(steps_.now());
  EXPECT_EQ(placeable(0, 1000), 0u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableAfterUrgentData) {
  steps_.receive({.seq = 0, .len = 10, .flags = kAck | TcpFlags::kUrg});
  EXPECT_EQ(placeable(0, 1000), 0u);
}

TEST_F(SegmentsAheadTest, NothingIsPlaceableAfterTheEnd) {
  steps_.receive({.seq = 0, .len = 10, .flags = kAck | kFin});
  EXPECT_EQ(placeable(10, 1000), 0u);
  EXPECT_EQ(placeable(11, 1000), 0u);
}

TEST_F(SegmentsAheadTest, SegmentsWaitOneBehindTheOther) {
  const std::uint32_t first = wait(0, 1000);
  EXPECT_EQ(placeable(0, 1000), 0u);
  EXPECT_EQ(placeable(1000, 700), 700u);
  const std::uint32_t second = wait(1000, 700);
  EXPECT_EQ(ahead_.bytes(), 1700u);
  EXPECT_EQ(ahead_.segments(), 2u);
  steps_.receive({.seq = 0, .len = 1000});
  ahead_.remove(first);
  EXPECT_EQ(placeable(1700, 10), 10u);
  steps_.receive({.seq = 1000, .len = 700});
  ahead_.remove(second);
  EXPECT_TRUE(ahead_.is_empty());
  EXPECT_EQ(placeable(1700, 10), 10u);
}

// The one that is out of order has its turn before the repetition: with it the stream passes over
// the place where the repetition would still be copied to.
TEST_F(SegmentsAheadTest, NothingIsPlaceableBehindOneThatIsOutOfOrder) {
  const std::uint32_t out_of_order = wait(1000, 1000);
  EXPECT_EQ(ahead_.bytes(), 0u);
  EXPECT_EQ(placeable(0, 1000), 0u);
  const std::uint32_t hole = wait(0, 1000);
  EXPECT_EQ(placeable(1000, 1000), 0u);
  ahead_.remove(out_of_order);
  ahead_.remove(hole);
  EXPECT_EQ(placeable(0, 1000), 1000u);
}

// It was placed, but TCP did not take it: what follows is not where it should be any more.
TEST_F(SegmentsAheadTest, ARefusedSegmentEndsIt) {
  const std::uint32_t refused = wait(0, 1000);
  wait(1000, 1000);
  ahead_.remove(refused);
  EXPECT_EQ(placeable(2000, 1000), 0u);
  // As many bytes wait as lie before it, but they are not those.
  EXPECT_EQ(placeable(1000, 1000), 0u);
  wait(1000, 0);  // nor is it what a bare ACK says
  EXPECT_EQ(placeable(1000, 1000), 0u);
  wait(2000, 1000);
  EXPECT_EQ(placeable(1000, 1000), 0u);
}

// Bytes that are placed are not copied again; those behind them, and only those, are.
TEST_F(SegmentsAheadTest, TheConnectionLeavesPlacedBytesAlone) {
  Segment segment = this->segment(0, 1000);
  std::fill_n(bytes_.begin(), 1000, std::byte{7});
  const Streams& streams = steps_.connection().streams();
  const std::uint64_t at = streams.rx_range.end;
  streams.rx.copy_in(at, std::vector(1000, std::byte{9}));
  segment.placed = 600;
  ASSERT_TRUE(steps_.connection().on_segment(segment, steps_.now()));
  ASSERT_EQ(streams.rx_range.end, at + 1000);
  std::vector<std::byte> stored(1000);
  streams.rx.copy_out(at, stored);
  EXPECT_EQ(std::count(stored.begin(), stored.begin() + 600, std::byte{9}), 600);
  EXPECT_EQ(std::count(stored.begin() + 600, stored.end(), std::byte{7}), 400);
  // The same when a part of it had come already.
  segment.seg_seq = base_ + 500;
  streams.rx.copy_in(at + 1000, std::vector(100, std::byte{5}));
  ASSERT_TRUE(steps_.connection().on_segment(segment, steps_.now()));
  ASSERT_EQ(streams.rx_range.end, at + 1500);
  stored.resize(500);
  streams.rx.copy_out(at + 1000, stored);
  EXPECT_EQ(std::count(stored.begin(), stored.begin() + 100, std::byte{5}), 100);
  EXPECT_EQ(std::count(stored.begin() + 100, stored.end(), std::byte{7}), 400);
}

}  // namespace
}  // namespace snp::tcp::testing
