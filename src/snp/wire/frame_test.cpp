#include "snp/wire/frame.h"

#include <cstring>
#include <string_view>
#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

#include "snp/wire/known_frames.h"

namespace snp {
namespace {

using Bytes = std::vector<std::byte>;

template <std::size_t N>
Bytes bytes_of(const std::array<std::uint8_t, N>& frame) {
  const auto bytes = std::as_bytes(std::span(frame));
  return {bytes.begin(), bytes.end()};
}

Bytes ipv4_hello() {
  return bytes_of(known_frames::kIpv4Hello);
}
Bytes ipv6_hello() {
  return bytes_of(known_frames::kIpv6Hello);
}

std::string_view text_of(std::span<const std::byte> payload) {
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

FrameVerdict verdict_of(const Bytes& frame, std::uint16_t gso_size = 0) {
  ParsedFrame parsed;
  return parse_frame(frame, gso_size, parsed);
}

void set(Bytes& frame, std::size_t at, std::initializer_list<int> values) {
  for (int value : values)
    frame[at++] = static_cast<std::byte>(value);
}

// Puts an IPv6 extension header in front of what follows the IPv6 header.
Bytes with_extension(Bytes frame, std::uint8_t kind, std::size_t words, int segments_left = 0) {
  Bytes extension(words * 8);
  extension[0] = frame[14 + 6];
  extension[1] = static_cast<std::byte>(words - 1);
  extension[3] = static_cast<std::byte>(segments_left);
  frame[14 + 6] = static_cast<std::byte>(kind);
  frame.insert(frame.begin() + 14 + 40, extension.begin(), extension.end());
  const auto length = static_cast<std::uint16_t>(frame.size() - 54);
  set(frame, 14 + 4, {length >> 8, length & 0xff});
  return frame;
}

TEST(Frame, ReadsIpv4) {
  const Bytes frame = ipv4_hello();
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(to_string(parsed.tuple), "10.1.0.2:5000-10.1.0.1:36126");
  EXPECT_EQ(parsed.segment.seg_seq, SeqNum(0xc088e98f));
  EXPECT_EQ(parsed.segment.seg_ack, SeqNum(0x658a9bd9));
  EXPECT_EQ(parsed.segment.seg_wnd, 63);
  EXPECT_EQ(parsed.segment.flags, TcpFlags::kAck | TcpFlags::kPsh);
  EXPECT_EQ(parsed.segment.options.ts_val, 320443233u);
  EXPECT_EQ(text_of(parsed.segment.payload), "hello");
  EXPECT_EQ(parsed.l3_offset, 14);
  EXPECT_EQ(parsed.l4_offset, 34);
  EXPECT_EQ(parsed.length, frame.size());
  EXPECT_EQ(parsed.ttl, 64);
  EXPECT_FALSE(parsed.is_v6);
  EXPECT_FALSE(parsed.segment.is_ce);
}

TEST(Frame, ReadsIpv6) {
  const Bytes frame = ipv6_hello();
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(frame, 1440, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(to_string(parsed.tuple), "[fd00::2]:5001-[fd00::1]:33428");
  EXPECT_EQ(parsed.segment.options.ts_ecr, 3905475276u);
  EXPECT_EQ(text_of(parsed.segment.payload), "hello");
  EXPECT_EQ(parsed.segment.gso_size, 1440);
  EXPECT_EQ(parsed.l4_offset, 54);
  EXPECT_TRUE(parsed.is_v6);
}

TEST(Frame, PaddingOfShortFramesIsNoPayload) {
  for (Bytes frame : {ipv4_hello(), ipv6_hello()}) {
    const std::size_t length = frame.size();
    frame.resize(length + 30, std::byte{0x55});
    ParsedFrame parsed;
    ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp);
    EXPECT_EQ(text_of(parsed.segment.payload), "hello");
    EXPECT_EQ(parsed.length, length);
    EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kValid);
  }
}

TEST(Frame, CongestionExperiencedIsSeen) {
  Bytes v4 = ipv4_hello(), v6 = ipv6_hello();
  ParsedFrame parsed;
  for (int ecn : {0, 1, 2, 3}) {
    set(v4, 14 + 1, {0xb8 | ecn});
    set(v6, 14, {0x60 | 0xb, 0x87 | ecn << 4});
    ASSERT_EQ(parse_frame(v4, 0, parsed), FrameVerdict::kTcp);
    EXPECT_EQ(parsed.segment.is_ce, ecn == 3);
    EXPECT_EQ(parsed.tos, 0xb8 | ecn);
    ASSERT_EQ(parse_frame(v6, 0, parsed), FrameVerdict::kTcp);
    EXPECT_EQ(parsed.segment.is_ce, ecn == 3);
    EXPECT_EQ(parsed.tos, 0xb8 | ecn);
  }
}

TEST(Frame, Ipv4OptionsAreSkipped) {
  Bytes frame = ipv4_hello();
  const Bytes options(8, std::byte{1});
  frame.insert(frame.begin() + 34, options.begin(), options.end());
  set(frame, 14, {0x47});
  set(frame, 14 + 2, {0, 0x39 + 8});
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.l4_offset, 42);
  EXPECT_EQ(text_of(parsed.segment.payload), "hello");
}

TEST(Frame, Ipv6ExtensionHeadersAreSkipped) {
  // Hop-by-hop, then destination options, then routing that has arrived.
  Bytes frame = with_extension(ipv6_hello(), 43, 1);
  frame = with_extension(frame, 60, 3);
  frame = with_extension(frame, 0, 2);
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.l4_offset, 54 + 6 * 8);
  EXPECT_EQ(text_of(parsed.segment.payload), "hello");
  EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kValid);
}

