// What every packet device promises (device/packet_device.h), as a test suite for drivers. A driver
// instantiates it with a Link: two queues joined by a wire.
//
//   struct Link {
//     device::PacketQueue& left();    device::PacketQueue& right();
//     device::DeviceCaps caps();
//     FourTuple flow();               // as left sees it; steered on both sides
//     std::array<std::uint8_t, 6> left_mac(), right_mac();
//     void settle();                  // lets time pass, where that is the test's business
//   };
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

#include <gtest/gtest.h>

#include "snp/device/packet_device.h"

#include "test/support/device_frames.h"

namespace snp::test {

template <class Link>
class DeviceConformance : public testing::Test {
 protected:
  TcpFrame frame_from_left(std::size_t payload, std::uint32_t seq) {
    TcpFrame frame;
    frame.source = link_.flow().local;
    frame.destination = link_.flow().remote;
    frame.source_mac = link_.left_mac();
    frame.destination_mac = link_.right_mac();
    frame.seq = seq;
    frame.payload = numbered_payload(payload, seq);
    return frame;
  }
  TcpFrame frame_from_right(std::size_t payload, std::uint32_t seq) {
    TcpFrame frame = frame_from_left(payload, seq);
    std::swap(frame.source, frame.destination);
    std::swap(frame.source_mac, frame.destination_mac);
    return frame;
  }
  bool send(device::PacketQueue& queue, const TcpFrame& frame, std::uint16_t gso_size = 0,
            std::size_t cut = 0) {
    FrameToSend outgoing(frame, link_.caps(), gso_size, cut);
    const bool is_sent = queue.transmit(outgoing.frame());
    outgoing.scribble();
    return is_sent;
  }
  // The frame arrived as it was sent, but for the checksum, which is right or known to be.
  static void expect_same(const ReceivedFrame& received, const TcpFrame& sent) {
    Bytes expected = make_frame(sent);
    Bytes actual = received.bytes;
    if (received.checksum == device::Checksum::kUnknown) {
      EXPECT_TRUE(has_right_checksum(sent, actual));
    }
    const std::size_t checksum = tcp_offset(sent) + 16;
    ASSERT_EQ(actual.size(), expected.size());
    put16(expected, checksum, 0);
    put16(actual, checksum, 0);
    EXPECT_EQ(actual, expected);
  }

  Link link_;
};

TYPED_TEST_SUITE_P(DeviceConformance);

TYPED_TEST_P(DeviceConformance, NothingComesFromNothing) {
  std::array<device::RxFrame, 8> out;
  EXPECT_EQ(this->link_.left().receive(out), 0u);
  EXPECT_EQ(this->link_.right().receive(out), 0u);
  this->link_.left().flush();
  if (this->link_.left().wait_fd() >= 0) {
    EXPECT_FALSE(is_readable(this->link_.left(), 0));
  }
}

TYPED_TEST_P(DeviceConformance, SmallFramesArriveWholeAndInOrder) {
  constexpr std::uint32_t kFrames = 300;
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    const auto frame = this->frame_from_left(i * 37 % 1440, i);
    ASSERT_TRUE(this->send(this->link_.left(), frame, 0, frame.payload.size() / 3));
    if (i % 50 == 49) this->link_.left().flush();
  }
  this->link_.settle();
  const auto frames = collect(this->link_.right(), kFrames);
  ASSERT_EQ(frames.size(), kFrames);
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    EXPECT_EQ(frames[i].gso_size, 0);
    this->expect_same(frames[i], this->frame_from_left(i * 37 % 1440, i));
  }
}

TYPED_TEST_P(DeviceConformance, BothDirectionsAreIndependent) {
  const auto there = this->frame_from_left(100, 1);
  const auto back = this->frame_from_right(200, 2);
  ASSERT_TRUE(this->send(this->link_.left(), there));
  ASSERT_TRUE(this->send(this->link_.right(), back));
  this->link_.left().flush();
  this->link_.right().flush();
  this->link_.settle();
  const auto on_right = collect(this->link_.right(), 1);
  const auto on_left = collect(this->link_.left(), 1);
  ASSERT_EQ(on_right.size(), 1u);
  ASSERT_EQ(on_left.size(), 1u);
  this->expect_same(on_right[0], there);
  this->expect_same(on_left[0], back);
}

// Segments for the device to cut arrive whole, or cut; never lost, never out of turn.
TYPED_TEST_P(DeviceConformance, LargeFramesKeepTheirPlaceAmongSmallOnes) {
  const std::uint32_t limit = this->link_.caps().max_frame_payload;
  if (limit == 0) GTEST_SKIP() << "the device does not segment";
  constexpr std::uint16_t kMss = 1400;
  std::uint32_t seq = 0;
  Bytes stream;
  for (const std::uint32_t size : {100u, limit, 0u, 2500u, 1400u, limit / 2, 1u, limit}) {
    const auto frame = this->frame_from_left(size, seq);
    ASSERT_TRUE(
        this->send(this->link_.left(), frame, size > kMss ? kMss : std::uint16_t{0}, size / 2));
    append(stream, frame.payload);
    seq += size;
  }
  this->link_.left().flush();
  this->link_.settle();
  const auto like = this->frame_from_left(0, 0);
  Bytes received;
  while (received.size() < stream.size()) {
    const auto frames = collect(this->link_.right(), 1, 3);
    ASSERT_FALSE(frames.empty()) << received.size() << " of " << stream.size() << " bytes came";
    for (const auto& frame : frames) {
      ASSERT_EQ(frame.seq(like), received.size());
      append(received, frame.payload(like));
    }
  }
  EXPECT_EQ(received, stream);
}

