#include "test/script/parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/script/setup.h"

namespace snp::script {
namespace {

Script parsed(std::string_view source) {
  auto script = parse_script("x.pkt", source);
  if (script) return std::move(*script);
  ADD_FAILURE() << script.error().message;
  return {};
}

std::string refusal(std::string_view source) {
  const auto script = parse_script("x.pkt", source);
  return script ? "it is accepted" : script.error().message;
}

const Packet& packet_of(const Script& script, std::size_t i = 0) {
  return std::get<Packet>(script.events.at(i).what);
}

TEST(Parser, ReadsASegmentWithEverything) {
  const Script script = parsed(
      "+.1 < [ce] FP. 1:1001(1000) ack 7 win 257 gso 500"
      " <sack 2001:3001 5001:6001,nop,nop,TS val 100 ecr 200>");
  const Packet& packet = packet_of(script);
  EXPECT_FALSE(packet.is_outbound);
  EXPECT_EQ(packet.flags, TcpFlags::kFin | TcpFlags::kPsh | TcpFlags::kAck);
  EXPECT_EQ(packet.ecn, Packet::Ecn::kCe);
  EXPECT_EQ(packet.seq, 1u);
  EXPECT_EQ(packet.length, 1000u);
  EXPECT_EQ(packet.ack, 7u);
  EXPECT_EQ(packet.wnd, 257);
  EXPECT_EQ(packet.gso, 500u);
  ASSERT_EQ(packet.options.sack_count, 2);
  EXPECT_EQ(packet.options.sack[1], (SackBlock{SeqNum(5001), SeqNum(6001)}));
  EXPECT_TRUE(packet.options.has_timestamps);
  EXPECT_EQ(packet.options.ts_val, 100u);
  EXPECT_EQ(packet.options.ts_ecr, 200u);
  EXPECT_EQ(script.events[0].when.from, milliseconds(100));
}

TEST(Parser, ReadsSegmentsThatLeave) {
  const Script script = parsed(
      "0 > . 1:1(0) ack 1\n* > [ect0] SEW 0:0(0) <mss 1000,sackOK>\n"
      "+0 > . 1:1(0) ack 1 <...>");
  EXPECT_TRUE(packet_of(script, 0).is_outbound);
  EXPECT_EQ(packet_of(script, 0).how_options, Packet::Options::kNone);
  EXPECT_FALSE(packet_of(script, 0).wnd);
  EXPECT_EQ(packet_of(script, 1).flags, TcpFlags::kSyn | TcpFlags::kEce | TcpFlags::kCwr);
  EXPECT_EQ(packet_of(script, 1).ecn, Packet::Ecn::kEct0);
  EXPECT_EQ(packet_of(script, 2).how_options, Packet::Options::kAny);
}

TEST(Parser, ReadsTimes) {
  const Script script = parsed(
      "0.25 > . 1:1(0) ack 1\n+0~+.1 > . 1:1(0) ack 1\n"
      "1~2 > . 1:1(0) ack 1\n* > . 1:1(0) ack 1\n"
      "+.000000001 < . 1:1(0) ack 1");
  EXPECT_EQ(script.events[0].when.kind, When::Kind::kAbsolute);
  EXPECT_EQ(script.events[0].when.from, milliseconds(250));
  EXPECT_EQ(script.events[1].when.kind, When::Kind::kRelative);
  EXPECT_EQ(script.events[1].when.to, milliseconds(100));
  EXPECT_EQ(script.events[2].when.to, seconds(2));
  EXPECT_EQ(script.events[3].when.kind, When::Kind::kAny);
  EXPECT_EQ(script.events[4].when.from, Duration(1));
}

TEST(Parser, ReadsCalls) {
  const Script script = parsed(
      "+0 write(4, ..., 1000) = 1000\n"
      "+0 read(4, ..., 1) = -1 EAGAIN (Resource temporarily unavailable)\n"
      "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0\n"
      "+0 setsockopt(4, SOL_TCP, TCP_CONGESTION, \"cubic\", 5) = 0\n");
  const auto& write = std::get<Call>(script.events[0].what);
  EXPECT_EQ(write.name, "write");
  EXPECT_THAT(write.numbers, ::testing::ElementsAre(4, 1000));
  EXPECT_EQ(write.result, 1000);
  const auto& read = std::get<Call>(script.events[1].what);
  EXPECT_EQ(read.result, -1);
  EXPECT_EQ(read.error, "EAGAIN");
  const auto& linger = std::get<Call>(script.events[2].what);
  EXPECT_THAT(linger.numbers, ::testing::ElementsAre(4, 1, 0, 8));
  EXPECT_THAT(linger.words, ::testing::ElementsAre("SOL_SOCKET", "SO_LINGER"));
  EXPECT_EQ(std::get<Call>(script.events[3].what).words.back(), "cubic");
}

TEST(Parser, ReadsAssertionsOverSeveralLines) {
  const Script script = parsed("+0 %{ assert tcpi_rto == 300000; assert inq > 1\n  assert 1 }%");
  const auto& code = std::get<Code>(script.events[0].what);
  ASSERT_EQ(code.assertions.size(), 3u);
  EXPECT_EQ(code.assertions[0].expression.names().front(), "tcpi_rto");
  EXPECT_EQ(code.assertions[2].place.line, 2u);
  EXPECT_EQ(code.assertions[2].place.column, 3u);
}

TEST(Parser, ReadsWhatTheHostDoes) {
  const Script script = parsed("+0 handover\n+0 restart\n+0 upload\n+1 offload\n+0 path_mtu 1280");
  EXPECT_EQ(std::get<HostAct>(script.events[3].what).kind, HostAct::Kind::kOffload);
  EXPECT_EQ(std::get<HostAct>(script.events[4].what).value, 1280u);
}

TEST(Parser, ReadsTheSetup) {
  const Script script = parsed(
      "--mss=1460 --timestamps --sack --ecn=off\n--cwnd=4\n--srtt=40ms\n--rttvar=.01\n"
      "--state=CLOSE_WAIT\n--wscale=7,5\n--keepalive=10,2,3\n--cc=newreno\n+0 handover");
  const ConnectionState& state = script.setup.state;
  EXPECT_EQ(state.constant.remote_mss, 1460);
  EXPECT_TRUE(state.constant.timestamps && state.constant.sack && !state.constant.ecn);
  EXPECT_EQ(state.delegated.cwnd_bytes, 4u * 1448u);
  EXPECT_EQ(state.delegated.srtt_us, 40'000u);
  EXPECT_EQ(state.delegated.rttvar_us, 10'000u);
  EXPECT_EQ(state.delegated.state, TcpState::kCloseWait);
  EXPECT_EQ(state.constant.snd_wind_shift, 7);
  EXPECT_EQ(state.constant.rcv_wind_shift, 5);
  EXPECT_EQ(state.cached.keepalive.interval_s, 2u);
  EXPECT_STREQ(state.cached.congestion_control.data(), "newreno");
}

TEST(Parser, IgnoresCommentsAndLineEnds) {
  const Script script = parsed("// a\n# b\n/* c\n d */ +0\n  < . 1:1(0) // e\n ack 1");
  ASSERT_EQ(script.events.size(), 1u);
  EXPECT_EQ(script.events[0].place.line, 4u);
  EXPECT_EQ(script.events[0].place.column, 7u);
}

TEST(Parser, MarksTheGapsWithoutHandOver) {
  const Script script = parsed(
      "+0 handover\nno-handover: because\n+0 restart\n+0 upload\nhandover-again\n+0 offload");
  EXPECT_EQ(script.events[0].no_handover, "because");
  EXPECT_EQ(script.events[1].no_handover, "because");
  EXPECT_EQ(script.events[2].no_handover, "");
  EXPECT_EQ(parsed("no-handover: all\n+0 restart\n+0 upload").events[1].no_handover, "all");
}

struct Nonsense {
  const char* source;
  const char* place_and_word;
};

class Refuses : public ::testing::TestWithParam<Nonsense> {};

TEST_P(Refuses, WithThePlace) {
  EXPECT_THAT(refusal(GetParam().source), ::testing::HasSubstr(GetParam().place_and_word));
}

INSTANTIATE_TEST_SUITE_P(
    Parser, Refuses,
    ::testing::Values(
        Nonsense{"", "x.pkt:1:1: nothing happens"},
        Nonsense{"+0 < . 1:1001(999) ack 1", "x.pkt:1:8: 1:1001 is not 999"},
        Nonsense{"+0 < . 1:1(0)", "`.` and `ack` go together"},
        Nonsense{"+0 < P 1:1(0) ack 1", "`.` and `ack` go together"},
        Nonsense{"+0 < X. 1:1(0) ack 1", "x.pkt:1:6: there is no flag X"},
        Nonsense{"+0 < [ect7] . 1:1(0) ack 1", "x.pkt:1:7: expected noecn"},
        Nonsense{"+0 < . 1:1(0) ack 1 win 65536", "x.pkt:1:25: more than 65535"},
        Nonsense{"+0 < . 1:1(0) ack 1 <mss 10>", "x.pkt:1:22: no segment of an established"},
        Nonsense{"+0 < S 1:1(0) <foo 10>", "x.pkt:1:16: there is no option foo"},
        Nonsense{"+0 < . 1:1(0) ack 1 <...>", "is for segments that we send"},
        Nonsense{"+0 < . 1:1(0) ack 1 <sack>", "sack without a block"},
        Nonsense{"+0 < . 1:1(0) ack 1 <sack 1:2 3:4 5:6 7:8 9:10>", "more than four"},
        Nonsense{"+0 < . 1:1(0) ack 1 <TS val 1>", "expected ecr"},
        Nonsense{"+0~+1 < . 1:1(0) ack 1", "x.pkt:1:1: only a segment that we send"},
        Nonsense{"* write(4, ..., 1) = 1", "only a segment that we send"},
        Nonsense{"+1~+0 > . 1:1(0) ack 1", "ends before it begins"},
        Nonsense{"+0~1 > . 1:1(0) ack 1", "both ends of a range"},
        Nonsense{"< . 1:1(0) ack 1", "x.pkt:1:1: expected a time"},
        Nonsense{"+1.2.3 > . 1:1(0) ack 1", "expected a time"},
        Nonsense{"+5x > . 1:1(0) ack 1", "neither a number nor a word"},
        Nonsense{"\n  +0 dance", "x.pkt:2:6: there is no event dance"},
        Nonsense{"+0 path_mtu", "expected a number"}, Nonsense{"+0 write(4, ..., 1)", "expected ="},
        Nonsense{"+0 write(4, ..., 1) = -2 EAGAIN", "returns -1"},
        Nonsense{"+0 write(4, ..., 1) = -1", "expected the name of an error"},
        Nonsense{"+0 %{ }%", "nothing is asserted"},
        Nonsense{"+0 %{ print 1 }%", "x.pkt:1:7: expected assert"},
        Nonsense{"+0 %{ assert 1 + }%", "x.pkt:1:18: expected a number or a name"},
        Nonsense{"+0 %{ assert 1", "no }%"}, Nonsense{"/* a", "x.pkt:1:1: this comment has no end"},
        Nonsense{"+0 f(\"a) = 0", "this string has no end"},
        Nonsense{"--nonsense=1\n+0 restart", "x.pkt:1:1: there is no option --nonsense"},
        Nonsense{"--mss=x\n+0 restart", "--mss: expected a number"},
        Nonsense{"--sack=maybe\n+0 restart", "--sack: expected on or off"},
        Nonsense{"--state=LISTEN\n+0 restart", "there is no state LISTEN"},
        Nonsense{"--cc=warp\n+0 restart", "there is no congestion control warp"},
        Nonsense{"--rcvbuf=1000\n+0 restart", "a power of two"},
        Nonsense{"--snd_wnd=70000\n+0 restart", "needs --wscale"},
        Nonsense{"--wscale=7\n+0 restart", "the peer's shift,our shift"},
        Nonsense{"--wscale=15,1\n+0 restart", "up to 14"},
        Nonsense{"+0 restart\n--mss=1000", "x.pkt:2:1: options stand before"},
        Nonsense{"no-handover:\n+0 restart", "needs a reason"},
        Nonsense{"no-handover: a\nno-handover: b\n+0 restart", "stands already"},
        Nonsense{"handover-again\n+0 restart", "no no-handover to end"},
        Nonsense{"+0 restart ?", "a script has no '?'"}));

TEST(ParseDuration, IsExactToANanosecond) {
  EXPECT_EQ(parse_duration("1.000000001"), seconds(1) + Duration(1));
  EXPECT_EQ(parse_duration(".1"), milliseconds(100));
  EXPECT_EQ(parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(parse_duration("1.5ms"), microseconds(1500));
  EXPECT_EQ(parse_duration("40us"), microseconds(40));
  EXPECT_EQ(parse_duration("3s"), seconds(3));
  for (const char* nonsense : {"", ".", "ms", "1..2", "1.0000000001", "x", "-1"})
    EXPECT_FALSE(parse_duration(nonsense)) << nonsense;
}

}  // namespace
}  // namespace snp::script
