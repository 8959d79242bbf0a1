#include "snp/wire/header_template.h"

#include <cstring>
#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

#include "snp/wire/frame.h"
#include "snp/wire/known_frames.h"

namespace snp {
namespace {

using Bytes = std::vector<std::byte>;

Bytes hello() {
  const std::string_view text = "hello";
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TcpOptions timestamps(std::uint32_t val, std::uint32_t ecr) {
  TcpOptions options;
  options.has_timestamps = true;
  options.ts_val = val;
  options.ts_ecr = ecr;
  return options;
}

TEST(HeaderTemplate, WritesWhatLinuxWroteOverIpv6) {
  const Bytes frame = known_frames::make_frame(known_frames::ipv6_fields(),
                                               {.seq = SeqNum(0x1be1816c),
                                                .ack = SeqNum(0x3d0701ca),
                                                .wnd = 64,
                                                .flags = TcpFlags::kAck | TcpFlags::kPsh},
                                               timestamps(1520179012, 3905475276), hello());
  const auto known = std::as_bytes(std::span(known_frames::kIpv6Hello));
  EXPECT_EQ(frame, Bytes(known.begin(), known.end()));
}

TEST(HeaderTemplate, WritesWhatLinuxWroteOverIpv4ButForTheId) {
  const Bytes frame = known_frames::make_frame(known_frames::ipv4_fields(),
                                               {.seq = SeqNum(0xc088e98f),
                                                .ack = SeqNum(0x658a9bd9),
                                                .wnd = 63,
                                                .flags = TcpFlags::kAck | TcpFlags::kPsh},
                                               timestamps(320443233, 1983846712), hello());
  const auto bytes = std::as_bytes(std::span(known_frames::kIpv4Hello));
  Bytes known(bytes.begin(), bytes.end());
  // Linux counts ids up: id 0 makes the header checksum larger by the id it had.
  known[18] = known[19] = std::byte{0};
  const std::uint16_t sum = network_order(std::uint16_t{0x6d4f + 0xb96b - 0xffff});
  std::memcpy(&known[24], &sum, sizeof(sum));
  EXPECT_EQ(frame, known);
}

TEST(HeaderTemplate, EmptyTemplateIsReplaceable) {
  HeaderTemplate headers;
  headers = HeaderTemplate(known_frames::ipv6_fields());
  EXPECT_TRUE(headers.is_v6());
  EXPECT_EQ(headers.l4_offset(), 54);
  headers = HeaderTemplate(known_frames::ipv4_fields());
  EXPECT_FALSE(headers.is_v6());
  EXPECT_EQ(headers.l4_offset(), 34);
}

TEST(HeaderTemplate, UnfinishedChecksumIsTheOneDevicesExpect) {
  for (const HeaderFields& fields : {known_frames::ipv4_fields(), known_frames::ipv6_fields()}) {
    const Bytes payload = hello();
    Bytes frame(HeaderTemplate::kMaxBytes);
    frame.resize(HeaderTemplate(fields).write({.flags = TcpFlags::kAck, .payload_len = 5},
                                              timestamps(1, 2), frame.data()));
    frame.insert(frame.end(), payload.begin(), payload.end());
    ParsedFrame parsed;
    ASSERT_EQ(parse_frame(frame, 0, parsed), FrameVerdict::kTcp);
    EXPECT_EQ(check_tcp(frame, parsed), ChecksumVerdict::kUnfinished);
  }
}

// Whatever is written is what the parser reads, and both checksums hold.
void write_and_read_back(const HeaderFields& fields, const SegmentFields& segment,
                         const TcpOptions& options, std::size_t payload_len, std::size_t cut) {
  const Bytes payload(payload_len, std::byte{0xa7});
  const HeaderTemplate headers(fields);
  Bytes frame(HeaderTemplate::kMaxBytes);
  frame.resize(headers.write(segment, options, frame.data()));
  const auto pieces = std::span(payload);
  finish_tcp_checksum(frame, headers.l4_offset(), pieces.first(cut), pieces.subspan(cut));
  frame.insert(frame.end(), payload.begin(), payload.end());

  ParsedFrame parsed;
  RC_ASSERT(parse_frame(frame, 0, parsed) == FrameVerdict::kTcp);
  RC_ASSERT(check_tcp(frame, parsed) == ChecksumVerdict::kValid);
  RC_ASSERT(parsed.tuple == mirrored(fields.tuple));
  RC_ASSERT(parsed.segment.seg_seq == segment.seq && parsed.segment.seg_ack == segment.ack);
  RC_ASSERT(parsed.segment.seg_wnd == segment.wnd && parsed.segment.flags == segment.flags);
  RC_ASSERT(parsed.segment.payload.size() == payload_len);
  RC_ASSERT(parsed.ttl == fields.ttl && parsed.l4_offset == headers.l4_offset());
  RC_ASSERT(parsed.tos == ((fields.tos & 0xfc) | (segment.is_ect ? 2 : 0)));
  if (!headers.is_v6())
    RC_ASSERT(fold(sum_of(std::span<const std::byte>(frame).subspan(14, 20))) == 0xffff);
}

TEST(HeaderTemplate, AnySegmentIsReadAsItWasMeant) {
  EXPECT_TRUE(rc::check(
      "parse_frame reads what write wrote",
      [](bool v6, std::uint32_t seq, std::uint32_t ack, std::uint16_t wnd, std::uint8_t flags,
         std::uint8_t tos, std::uint8_t ttl, bool is_ect) {
        HeaderFields fields = v6 ? known_frames::ipv6_fields() : known_frames::ipv4_fields();
        fields.tos = tos;
        fields.ttl = ttl;
        TcpOptions options = timestamps(seq, ack);
        options.has_timestamps = *rc::gen::arbitrary<bool>();
        options.sack_count = *rc::gen::inRange<std::uint8_t>(0, 5);
        const auto length = *rc::gen::inRange<std::size_t>(0, HeaderTemplate::kMaxPayload + 1);
        const auto cut = *rc::gen::inRange<std::size_t>(0, length + 1);
        const SegmentFields segment{.seq = SeqNum(seq),
                                    .ack = SeqNum(ack),
                                    .wnd = wnd,
                                    .flags = flags,
                                    .is_ect = is_ect,
                                    .payload_len = static_cast<std::uint32_t>(length)};
        write_and_read_back(fields, segment, options, length, cut);
      }));
}

}  // namespace
}  // namespace snp
