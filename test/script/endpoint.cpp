#include "test/script/endpoint.h"

#include <algorithm>
#include <array>
#include <utility>

namespace snp::script {
namespace {

constexpr std::uint64_t kFirstPosition = 1ull << 20;  // of the byte that a script calls 1
constexpr int kMaxPlans = 100'000;

// What the streams carry: any displacement shows.
std::byte byte_of(std::uint32_t relative, std::uint32_t salt) {
  std::uint32_t x = relative * 2654435761u + salt;
  x ^= x >> 15;
  return static_cast<std::byte>(x * 2246822519u >> 24);
}
constexpr std::uint32_t kOurs = 0x51, kPeers = 0xa7;

std::uint32_t relative_of(std::uint64_t position) {
  return static_cast<std::uint32_t>(position - kFirstPosition) + 1;
}

}  // namespace

Endpoint::Endpoint(const Setup& setup, Instant now)
    : limits_(setup.limits),
      cached_(setup.state.cached),
      iss_(setup.iss),
      irs_(setup.irs),
      tx_(setup.sndbuf),
      rx_(setup.rcvbuf),
      streams_{{tx_.data(), setup.sndbuf},
               {kFirstPosition, kFirstPosition + setup.queued},
               {rx_.data(), setup.rcvbuf},
               {kFirstPosition - setup.unread, kFirstPosition}},
      now_(now),
      last_wnd_(static_cast<std::uint16_t>(setup.state.delegated.snd_wnd >>
                                           setup.state.constant.snd_wind_shift)) {
  const auto fill = [](const StreamRing& ring, const StreamRange& range, std::uint32_t salt) {
    for (std::uint64_t at = range.begin; at != range.end; ++at)
      ring.data[at % ring.size] = byte_of(relative_of(at), salt);
  };
  fill(streams_.tx, streams_.tx_range, kOurs);
  fill(streams_.rx, streams_.rx_range, kPeers);
  connection_.emplace(setup.state, streams_, limits_, now_);
  drain();
}

Instant Endpoint::next_timeout() const {
  return connection_ ? connection_->next_timeout() : kNever;
}

void Endpoint::pass_until(Instant now) {
  for (int turns = 0; next_timeout() <= now; ++turns) {
    if (turns == kMaxPlans) {
      complaint_ = "a timer runs without end";
      break;
    }
    now_ = std::max(now_, next_timeout());
    connection_->on_timeout(now_);
    drain();
  }
  now_ = std::max(now_, now);
}

void Endpoint::drain(bool is_owed) {
  int plans = 0;
  while (auto plan = connection_->poll_segment(now_)) {
    if (++plans == kMaxPlans) {
      complaint_ = "segments without end";
      break;
    }
    check_payload(*plan);
    const bool is_bare = plan->payload_len == 0 && plan->flags == TcpFlags::kAck;
    sent_.push_back({*plan, now_, is_owed && is_bare});
  }
  const std::uint32_t events = connection_->take_events();
  events_ |= events;
  if ((events & tcp::kReset) != 0)
    pending_error_ = connection_->state() == TcpState::kClosed ? "ECONNRESET" : "";
  if ((events & tcp::kTimedOut) != 0) pending_error_ = "ETIMEDOUT";
}

// The bytes that leave are those that were written, at their place.
void Endpoint::check_payload(const tcp::SegmentPlan& plan) {
  const tcp::Streams& streams = connection_->streams();
  const std::uint32_t first = plan.seq - iss_;
  for (std::uint32_t i = 0; i < plan.payload_len; ++i)
    if (streams.tx.data[(plan.payload_pos + i) % streams.tx.size] != byte_of(first + i, kOurs)) {
      complaint_ = "the byte sent as " + std::to_string(first + i) + " is not what was written";
      return;
    }
}

void Endpoint::receive(const Packet& packet) {
  if (packet.wnd) last_wnd_ = *packet.wnd;
  Packet complete = packet;
  complete.wnd = last_wnd_;
  if (!connection_)
    held_.push_back(complete);
  else
    deliver(complete);
}

void Endpoint::deliver(const Packet& packet) {
  std::vector<std::byte> payload(packet.length);
  for (std::uint32_t i = 0; i < packet.length; ++i)
    payload[i] = byte_of(packet.seq + i, kPeers);
  Segment segment;
  segment.seg_seq = peers(packet.seq);
  if (packet.ack) segment.seg_ack = ours(*packet.ack);
  segment.seg_wnd = *packet.wnd;
  segment.flags = packet.flags;
  segment.is_ce = packet.ecn == Packet::Ecn::kCe;
  segment.gso_size = static_cast<std::uint16_t>(packet.gso.value_or(0));
  segment.options = packet.options;
  for (std::size_t i = 0; i < segment.options.sack_count; ++i) {
    SackBlock& block = segment.options.sack[i];
    block = {ours(block.start.value()), ours(block.end.value())};
  }
  segment.payload = payload;
  if (connection_->state() == TcpState::kClosed) return;
  connection_->on_segment(segment, now_);
  drain();
}

void Endpoint::set_path_mtu(std::uint32_t mtu) {
  cached_.path_mtu = static_cast<std::uint16_t>(mtu);
  if (!connection_) return;
  connection_->update(cached_, now_);
  drain();
}

void Endpoint::hand_over(HandOver kind) {
  if (!connection_ || connection_->state() == TcpState::kClosed) return;
  upload(kind);
  offload();
}

void Endpoint::upload(HandOver kind) {
  if (!connection_) return;
  if (kind == HandOver::kOrderly) {
    connection_->freeze(now_);
    drain(true);
  }
  const ConnectionState state = connection_->export_state(now_);
  streams_ = connection_->streams();
  ipc::store_state(record_, state, streams_.rx_range, streams_.tx_range, to_ms_ticks(now_));
  forget_connection();
  ++handovers_;
}

void Endpoint::forget_connection() {
  const tcp::Info info = connection_->info();
  before_.total_retransmits += info.total_retransmits;
  before_.bytes_acked += info.bytes_acked;
  before_.bytes_received += info.bytes_received;
  before_.segments_in += info.segments_in;
  before_.segments_out += info.segments_out;
  before_.data_segments_in += info.data_segments_in;
  before_.data_segments_out += info.data_segments_out;
  before_.bytes_sent += info.bytes_sent - info.unacked_bytes;  // which the next one counts
  before_.bytes_resent += info.bytes_resent;
  before_.duplicates_reported += info.duplicates_reported;
  before_.out_of_order += info.out_of_order;
  before_.reorderings += info.reorderings;
  before_.bytes_marked += info.bytes_marked;
  connection_.reset();
}

void Endpoint::offload() {
  if (connection_) return;
  ConnectionState state = ipc::state_of(record_, to_ms_ticks(now_));
  state.cached = cached_;
  const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(record_);
  streams_.tx_range = {snapshot.una_pos, record_.tx_end.load()};
  streams_.rx_range = {record_.rx_begin.load(), snapshot.rcv_pos};
  connection_.emplace(state, streams_, limits_, now_);
  if (has_closed_) connection_->close(now_);
  drain(true);
  for (const Packet& packet : std::exchange(held_, {}))
    deliver(packet);
}

Result<CallResult> Endpoint::call(const Call& call) {
  if (!connection_) return fail(Errc::kInvalid, "the connection is with the host");
  const auto bytes = static_cast<std::uint32_t>(call.numbers.empty() ? 0 : call.numbers.back());
  const auto takes = [&](std::string_view name, std::size_t numbers, std::size_t words) {
    return call.name == name && call.numbers.size() == numbers && call.words.size() == words;
  };
  if (has_closed_ && call.name != "setsockopt") return CallResult{-1, "EBADF"};
  if (takes("write", 2, 0)) return write(bytes);
  if (takes("read", 2, 0)) return read(bytes);
  if (takes("shutdown", 1, 1)) return call.words[0] == "SHUT_RD" ? CallResult{} : shut_down();
  if (takes("close", 1, 0)) return close();
  if (call.name == "setsockopt" && call.words.size() >= 2 && call.numbers.size() >= 2)
    return set_option(call);
  return fail(Errc::kInvalid, "there is no such call: " + call.name);
}

CallResult Endpoint::write(std::uint32_t bytes) {
  if (!pending_error_.empty()) return {-1, std::exchange(pending_error_, {})};
  if (has_shut_down_ || connection_->state() == TcpState::kClosed) return {-1, "EPIPE"};
  const tcp::Streams& streams = connection_->streams();
  const std::uint64_t limit = connection_->send_buffer();
  const auto room = static_cast<std::uint32_t>(limit - std::min(limit, streams.tx_range.length()));
  const std::uint32_t taken = std::min(bytes, room);
  if (taken == 0 && bytes != 0) return {-1, "EAGAIN"};
  for (std::uint64_t at = streams.tx_range.end; at != streams.tx_range.end + taken; ++at)
    streams.tx.data[at % streams.tx.size] = byte_of(relative_of(at), kOurs);
  connection_->on_written(taken, now_);
  drain();
  return {taken, {}};
}

CallResult Endpoint::read(std::uint32_t bytes) {
  const tcp::Streams& streams = connection_->streams();
  const StreamRange unread = streams.rx_range;
  if (unread.length() == 0) {
    if (!pending_error_.empty()) return {-1, std::exchange(pending_error_, {})};
    const bool is_over = (events_ & (tcp::kPeerClosed | tcp::kClosed)) != 0;
    return is_over ? CallResult{} : CallResult{-1, "EAGAIN"};
  }
  const auto taken = std::min(bytes, static_cast<std::uint32_t>(unread.length()));
  for (std::uint64_t at = unread.begin; at != unread.begin + taken; ++at)
    if (streams.rx.data[at % streams.rx.size] != byte_of(relative_of(at), kPeers)) {
      complaint_ = "the byte read as " + std::to_string(relative_of(at)) + " is not what was sent";
      break;
    }
  connection_->on_consumed(taken, now_);
  drain();
  return {taken, {}};
}

CallResult Endpoint::shut_down() {
  if (connection_->state() == TcpState::kClosed) return {-1, "ENOTCONN"};
  has_shut_down_ = true;
  connection_->shutdown_write(now_);
  drain();
  return {};
}

// As Linux and the shard do it: unread data, or a linger time of 0, makes a close a reset
// (RFC 2525 2.17).
CallResult Endpoint::close() {
  const bool has_unread = connection_->streams().rx_range.length() != 0;
  if (has_unread || (cached_.linger_on && cached_.linger_s == 0))
    connection_->abort(now_);
  else
    connection_->close(now_);
  has_closed_ = has_shut_down_ = true;
  drain();
  return {};
}

bool Endpoint::set_number(std::string_view name, std::uint32_t value, const Call& call) {
  struct Option {
    std::string_view name;
    bool* flag;
    std::uint32_t* number;
  };
  const std::array options{
      Option{"TCP_NODELAY", &cached_.no_delay, nullptr},
      Option{"TCP_CORK", &cached_.cork, nullptr},
      Option{"TCP_QUICKACK", &cached_.quick_ack, nullptr},
      Option{"TCP_KEEPIDLE", nullptr, &cached_.keepalive.idle_s},
      Option{"TCP_KEEPINTVL", nullptr, &cached_.keepalive.interval_s},
      Option{"TCP_KEEPCNT", nullptr, &cached_.keepalive.probes},
      Option{"TCP_USER_TIMEOUT", nullptr, &cached_.user_timeout_ms},
      Option{"TCP_NOTSENT_LOWAT", nullptr, &cached_.notsent_lowat},
      Option{"SO_KEEPALIVE", &cached_.keepalive.enabled, nullptr},
      Option{"SO_RCVBUF", nullptr, &cached_.receive_buffer},
      Option{"SO_SNDBUF", nullptr, &cached_.send_buffer},
  };
  for (const Option& option : options) {
    if (option.name != name) continue;
    if (option.flag != nullptr)
      *option.flag = value != 0;
    else
      *option.number = value;
    return true;
  }
  if (name == "SO_MAX_PACING_RATE") {
    cached_.max_pacing_rate = value;
    return true;
  }
  if (name == "SO_LINGER" && call.numbers.size() >= 3) {
    cached_.linger_on = value != 0;
    cached_.linger_s = static_cast<std::uint32_t>(call.numbers[2]);
    return true;
  }
  return false;
}

// setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4): numbers 4, 1, 4; words SOL_TCP, TCP_NODELAY.
Result<CallResult> Endpoint::set_option(const Call& call) {
  const std::string& name = call.words[1];
  if (name == "TCP_CONGESTION" && call.words.size() == 3) {
    cached_.congestion_control.fill('\0');
    call.words[2].copy(cached_.congestion_control.data(), cached_.congestion_control.size() - 1);
  } else if (!set_number(name, static_cast<std::uint32_t>(call.numbers[1]), call)) {
    return fail(Errc::kInvalid, "there is no such option: " + name);
  }
  connection_->update(cached_, now_);
  drain();
  return CallResult{};
}

namespace {

std::optional<std::int64_t> number_of_state(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, TcpState>, 8> kStates{{
      {"TCP_ESTABLISHED", TcpState::kEstablished},
      {"TCP_FIN_WAIT1", TcpState::kFinWait1},
      {"TCP_FIN_WAIT2", TcpState::kFinWait2},
      {"TCP_CLOSE_WAIT", TcpState::kCloseWait},
      {"TCP_CLOSING", TcpState::kClosing},
      {"TCP_LAST_ACK", TcpState::kLastAck},
      {"TCP_TIME_WAIT", TcpState::kTimeWait},
      {"TCP_CLOSE", TcpState::kClosed},
  }};
  for (const auto& [state_name, state] : kStates)
    if (name == state_name) return linux_number(state);
  return std::nullopt;
}

// enum tcp_ca_state of linux/tcp.h.
int ca_state_of(const tcp::Info& info) {
  if (info.has_timed_out) return 4;
  if (info.is_recovering) return 3;
  return info.is_reducing ? 2 : 0;
}

}  // namespace

std::optional<std::int64_t> Endpoint::value_of(std::string_view name) const {
  if (const auto number = number_of_state(name)) return number;
  if (!connection_) return std::nullopt;
  const tcp::Info info = connection_->info();
  const tcp::Streams& streams = connection_->streams();
  const std::uint32_t mss = std::max(info.snd_mss, 1u);
  const auto count = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
  // As Linux tells them (linux/tcp.h): windows in segments, times in microseconds.
  const std::array<std::pair<std::string_view, std::int64_t>, 52> values{{
      {"tcpi_state", linux_number(info.state)},
      {"tcpi_retransmits", info.retransmits},
      {"tcpi_rto", info.rto_us},
      {"tcpi_snd_mss", info.snd_mss},
      {"tcpi_rcv_mss", info.rcv_mss},
      {"tcpi_rtt", info.srtt_us},
      {"tcpi_rttvar", info.rttvar_us},
      {"tcpi_snd_cwnd", info.cwnd_bytes / mss},
      {"tcpi_snd_ssthresh", info.ssthresh_bytes / mss},
      {"tcpi_snd_wnd", info.snd_wnd},
      {"tcpi_rcv_wnd", info.rcv_wnd},
      {"tcpi_unacked", (info.unacked_bytes + mss - 1) / mss},
      {"tcpi_total_retrans", before_.total_retransmits + info.total_retransmits},
      {"tcpi_bytes_acked", total(&tcp::Info::bytes_acked)},
      {"tcpi_bytes_received", total(&tcp::Info::bytes_received)},
      {"tcpi_segs_in", total(&tcp::Info::segments_in)},
      {"tcpi_segs_out", total(&tcp::Info::segments_out)},
      {"tcpi_data_segs_in", total(&tcp::Info::data_segments_in)},
      {"tcpi_data_segs_out", total(&tcp::Info::data_segments_out)},
      {"tcpi_bytes_sent", total(&tcp::Info::bytes_sent)},
      {"tcpi_bytes_retrans", total(&tcp::Info::bytes_resent)},
      {"tcpi_dsack_dups", total(&tcp::Info::duplicates_reported)},
      {"tcpi_rcv_ooopack", total(&tcp::Info::out_of_order)},
      {"tcpi_reord_seen", total(&tcp::Info::reorderings)},
      {"tcpi_notsent_bytes", info.unsent_bytes},
      {"tcpi_min_rtt", info.min_rtt_us},
      {"tcpi_rcv_rtt", info.rcv_rtt_us},
      {"tcpi_rcv_space", info.receive_buffer},
      {"tcpi_pacing_rate", count(info.pacing_rate)},
      {"tcpi_delivery_rate", count(info.delivery_rate)},
      {"tcpi_delivery_rate_app_limited", info.is_delivery_app_limited},
      {"tcpi_ca_state", ca_state_of(info)},
      {"tcpi_probes", info.probes},
      {"tcpi_backoff", info.backoff},
      {"tcpi_last_data_sent", (now_ - info.last_data_sent) / milliseconds(1)},
      {"tcpi_last_data_recv", (now_ - info.last_data_received) / milliseconds(1)},
      {"tcpi_last_ack_recv", (now_ - info.last_received) / milliseconds(1)},
      // Ours: bytes, and what the application sees.
      {"cwnd_bytes", info.cwnd_bytes},
      {"ssthresh_bytes", info.ssthresh_bytes},
      {"unacked_bytes", info.unacked_bytes},
      {"sacked_bytes", info.sacked_bytes},
      {"lost_bytes", info.lost_bytes},
      {"resent_in_flight_bytes", info.resent_in_flight_bytes},
      {"marked_bytes", total(&tcp::Info::bytes_marked)},
      {"is_fin_acknowledged", info.is_fin_acknowledged},
      {"inq", count(streams.rx_range.length())},
      {"outq", count(streams.tx_range.length())},
      {"is_readable", (events_ & tcp::kReadable) != 0},
      {"is_peer_closed", (events_ & tcp::kPeerClosed) != 0},
      {"is_urgent", (events_ & tcp::kUrgent) != 0},
      {"has_successor", (events_ & tcp::kSuccessor) != 0},
      {"is_closed", (events_ & tcp::kClosed) != 0},
  }};
  const auto found = std::find_if(values.begin(), values.end(),
                                  [&](const auto& value) { return value.first == name; });
  if (found == values.end()) return std::nullopt;
  return found->second;
}

}  // namespace snp::script
