// How many cache lines of a Connection the plain cases write: what keeps ten thousand connections
// cheap is not its size but how little of it a segment touches. Counted by comparing the object
// before and after. Two lines, as a record made for nothing else has, are out of reach for a
// connection that keeps RACK's times, rates and timers: the bounds are one
// more than what is there today (4, 4, 10 and 10), to be argued with before they are raised.
#include <algorithm>
#include <array>
#include <cstring>

#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

constexpr std::size_t kLine = 64;

using Image = std::array<std::byte, sizeof(Connection)>;

Image image_of(const Connection& connection) {
  Image image;
  std::memcpy(image.data(), static_cast<const void*>(&connection), sizeof connection);
  return image;
}

template <class Operation>
std::size_t lines_written(Connection& connection, Operation&& operation) {
  const Image before = image_of(connection);
  operation();
  const Image after = image_of(connection);
  std::size_t lines = 0;
  for (std::size_t at = 0; at < before.size();) {
    const std::size_t end = std::min(before.size(), at + kLine);  // as if it began with a line
    if (std::memcmp(before.data() + at, after.data() + at, end - at) != 0) ++lines;
    at = end;
  }
  return lines;
}

Segment data(std::uint32_t offset, std::span<const std::byte> text) {
  const Start start;
  Segment segment;
  segment.seg_seq = start.state.delegated.rcv_nxt + offset;
  segment.seg_ack = start.state.delegated.snd_una;
  segment.seg_wnd = 2000;
  segment.flags = kAck;
  segment.options.has_timestamps = true;
  segment.options.ts_val = 5'000'000;
  segment.options.ts_ecr = 70'000;
  segment.payload = text;
  return segment;
}

TEST(Layout, ASegmentInOrderWritesFewLines) {
  Steps steps;
  Connection& connection = steps.connection();
  const std::array<std::byte, 1000> text{};
  for (std::uint32_t i = 0; i < 4; ++i) {  // settle, then look at one of each parity
    steps.pass(milliseconds(1));
    const Segment segment = data(i * 1000, text);
    const std::size_t arrival =
        lines_written(connection, [&] { connection.on_segment(segment, steps.now()); });
    const std::size_t answer = lines_written(connection, [&] {
      while (connection.poll_segment(steps.now())) {
      }
      connection.take_events();
    });
    EXPECT_LE(arrival, 5u);
    EXPECT_LE(answer, 5u);
  }
}

TEST(Layout, ASegmentSentAndItsAckWriteFewLines) {
  Start start;
  start.state.cached.no_delay = true;
  Steps steps(start);
  Connection& connection = steps.connection();
  for (std::uint32_t i = 0; i < 4; ++i) {
    steps.pass(milliseconds(1));
    const std::size_t sending = lines_written(connection, [&] {
      connection.on_written(100, steps.now());
      while (connection.poll_segment(steps.now())) {
      }
    });
    steps.pass(milliseconds(10));
    Segment ack = data(0, {});
    ack.seg_ack += (i + 1) * 100;
    ack.options.ts_ecr = 70'001;
    const std::size_t acknowledged =
        lines_written(connection, [&] { connection.on_segment(ack, steps.now()); });
    connection.take_events();
    EXPECT_LE(sending, 11u);
    EXPECT_LE(acknowledged, 11u);
  }
}

}  // namespace
}  // namespace snp::tcp::testing
