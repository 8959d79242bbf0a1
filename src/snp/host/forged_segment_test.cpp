#include <array>

#include <gtest/gtest.h>

#include "snp/host/parking.h"
#include "snp/wire/frame.h"

namespace snp::host {
namespace {

ConnectionState half_closed(TcpState tcp_state, bool v6) {
  ConnectionState state;
  state.constant.tuple.local = {IpAddress::v4(10, 0, 0, 1), 80};
  state.constant.tuple.remote = {IpAddress::v4(10, 0, 0, 2), 4000};
  if (v6) {
    state.constant.tuple.local.address.bytes = {0xfd, 1};
    state.constant.tuple.remote.address.bytes = {0xfd, 2};
  }
  state.constant.timestamps = true;
  state.constant.snd_wind_shift = 7;
  state.cached.local_mac = {2, 0, 0, 0, 0, 1};
  state.cached.next_hop_mac = {2, 0, 0, 0, 0, 2};
  state.delegated.state = tcp_state;
  state.delegated.snd_una = state.delegated.snd_max = SeqNum(1000);
  state.delegated.rcv_nxt = SeqNum(5000);
  state.delegated.snd_wnd = 64000;
  state.delegated.ts_recent = 77;
  state.delegated.ts_val = 99;
  return state;
}

constexpr int kNoSocket = -1;

class ForgedSegment : public testing::TestWithParam<bool> {};

TEST_P(ForgedSegment, RepeatsThePeersFin) {
  const ConnectionState state = half_closed(TcpState::kCloseWait, GetParam());
  std::array<std::byte, 128> frame{};
  const std::size_t length = make_forged_segment(state, kNoSocket, frame);
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(std::span(frame).first(length), 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(check_tcp(std::span(frame).first(length), parsed), ChecksumVerdict::kValid);
  EXPECT_EQ(parsed.tuple, state.constant.tuple);
  EXPECT_EQ(parsed.segment.flags, TcpFlags::kAck | TcpFlags::kFin);
  EXPECT_EQ(parsed.segment.seg_seq, SeqNum(4999));
  EXPECT_EQ(parsed.segment.seg_ack, SeqNum(1000));
  EXPECT_EQ(parsed.segment.seg_wnd, 500);
  EXPECT_EQ(parsed.segment.options.ts_val, 77u);
  EXPECT_EQ(parsed.segment.options.ts_ecr, 99u);
}

TEST_P(ForgedSegment, RepeatsThePeersAckOfOurFin) {
  const ConnectionState state = half_closed(TcpState::kFinWait2, GetParam());
  std::array<std::byte, 128> frame{};
  const std::size_t length = make_forged_segment(state, kNoSocket, frame);
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(std::span(frame).first(length), 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.segment.flags, TcpFlags::kAck);
  EXPECT_EQ(parsed.segment.seg_seq, SeqNum(5000));
  EXPECT_EQ(parsed.segment.seg_ack, SeqNum(1000));
}

TEST_P(ForgedSegment, TimeWaitIsToldOfBothFins) {
  const ConnectionState state = half_closed(TcpState::kTimeWait, GetParam());
  std::array<std::byte, 128> frame{};
  const std::size_t length = make_forged_segment(state, kNoSocket, frame);
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(std::span(frame).first(length), 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.segment.flags, TcpFlags::kAck | TcpFlags::kFin);
  EXPECT_EQ(parsed.segment.seg_seq, SeqNum(4999));
  EXPECT_EQ(parsed.segment.seg_ack, SeqNum(1000));
}

// RFC 5961 3.2: only the very next number resets at once.
TEST_P(ForgedSegment, ResetsWhatIsDead) {
  const ConnectionState state = half_closed(TcpState::kClosed, GetParam());
  std::array<std::byte, 128> frame{};
  const std::size_t length = make_forged_segment(state, kNoSocket, frame);
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(std::span(frame).first(length), 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.segment.flags, TcpFlags::kAck | TcpFlags::kRst);
  EXPECT_EQ(parsed.segment.seg_seq, SeqNum(5000));
}

INSTANTIATE_TEST_SUITE_P(Families, ForgedSegment, testing::Values(false, true),
                         [](const auto& family) { return family.param ? "v6" : "v4"; });

}  // namespace
}  // namespace snp::host