TEST(Frame, Ipv6ExtensionHeadersForTheHost) {
  EXPECT_EQ(verdict_of(with_extension(ipv6_hello(), 44, 1)), FrameVerdict::kFragment);
  EXPECT_EQ(verdict_of(with_extension(ipv6_hello(), 51, 2)), FrameVerdict::kNotTcp);
  EXPECT_EQ(verdict_of(with_extension(ipv6_hello(), 43, 1, 2)), FrameVerdict::kNotTcp);
  // Hop-by-hop anywhere but first.
  EXPECT_EQ(verdict_of(with_extension(with_extension(ipv6_hello(), 0, 1), 60, 1)),
            FrameVerdict::kNotTcp);
  Bytes many = ipv6_hello();
  for (int i = 0; i < 9; ++i)
    many = with_extension(many, 60, 1);
  EXPECT_EQ(verdict_of(many), FrameVerdict::kNotTcp);
  // An extension that is longer than the packet.
  Bytes beyond = with_extension(ipv6_hello(), 60, 1);
  set(beyond, 54 + 1, {255});
  EXPECT_EQ(verdict_of(beyond), FrameVerdict::kTruncated);
}

TEST(Frame, FragmentsAreRefused) {
  for (int flags : {0x20, 0x21, 0x01}) {  // more fragments, with an offset, the last
    Bytes frame = ipv4_hello();
    set(frame, 14 + 6, {flags});
    EXPECT_EQ(verdict_of(frame), FrameVerdict::kFragment) << flags;
  }
  Bytes plain = ipv4_hello();
  set(plain, 14 + 6, {0});  // no DF: still whole
  EXPECT_EQ(verdict_of(plain), FrameVerdict::kTcp);
}

// Whose it is: the shard sends such a connection home.
TEST(Frame, TheFirstFragmentNamesItsConnection) {
  ParsedFrame whole, first;
  ASSERT_EQ(parse_frame(ipv4_hello(), 0, whole), FrameVerdict::kTcp);
  Bytes v4 = ipv4_hello();
  set(v4, 14 + 6, {0x20});
  ASSERT_EQ(parse_frame(v4, 0, first), FrameVerdict::kFragment);
  EXPECT_EQ(first.tuple, whole.tuple);
  EXPECT_EQ(first.segment.seg_seq, whole.segment.seg_seq);
  set(v4, 14 + 6, {0x20, 1});
  ASSERT_EQ(parse_frame(v4, 0, first), FrameVerdict::kFragment);
  EXPECT_EQ(first.tuple.remote.port, 0) << "a later one";
  ASSERT_EQ(parse_frame(ipv6_hello(), 0, whole), FrameVerdict::kTcp);
  Bytes v6 = with_extension(ipv6_hello(), 44, 1);
  set(v6, 54 + 2, {0, 1});
  ASSERT_EQ(parse_frame(v6, 0, first), FrameVerdict::kFragment);
  EXPECT_EQ(first.tuple, whole.tuple);
  EXPECT_EQ(first.segment.seg_seq, whole.segment.seg_seq);
  set(v6, 54 + 2, {0, 9});
  ASSERT_EQ(parse_frame(v6, 0, first), FrameVerdict::kFragment);
  EXPECT_EQ(first.tuple.remote.port, 0) << "a later one";
}

