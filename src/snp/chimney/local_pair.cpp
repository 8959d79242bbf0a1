#include "snp/chimney/local_pair.h"

#include <algorithm>

namespace snp::chimney {
namespace {

constexpr std::uint32_t kMaxWindowField = 65535;

// Sequence numbers of bytes, without the FIN that may follow them.
SeqNum next_byte_expected(const DelegatedState& reader) noexcept {
  return has_received_fin(reader.state) ? reader.rcv_nxt - 1 : reader.rcv_nxt;
}
SeqNum oldest_byte_kept(const DelegatedState& writer) noexcept {
  return writer.state == TcpState::kFinWait2 ? writer.snd_una - 1 : writer.snd_una;
}

bool is_movable(TcpState state) noexcept {
  return state == TcpState::kEstablished || state == TcpState::kFinWait1 ||
         state == TcpState::kFinWait2 || state == TcpState::kCloseWait;
}

bool continues(const Handoff& writer, const Handoff& reader) noexcept {
  const DelegatedState& w = writer.state.delegated;
  const DelegatedState& r = reader.state.delegated;
  if (r.rcv_nxt < w.snd_una || r.rcv_nxt > w.snd_max) return false;
  // A FIN is the last thing of a stream, and who has received one got it from somebody.
  if (has_received_fin(r.state) && (!has_sent_fin(w.state) || r.rcv_nxt != w.snd_max)) return false;
  if (w.state == TcpState::kFinWait2 && !has_received_fin(r.state)) return false;
  return next_byte_expected(r) - oldest_byte_kept(w) <= writer.tx_range.length();
}

bool negotiated_the_same(const ConstState& a, const ConstState& b) noexcept {
  return a.timestamps == b.timestamps && a.sack == b.sack && a.window_scaling == b.window_scaling &&
         a.snd_wind_shift == b.rcv_wind_shift && a.rcv_wind_shift == b.snd_wind_shift;
}

void settle_stream(Handoff& writer, Handoff& reader) noexcept {
  DelegatedState& w = writer.state.delegated;
  DelegatedState& r = reader.state.delegated;
  const SeqNum next = next_byte_expected(r);
  writer.tx_range.begin += next - oldest_byte_kept(w);
  w.fin_pending = w.fin_pending || has_sent_fin(w.state);
  w.snd_una = w.snd_nxt = w.snd_max = next;
  r.rcv_nxt = next;
}

// What the reader promises is what the writer knows of, to the byte: the window field cuts off the
// low bits (RFC 7323 2.3).
void agree_on_window(Handoff& writer, LocalEnd& reader) noexcept {
  DelegatedState& w = writer.state.delegated;
  DelegatedState& r = reader.handoff.state.delegated;
  const auto unread = static_cast<std::uint32_t>(reader.handoff.rx_range.length());
  const std::uint32_t room = reader.receive_room > unread ? reader.receive_room - unread : 0;
  const std::uint8_t shift = reader.handoff.state.constant.rcv_wind_shift;
  const std::uint32_t window = std::min(room >> shift, kMaxWindowField) << shift;
  r.rcv_wnd = window;
  r.rcv_wup = r.rcv_nxt;
  w.snd_wnd = window;
  w.max_snd_wnd = std::max(w.max_snd_wnd, window);
  w.snd_wl1 = w.rcv_nxt - 1;  // the first segment that comes brings the window up to date
  w.snd_wl2 = w.snd_una;
}

void start_afresh(DelegatedState& d) noexcept {
  d.state = TcpState::kEstablished;
  d.retransmits = d.keepalive_probes = d.persist_probes = 0;
  d.retransmit_delta_ms = d.keepalive_delta_ms = d.end_delta_ms = -1;
  // Without a measured round trip refill() asks for no forged answer: the peer itself will answer.
  d.srtt_us = d.rttvar_us = d.min_rtt_us = 0;
}

void finish(LocalEnd& a, LocalEnd& b) noexcept {
  start_afresh(a.handoff.state.delegated);
  start_afresh(b.handoff.state.delegated);
  agree_on_window(a.handoff, b);
  agree_on_window(b.handoff, a);
}

void give_back(const LocalStream& stream, Handoff& writer, LocalEnd& reader) noexcept {
  const std::uint64_t unread = stream.end - stream.begin;
  const std::uint64_t split = stream.begin + std::min<std::uint64_t>(unread, reader.receive_room);
  reader.handoff.rx_range = {stream.begin, split};
  writer.tx_range = {split, stream.end};
  const SeqNum next = stream.first + static_cast<std::uint32_t>(split - stream.origin);
  DelegatedState& w = writer.state.delegated;
  w.snd_una = w.snd_nxt = w.snd_max = next;
  w.fin_pending = stream.has_ended;
  reader.handoff.state.delegated.rcv_nxt = next;
}

}  // namespace

bool are_each_other(const Handoff& a, const Handoff& b) noexcept {
  return a.state.constant.tuple == mirrored(b.state.constant.tuple) &&
         is_movable(a.state.delegated.state) && is_movable(b.state.delegated.state) &&
         negotiated_the_same(a.state.constant, b.state.constant) && continues(a, b) &&
         continues(b, a);
}

void settle(LocalEnd& a, LocalEnd& b) noexcept {
  settle_stream(a.handoff, b.handoff);
  settle_stream(b.handoff, a.handoff);
  finish(a, b);
}

LocalStream stream_between(const Handoff& writer, const Handoff& reader,
                           std::uint64_t origin) noexcept {
  const std::uint64_t unread = reader.rx_range.length();
  LocalStream stream;
  stream.begin = stream.origin = origin;
  stream.end = origin + unread + writer.tx_range.length();
  stream.has_ended = writer.state.delegated.fin_pending;
  stream.first = reader.state.delegated.rcv_nxt - static_cast<std::uint32_t>(unread);
  return stream;
}

void take_apart(LocalEnd& a, LocalEnd& b, const LocalStream& from_a,
                const LocalStream& from_b) noexcept {
  give_back(from_a, a.handoff, b);
  give_back(from_b, b.handoff, a);
  finish(a, b);
}

}  // namespace snp::chimney
