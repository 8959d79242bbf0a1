// How many cache lines of a Connection the plain cases write: what keeps ten thousand connections
// cheap is not its size but how little of it a segment touches. Counted by comparing the object
// before and after; connection.h names the lines.
//
// - A segment in order: 0 (numbers), 1 (times and counts), 2 (streams); 3 (timers) for the delayed
//   ACK. Its ACK: 0 and 3. Four lines for both.
// - New data: 0 to 3, 4 (round trip, use of the window), 5 (progress), 6 and 7 (rates), the board's
//   head; its entry there may be in the next.
// - The ACK of new data: 0 to 6, the congestion window, the board's head.
//
// Two lines are out of reach: the numbers of RFC 9293 and the two streams alone are two, the
// deadlines of six timers another, and a sender keeps RFC 6298's estimate, RFC 8985's times, RFC
// 9438's curve and a delivery rate. But what belongs together lies together: the four lines of a
// receiver are two pairs that the processor fetches at once. The bounds are what there is today, to
// be argued with before they are raised.
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
    const std::size_t end = std::min(before.size(), at + kLine);
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
    EXPECT_LE(arrival, 4u);
    EXPECT_LE(answer, 2u);
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
    EXPECT_LE(sending, 10u);
    EXPECT_LE(acknowledged, 10u);
  }
}

}  // namespace
}  // namespace snp::tcp::testing