TEST(Frame, MergedFramesBeyond16BitsOfLength) {
  Bytes v4 = ipv4_hello(), v6 = ipv6_hello();
  v4.resize(100'000);
  v6.resize(100'000);
  set(v4, 14 + 2, {0, 0});
  set(v6, 14 + 4, {0, 0});
  ParsedFrame parsed;
  ASSERT_EQ(parse_frame(v4, 1448, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.segment.payload.size(), 100'000u - 66);
  ASSERT_EQ(parse_frame(v6, 1428, parsed), FrameVerdict::kTcp);
  EXPECT_EQ(parsed.segment.payload.size(), 100'000u - 86);
  // A single segment has no such excuse.
  EXPECT_EQ(verdict_of(v4), FrameVerdict::kBadIpHeader);
  EXPECT_EQ(verdict_of(v6), FrameVerdict::kTruncated);
}

TEST(Frame, RefusesWhatIsNotForUs) {
  Bytes arp = ipv4_hello();
  set(arp, 12, {0x08, 0x06});
  EXPECT_EQ(verdict_of(arp), FrameVerdict::kNotIp);
  Bytes udp = ipv4_hello();
  set(udp, 14 + 9, {17});
  EXPECT_EQ(verdict_of(udp), FrameVerdict::kNotTcp);
  Bytes icmp6 = ipv6_hello();
  set(icmp6, 14 + 6, {58});
  EXPECT_EQ(verdict_of(icmp6), FrameVerdict::kNotTcp);
}

TEST(Frame, RefusesHeadersThatCannotBe) {
  Bytes frame = ipv4_hello();
  set(frame, 14, {0x44});  // header of 16 bytes
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadIpHeader);
  set(frame, 14, {0x65});  // version 6 under the EtherType of 4
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadIpHeader);
  frame = ipv4_hello();
  set(frame, 14 + 2, {0, 10});
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadIpHeader);
  frame = ipv4_hello();
  set(frame, 34 + 12, {0x40});
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadTcpHeader);
  set(frame, 34 + 12, {0xf0});
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kTruncated);
  frame = ipv6_hello();
  set(frame, 14, {0x40});
  EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadIpHeader);
}

TEST(Frame, AnIpv6PacketCannotPoseAsIpv4) {
  for (std::size_t address : {std::size_t{14 + 8}, std::size_t{14 + 24}}) {
    Bytes frame = ipv6_hello();
    set(frame, address, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1});
    EXPECT_EQ(verdict_of(frame), FrameVerdict::kBadIpHeader);
  }
}

TEST(Frame, EveryTruncationIsNoticed) {
  for (const Bytes& frame : {ipv4_hello(), ipv6_hello()})
    for (std::size_t n = 0; n < frame.size(); ++n)
      EXPECT_EQ(verdict_of({frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(n)}),
                FrameVerdict::kTruncated)
          << n;
}

TEST(Frame, DamagedFramesStayInsideTheirBounds) {
  EXPECT_TRUE(rc::check("a payload lies inside the frame", [] {
    Bytes frame = *rc::gen::arbitrary<bool>() ? ipv4_hello() : ipv6_hello();
    const int hits = *rc::gen::inRange(1, 6);
    for (int i = 0; i < hits; ++i)
      frame[*rc::gen::inRange<std::size_t>(0, frame.size())] =
          static_cast<std::byte>(*rc::gen::inRange(0, 256));
    frame.resize(*rc::gen::inRange<std::size_t>(0, frame.size() + 20));
    ParsedFrame parsed;
    if (parse_frame(frame, *rc::gen::inRange<std::uint16_t>(0, 2), parsed) != FrameVerdict::kTcp)
      return;
    RC_ASSERT(parsed.length <= frame.size());
    RC_ASSERT(parsed.l4_offset + 20u <= parsed.length);
    RC_ASSERT(parsed.segment.payload.data() + parsed.segment.payload.size() ==
              frame.data() + parsed.length);
    (void)check_tcp(frame, parsed);
  }));
}

TEST(Frame, VerdictsHaveNames) {
  EXPECT_STREQ(to_string(FrameVerdict::kTcp), "tcp");
  EXPECT_STREQ(to_string(FrameVerdict::kBadTcpHeader), "bad-tcp-header");
}

}  // namespace
}  // namespace snp
