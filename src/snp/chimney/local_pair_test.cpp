#include "snp/chimney/local_pair.h"

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp::chimney {
namespace {

constexpr std::uint64_t kOrigin = 1ull << 40;

// One stream as two honest hosts have it at a moment when some of it is in flight: bytes are
// numbered from `first` on.
struct Model {
  SeqNum first;
  std::uint32_t read = 0;      // of the reader's program
  std::uint32_t received = 0;  // by the reader's host
  std::uint32_t acked = 0;     // as the writer's host knows
  std::uint32_t sent = 0;
  std::uint32_t written = 0;
  bool ended = false, fin_sent = false, fin_received = false, fin_acked = false;
};

Model any_model() {
  Model m;
  m.first = SeqNum(*rc::gen::arbitrary<std::uint32_t>());
  const auto upto = [](std::uint32_t from) {
    return from + *rc::gen::inRange<std::uint32_t>(0, 3000);
  };
  m.acked = upto(0);
  m.received = upto(m.acked);
  m.read = *rc::gen::inRange<std::uint32_t>(0, m.received + 1);
  m.sent = upto(m.received);
  m.written = upto(m.sent);
  m.ended = *rc::gen::arbitrary<bool>();
  m.fin_sent = m.ended && m.sent == m.written && *rc::gen::arbitrary<bool>();
  m.fin_received = m.fin_sent && m.received == m.sent && *rc::gen::arbitrary<bool>();
  m.fin_acked = m.fin_received && m.acked == m.received && *rc::gen::arbitrary<bool>();
  return m;
}

TcpState state_of(const Model& out, const Model& in) {
  if (in.fin_received) return TcpState::kCloseWait;
  if (out.fin_acked) return TcpState::kFinWait2;
  return out.fin_sent ? TcpState::kFinWait1 : TcpState::kEstablished;
}

LocalEnd make_end(const Model& out, const Model& in, bool is_first, std::uint32_t room) {
  LocalEnd end;
  end.receive_room = room;
  Handoff& h = end.handoff;
  const FourTuple tuple{{IpAddress::v4(127, 0, 0, 1), 1}, {IpAddress::v4(127, 0, 0, 1), 2}};
  h.state.constant.tuple = is_first ? tuple : mirrored(tuple);
  h.state.constant.window_scaling = true;
  h.state.constant.snd_wind_shift = is_first ? 7 : 9;
  h.state.constant.rcv_wind_shift = is_first ? 9 : 7;
  DelegatedState& d = h.state.delegated;
  d.state = state_of(out, in);
  d.fin_pending = out.ended && !out.fin_sent;
  d.snd_una = out.first + out.acked + (out.fin_acked ? 1 : 0);
  d.snd_nxt = d.snd_max = out.first + out.sent + (out.fin_sent ? 1 : 0);
  d.rcv_nxt = in.first + in.received + (in.fin_received ? 1 : 0);
  h.tx_range = {kOrigin + out.acked, kOrigin + out.written};
  h.rx_range = {kOrigin + in.read, kOrigin + in.received};
  return end;
}

struct Situation {
  Model ab, ba;
  LocalEnd a, b;
};
// Both ends having sent a FIN does not move: at most one direction has ended on the wire.
Situation any_situation() {
  Situation s;
  s.ab = any_model();
  s.ba = any_model();
  if (s.ab.fin_sent) s.ba.fin_sent = s.ba.fin_received = s.ba.fin_acked = false;
  s.a = make_end(s.ab, s.ba, true, *rc::gen::inRange<std::uint32_t>(0, 20000));
  s.b = make_end(s.ba, s.ab, false, *rc::gen::inRange<std::uint32_t>(0, 20000));
  return s;
}

// What the host is to have after refilling, for one direction.
void check_home(const LocalEnd& writer, const LocalEnd& reader, SeqNum first_unread,
                std::uint64_t unread, bool ended) {
  const DelegatedState& w = writer.handoff.state.delegated;
  const DelegatedState& r = reader.handoff.state.delegated;
  RC_ASSERT(w.state == TcpState::kEstablished);
  RC_ASSERT(w.fin_pending == ended);
  RC_ASSERT(w.snd_una == r.rcv_nxt);
  RC_ASSERT(w.snd_max == r.rcv_nxt);
  RC_ASSERT(w.snd_nxt == r.rcv_nxt);
  RC_ASSERT(reader.handoff.rx_range.length() + writer.handoff.tx_range.length() == unread);
  RC_ASSERT(r.rcv_nxt ==
            first_unread + static_cast<std::uint32_t>(reader.handoff.rx_range.length()));
  RC_ASSERT(w.snd_wnd == r.rcv_wnd);
  RC_ASSERT(w.max_snd_wnd >= w.snd_wnd);
  RC_ASSERT(r.rcv_wup == r.rcv_nxt);
  RC_ASSERT(r.rcv_wnd % (1u << reader.handoff.state.constant.rcv_wind_shift) == 0u);
  RC_ASSERT(r.rcv_wnd + reader.handoff.rx_range.length() <=
            std::max<std::uint64_t>(reader.receive_room, reader.handoff.rx_range.length()));
  RC_ASSERT(w.min_rtt_us == 0u);
}

TEST(LocalPair, WhatHonestHostsHoldIsEachOthers) {
  EXPECT_TRUE(rc::check("in every state that moves, whatever is in flight", [] {
    const Situation s = any_situation();
    RC_ASSERT(are_each_other(s.a.handoff, s.b.handoff));
    RC_ASSERT(are_each_other(s.b.handoff, s.a.handoff));
  }));
}

TEST(LocalPair, SettlingLosesAndRepeatsNothing) {
  EXPECT_TRUE(rc::check("every byte is on one side, once", [] {
    Situation s = any_situation();
    settle(s.a, s.b);
    check_home(s.a, s.b, s.ab.first + s.ab.read, s.ab.written - s.ab.read, s.ab.ended);
    check_home(s.b, s.a, s.ba.first + s.ba.read, s.ba.written - s.ba.read, s.ba.ended);
    RC_ASSERT(s.a.handoff.tx_range.begin == kOrigin + s.ab.received);
    const LocalStream stream = stream_between(s.a.handoff, s.b.handoff, kOrigin);
    RC_ASSERT(stream.first == s.ab.first + s.ab.read);
    RC_ASSERT(stream.end - stream.begin == s.ab.written - s.ab.read);
    RC_ASSERT(stream.has_ended == s.ab.ended);
  }));
}

TEST(LocalPair, TakenApartAfterAnyNumberOfBytes) {
  EXPECT_TRUE(rc::check("sequence numbers advance by what was carried, modulo 2^32", [] {
    Situation s = any_situation();
    settle(s.a, s.b);
    LocalStream ab = stream_between(s.a.handoff, s.b.handoff, kOrigin);
    LocalStream ba = stream_between(s.b.handoff, s.a.handoff, kOrigin);
    const SeqNum first_ab = ab.first;
    const SeqNum first_ba = ba.first;
    const auto carried = [] {
      return *rc::gen::element<std::uint64_t>(0, 1, 1ull << 31, 1ull << 32, (5ull << 32) + 12345);
    };
    const std::uint64_t n = carried();
    const std::uint64_t m = carried();
    ab.begin += n;
    ab.end = ab.begin + *rc::gen::inRange<std::uint64_t>(0, 40000);
    ba.begin += m;
    ba.end = ba.begin + *rc::gen::inRange<std::uint64_t>(0, 40000);
    take_apart(s.a, s.b, ab, ba);
    check_home(s.a, s.b, first_ab + static_cast<std::uint32_t>(n), ab.end - ab.begin, ab.has_ended);
    check_home(s.b, s.a, first_ba + static_cast<std::uint32_t>(m), ba.end - ba.begin, ba.has_ended);
    // As much as fits is where it can be read at once.
    RC_ASSERT(s.b.handoff.rx_range.length() ==
              std::min<std::uint64_t>(ab.end - ab.begin, s.b.receive_room));
    RC_ASSERT(s.b.handoff.rx_range.end == s.a.handoff.tx_range.begin);
    // And what came home can move again.
    RC_ASSERT(are_each_other(s.a.handoff, s.b.handoff));
  }));
}

struct BytesInFlight : testing::Test {
  BytesInFlight() {
    Model ab;
    ab.first = SeqNum(0xfffffff0);
    ab.acked = ab.read = 100;
    ab.received = 200;
    ab.sent = ab.written = 300;
    Model ba;
    ba.first = SeqNum(77);
    a = make_end(ab, ba, true, 1000);
    b = make_end(ba, ab, false, 1000);
  }
  LocalEnd a, b;
};

TEST_F(BytesInFlight, StrangersAreRefused) {
  ASSERT_TRUE(are_each_other(a.handoff, b.handoff));
  Handoff other = b.handoff;
  other.state.constant.tuple.local.port = 9;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "another tuple";
  other = b.handoff;
  other.state.delegated.rcv_nxt += 101;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "expects what was never sent";
  other = b.handoff;
  other.state.delegated.rcv_nxt = a.handoff.state.delegated.snd_una - 1;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "has not got what was acknowledged";
  other = b.handoff;
  other.state.delegated.snd_una = other.state.delegated.snd_max = SeqNum(78);
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "the other direction";
  other = b.handoff;
  other.state.delegated.state = TcpState::kCloseWait;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "a FIN that nobody sent";
  other = b.handoff;
  other.state.constant.rcv_wind_shift = 1;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "negotiated something else";
  other = b.handoff;
  other.state.delegated.state = TcpState::kLastAck;
  EXPECT_FALSE(are_each_other(a.handoff, other)) << "a state that does not move";
}

TEST_F(BytesInFlight, ALostTailOfTheRingIsNoticed) {
  Handoff writer = a.handoff;
  writer.tx_range.begin = writer.tx_range.end - 50;  // fewer bytes than are missing
  EXPECT_FALSE(are_each_other(writer, b.handoff));
}

}  // namespace
}  // namespace snp::chimney