TYPED_TEST_P(DeviceConformance, ABurstGivesAtMostWhatWasAskedFor) {
  for (std::uint32_t i = 0; i < 20; ++i)
    ASSERT_TRUE(this->send(this->link_.left(), this->frame_from_left(10, i)));
  this->link_.left().flush();
  this->link_.settle();
  const auto frames = collect(this->link_.right(), 20, 3);
  ASSERT_EQ(frames.size(), 20u);
  for (std::uint32_t i = 0; i < 20; ++i)
    this->expect_same(frames[i], this->frame_from_left(10, i));
}

TYPED_TEST_P(DeviceConformance, TheDescriptorTellsWhetherFramesWait) {
  auto& right = this->link_.right();
  if (right.wait_fd() < 0) GTEST_SKIP() << "poll only";
  for (std::uint32_t round = 0; round < 5; ++round) {
    EXPECT_FALSE(is_readable(right, 0));
    ASSERT_TRUE(this->send(this->link_.left(), this->frame_from_left(64, round)));
    this->link_.left().flush();
    this->link_.settle();
    EXPECT_TRUE(is_readable(right, 2000));
    EXPECT_EQ(collect(right, 1).size(), 1u);
    std::array<device::RxFrame, 4> out;
    EXPECT_EQ(right.receive(out), 0u);
  }
}

TYPED_TEST_P(DeviceConformance, FramesAreCounted) {
  const auto frame = this->frame_from_left(500, 1);
  ASSERT_TRUE(this->send(this->link_.left(), frame));
  this->link_.left().flush();
  this->link_.settle();
  ASSERT_EQ(collect(this->link_.right(), 1).size(), 1u);
  const std::size_t bytes = make_frame(frame).size();
  EXPECT_EQ(this->link_.left().stats().tx_frames, 1u);
  EXPECT_EQ(this->link_.left().stats().tx_bytes, bytes);
  EXPECT_EQ(this->link_.left().stats().tx_dropped, 0u);
  EXPECT_EQ(this->link_.right().stats().rx_frames, 1u);
  EXPECT_EQ(this->link_.right().stats().rx_bytes, bytes);
  EXPECT_EQ(this->link_.right().stats().rx_dropped, 0u);
}

// Small and large ones, given back in part and altogether, while others come.
TYPED_TEST_P(DeviceConformance, KeptFramesStayAsTheyAre) {
  const std::uint32_t limit = this->link_.caps().max_frame_payload;
  constexpr std::uint16_t kMss = 1400;
  struct Kept {
    device::RxFrame frame;
    Bytes bytes;
  };
  std::deque<Kept> kept;
  std::array<device::RxFrame, 5> out;
  std::uint32_t seq = 0;
  Bytes stream, received;
  for (std::uint32_t round = 0; round < 60; ++round) {
    for (std::uint32_t i = 0; i < 3; ++i) {
      const std::uint32_t size =
          i == 1 && limit != 0 && round % 3 == 0 ? limit - round : 50 + seq % 1000;
      const auto frame = this->frame_from_left(size, seq);
      ASSERT_TRUE(this->send(this->link_.left(), frame, size > kMss ? kMss : std::uint16_t{0}));
      append(stream, frame.payload);
      seq += size;
    }
    this->link_.left().flush();
    this->link_.settle();
    const auto like = this->frame_from_left(0, 0);
    for (int tries = 0; received.size() < stream.size() && tries < 1000; ++tries) {
      this->link_.right().keep(kept.size());
      const std::size_t count = this->link_.right().receive(out);
      for (const auto& one : std::span(out).first(count)) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(one.bytes.data());
        kept.push_back({one, Bytes(bytes, bytes + one.bytes.size())});
        append(received, ReceivedFrame{kept.back().bytes, {}, 0}.payload(like));
      }
      for (const Kept& one : kept) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(one.frame.bytes.data());
        ASSERT_TRUE(std::equal(one.bytes.begin(), one.bytes.end(), bytes))
            << "a kept frame changed";
      }
      // Up to twenty stay; now and then none.
      while (kept.size() > (round % 7 == 0 ? 0u : 20u))
        kept.pop_front();
      if (count != 0) continue;
      if (!kept.empty()) kept.pop_front();  // what is kept may have taken all the room there is
      if (this->link_.right().wait_fd() >= 0) is_readable(this->link_.right(), 5);
    }
    ASSERT_EQ(received, stream);
  }
}

REGISTER_TYPED_TEST_SUITE_P(DeviceConformance, NothingComesFromNothing,
                            SmallFramesArriveWholeAndInOrder, BothDirectionsAreIndependent,
                            LargeFramesKeepTheirPlaceAmongSmallOnes,
                            ABurstGivesAtMostWhatWasAskedFor, TheDescriptorTellsWhetherFramesWait,
                            FramesAreCounted, KeptFramesStayAsTheyAre);

}  // namespace snp::test
