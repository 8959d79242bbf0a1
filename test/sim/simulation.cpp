#include "test/sim/simulation.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <iostream>
#include <sstream>

#include "snp/ipc/flow_record.h"
#include "snp/tcp/segments_ahead.h"

namespace snp::sim {
namespace {

constexpr Instant kStart = Instant(seconds(1000));
constexpr std::uint64_t kFirstPosition = 1ull << 20;
constexpr std::uint32_t kPatternBytes = 1u << 16;

// What host i writes at offset n: a random block, repeated with a shift, so that any displacement
// shows.
class Pattern {
 public:
  explicit Pattern(std::uint64_t seed) {
    Random random(seed);
    for (std::size_t i = 0; i < kPatternBytes; i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(block_.data() + i, &word, sizeof word);
    }
    block_.back() = static_cast<std::byte>(random());
  }
  // Calls use(bytes, done) for the pieces of [n, n + length), until it returns false.
  template <class Use>
  bool walk(std::uint64_t n, std::uint64_t length, Use&& use) const {
    for (std::uint64_t done = 0; done < length;) {
      const auto at = static_cast<std::size_t>((n + done) % block_.size());
      const auto most = static_cast<std::size_t>(length - done);
      const auto piece = std::span(block_).subspan(at, std::min(most, block_.size() - at));
      if (!use(piece, done)) return false;
      done += piece.size();
    }
    return true;
  }

 private:
  std::array<std::byte, kPatternBytes + 1> block_;
};

}  // namespace

std::string describe(const Config& config) {
  std::ostringstream out;
  out << "seed " << config.seed << " ts " << config.timestamps << " sack " << config.sack << " ecn "
      << config.ecn << " shift " << int(config.wind_shift) << " mss " << config.mss << " "
      << config.congestion_control << " handovers/s " << config.handovers_per_s;
  for (std::size_t i = 0; i < 2; ++i) {
    const HostConfig& host = config.hosts[i];
    const LinkConfig& link = config.links[i];
    out << "\n  host " << i << ": bytes " << host.bytes << " ring " << host.ring << " burst "
        << host.max_segment_payload << " merges " << host.merges << " read pause "
        << host.read_pause / microseconds(1) << " us copy time " << host.copy_time / microseconds(1)
        << " us; link: delay " << link.delay / microseconds(1) << " us rate " << link.rate_bps
        << " queue " << link.queue_bytes << " loss " << link.loss << " bursts " << link.burst_begin
        << " reorder " << link.reorder << " duplicate " << link.duplicate;
  }
  return out.str();
}

class Host {
 public:
  // The host of pair `flow` on side `index`.
  Host(const Config& config, std::size_t flow, std::size_t index, SeqNum iss, SeqNum peer_iss,
       Instant now)
      : config_(config.hosts[index]),
        written_((config.seed + flow * 1000) * 2 + index),
        expected_((config.seed + flow * 1000) * 2 + 1 - index),
        expected_bytes_(config.hosts[1 - index].bytes),
        timer_tick_(config.timer_tick),
        tx_(config_.ring),
        rx_(config_.ring) {
    const HostConfig& peer = config.hosts[1 - index];
    const std::uint32_t peer_ring = peer.buffer != 0 ? peer.buffer : peer.ring;
    const std::uint32_t own_ring = config_.buffer != 0 ? config_.buffer : config_.ring;
    const std::uint32_t most = config.wind_shift == 0 ? 0xffffu : 0xffffffffu;
    ConnectionState state;
    state.constant.remote_mss = config.mss;
    state.constant.tuple.remote.address = IpAddress::v4(10, 0, 0, 1);
    state.constant.timestamps = config.timestamps;
    state.constant.sack = config.sack;
    state.constant.ecn = config.ecn;
    state.constant.window_scaling = config.wind_shift != 0;
    state.constant.snd_wind_shift = state.constant.rcv_wind_shift = config.wind_shift;
    const char* name = config.flows.empty() ? config.congestion_control : config.flows[flow];
    std::strncpy(state.cached.congestion_control.data(), name, 15);
    state.cached.no_delay = (config.seed & 1) != 0;
    DelegatedState& d = state.delegated;
    d.snd_una = d.snd_nxt = d.snd_max = iss;
    d.snd_wl1 = d.rcv_nxt = d.rcv_wup = peer_iss;
    d.snd_wl2 = iss;
    d.rcv_wnd = std::min(own_ring / 2, most);
    d.snd_wnd = std::min(peer_ring / 2, most);
    d.ts_val = static_cast<std::uint32_t>(1000 + index * 0x7fffffffu);
    d.ts_recent = static_cast<std::uint32_t>(1000 + (1 - index) * 0x7fffffffu);
    const tcp::Streams streams{{tx_.data(), config_.ring},
                               {kFirstPosition, kFirstPosition},
                               {rx_.data(), config_.ring},
                               {kFirstPosition, kFirstPosition}};
    connection_.emplace(state, streams, limits(), now);
    next_read_ = now;
    next_write_ = now + static_cast<std::int64_t>(flow) * config.flow_start_gap;
  }

  [[nodiscard]] tcp::Limits limits() const {
    tcp::Limits limits;
    limits.max_segment_payload = config_.max_segment_payload;
    limits.receive_buffer = limits.send_buffer = config_.buffer;
    return limits;
  }

  // The application's turn. Returns an error or nothing.
  std::string act(Instant now, Random& random) {
    if (now >= next_write_) write(now, random);
    if (now >= next_read_) return read(now, random);
    return {};
  }

  void write(Instant now, Random& random) {
    next_write_ = kNever;
    if (is_shut_) return;
    const tcp::Streams& s = connection_->streams();
    const std::uint64_t limit = connection_->send_buffer();
    const std::uint64_t room = limit - std::min(limit, s.tx_range.length());
    std::uint64_t count =
        std::min({room, config_.bytes - sent_, static_cast<std::uint64_t>(config_.write_most)});
    if (count > 1 && config_.write_most != 0xffffffff) count = 1 + random() % count;
    written_.walk(sent_, count, [&](std::span<const std::byte> piece, std::uint64_t done) {
      s.tx.copy_in(s.tx_range.end + done, piece);
      return true;
    });
    sent_ += count;
    if (count != 0) connection_->on_written(static_cast<std::uint32_t>(count), now);
    if (sent_ == config_.bytes) {
      is_shut_ = true;
      connection_->shutdown_write(now);
    } else if (config_.write_pause != Duration{}) {
      next_write_ = now + config_.write_pause;
    }
  }

  std::string read(Instant now, Random& random) {
    next_read_ = kNever;
    const tcp::Streams& s = connection_->streams();
    std::uint64_t count = s.rx_range.length();
    if (config_.read_pause != Duration{}) {
      next_read_ = now + config_.read_pause;
      if (count > 1) count = 1 + random() % count;
    }
    const bool is_right =
        expected_.walk(received_, count, [&](std::span<const std::byte> piece, std::uint64_t done) {
          read_.resize(piece.size());
          s.rx.copy_out(s.rx_range.begin + done, read_);
          return std::ranges::equal(piece, read_);
        });
    if (!is_right) return "a wrong byte after offset " + std::to_string(received_);
    received_ += count;
    if (received_ > expected_bytes_) return "more bytes than were sent";
    if (received_ >= expected_bytes_ / 2 && !half_at_) half_at_ = now;
    if (received_ == expected_bytes_ && !done_at_) done_at_ = now;
    if (count != 0) connection_->on_consumed(static_cast<std::uint32_t>(count), now);
    if (is_peer_closed_ && received_ != expected_bytes_ && s.rx_range.length() == 0)
      return "end of file after " + std::to_string(received_) + " bytes";
    return {};
  }

  std::string take_events(Instant now) {
    const std::uint32_t events = connection_->take_events();
    if ((events & tcp::kReset) != 0) return "reset";
    if ((events & tcp::kTimedOut) != 0) return "timed out";
    if ((events & tcp::kPeerClosed) != 0) is_peer_closed_ = true;
    if ((events & (tcp::kReadable | tcp::kPeerClosed)) != 0 && config_.read_pause == Duration{})
      next_read_ = now;
    if ((events & tcp::kWritable) != 0 && config_.write_pause == Duration{}) next_write_ = now;
    return {};
  }

  [[nodiscard]] std::uint64_t received() const { return received_; }

  [[nodiscard]] Instant next_timeout() const {
    const Instant next = connection_->next_timeout();
    if (timer_tick_ == Duration{} || next == kNever) return next;
    const Duration ticks = next.time_since_epoch() / timer_tick_ * timer_tick_;
    return Instant(ticks + timer_tick_);
  }

  [[nodiscard]] Instant next_event() const {
    Instant next = next_timeout();
    if (!is_shut_) next = std::min(next, next_write_);
    if (received_ != expected_bytes_ || !is_peer_closed_) next = std::min(next, next_read_);
    return next;
  }

  [[nodiscard]] Instant next_copy() const {
    return waiting_.empty() ? kNever : waiting_.front().due;
  }

  [[nodiscard]] bool is_done() const {
    return connection_->state() == TcpState::kClosed && received_ == expected_bytes_;
  }

  tcp::Connection& connection() { return *connection_; }
  std::optional<tcp::Connection> connection_;
  HostConfig config_;
  std::optional<Instant> half_at_, done_at_;
  Instant next_handover_ = kNever;
  Instant held_until_{};  // hand-over under way: packets wait
  std::uint64_t payload_sent_ = 0;

  // A packet that waits for its copy, or behind one that does.
  struct Waiting {
    Packet packet;
    Instant due;
    std::uint64_t position;
    std::uint32_t placed, added;
  };
  std::deque<Waiting> waiting_;
  tcp::SegmentsAhead ahead_;

 private:
  Pattern written_, expected_;
  std::uint64_t expected_bytes_;
  Duration timer_tick_;
  std::vector<std::byte> tx_, rx_, read_;
  std::uint64_t sent_ = 0, received_ = 0;
  bool is_shut_ = false, is_peer_closed_ = false;
  Instant next_read_, next_write_;
};

Simulation::Simulation(const Config& config)
    : config_(config),
      random_(config.seed),
      now_(kStart),
      links_{Link(config.links[0]), Link(config.links[1])} {
  for (std::size_t flow = 0; flow < std::max<std::size_t>(config_.flows.size(), 1); ++flow) {
    // Near the wrap, half of the time.
    const SeqNum iss[2] = {SeqNum(static_cast<std::uint32_t>(random_())),
                           SeqNum(0xffffffffu - static_cast<std::uint32_t>(random_() % 50'000))};
    for (std::size_t i = 0; i < 2; ++i) {
      hosts_.push_back(std::make_unique<Host>(config_, flow, i, iss[i], iss[1 - i], now_));
      if (config.handovers_per_s > 0) hosts_.back()->next_handover_ = next_hand_over();
    }
  }
}

Instant Simulation::next_hand_over() {
  return now_ + Duration(static_cast<std::int64_t>(
                    std::exponential_distribution<>(config_.handovers_per_s)(random_) * 1e9));
}

Simulation::~Simulation() = default;

Instant Simulation::delivered_at(std::size_t i) const {
  return hosts_[1 - i]->done_at_.value_or(kNever);
}

Instant Simulation::half_delivered_at(std::size_t i) const {
  return hosts_[1 - i]->half_at_.value_or(kNever);
}

tcp::Info Simulation::info(std::size_t i) const {
  return hosts_[i]->connection_->info();
}

std::uint64_t Simulation::received(std::size_t flow) const {
  return hosts_[2 * flow + 1]->received();
}

std::uint64_t Simulation::payload_sent(std::size_t flow) const {
  return hosts_[2 * flow]->payload_sent_;
}

Instant Simulation::held_until(std::size_t side) const {
  Instant until{};
  for (std::size_t i = side; i < hosts_.size(); i += 2)
    until = std::max(until, hosts_[i]->held_until_);
  return until;
}

Instant Simulation::next_event() const {
  Instant next = kNever;
  for (const auto& host : hosts_)
    next = std::min({next, host->next_event(), host->next_handover_, host->next_copy()});
  for (std::size_t side = 0; side < 2; ++side)
    next = std::min(next, std::max(links_[1 - side].next_arrival(), held_until(side)));
  if (next_change_ < config_.changes.size() && next != kNever)
    next = std::min(next, kStart + config_.changes[next_change_].at);
  return std::max(next, now_);
}

bool Simulation::is_done() const {
  return std::all_of(hosts_.begin(), hosts_.end(), [](const auto& h) { return h->is_done(); });
}

bool Simulation::run() {
  if (!advance(kStart + config_.limit)) return false;
  if (!is_done()) failure_ = "not done after the time limit";
  return is_done();
}

bool Simulation::run_for(Duration time) {
  return advance(kStart + time);
}

bool Simulation::advance(Instant until) {
  for (std::uint64_t steps = 0; steps < 20'000'000; ++steps) {
    change_path();
    if (!step()) return false;
    if (is_done()) return true;
    const Instant next = next_event();
    if (next == kNever) {
      failure_ = "nothing will ever happen again";
      return false;
    }
    if (next > until) return true;
    now_ = next;
  }
  failure_ = "too many steps: something is busy without progress";
  return false;
}

void Simulation::change_path() {
  for (; next_change_ < config_.changes.size(); ++next_change_) {
    const Change& change = config_.changes[next_change_];
    if (kStart + change.at > now_) return;
    links_[change.link].change(change.config);
  }
}

// Everything that is due at now_.
bool Simulation::step() {
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    Host& host = *hosts_[i];
    if (!finish_copies(i, now_)) return false;
    if (host.next_handover_ <= now_ && !hand_over(i)) return false;
    if (i < 2 && held_until(i) <= now_ && !deliver(i)) return false;
    if (host.next_timeout() <= now_) {
      host.connection().on_timeout(now_);
      if (!drain(i)) return false;
    }
    failure_ = host.act(now_, random_);
    if (!failure_.empty() || !drain(i)) return false;
  }
  return true;
}

// Makes one segment of those that have arrived together, as GRO does.
void Simulation::merge(std::size_t side, Packet& packet) {
  Link& link = links_[1 - side];
  const auto size = static_cast<std::uint16_t>(packet.bytes.size());
  while (size != 0) {
    const Packet* next = link.peek(now_);
    const auto have = static_cast<std::uint32_t>(packet.bytes.size());
    if (next == nullptr || next->flow != packet.flow || next->bytes.empty() || have % size != 0 ||
        have + size > 65000 || next->bytes.size() > size ||
        next->segment.seg_seq != packet.segment.seg_seq + have ||
        next->segment.seg_ack != packet.segment.seg_ack ||
        (packet.segment.flags & ~TcpFlags::kPsh) != TcpFlags::kAck ||
        (next->segment.flags & ~TcpFlags::kPsh) != TcpFlags::kAck ||
        packet.segment.options.sack_count != 0 || next->segment.options.sack_count != 0)
      return;
    packet.segment.gso_size = size;
    packet.segment.flags |= next->segment.flags;
    const auto more = link.receive(now_);
    packet.bytes.insert(packet.bytes.end(), more->bytes.begin(), more->bytes.end());
  }
}

bool Simulation::deliver(std::size_t side) {
  while (auto packet = links_[1 - side].receive(now_)) {
    const std::size_t to = 2 * packet->flow + side;
    if (hosts_[to]->config_.merges) merge(side, *packet);
    if (!give(to, std::move(*packet))) return false;
  }
  return true;
}

// The engine is slow and in order. It makes a mess of its destination at once and writes what
// belongs there at the last moment.
bool Simulation::give(std::size_t to, Packet packet) {
  Host& host = *hosts_[to];
  if (host.config_.copy_time == Duration{}) return process(to, packet, 0);
  packet.segment.payload = packet.bytes;
  const std::uint32_t placeable = host.ahead_.placeable(host.connection(), packet.segment);
  const std::uint32_t placed = happens(random_, 0.8) ? placeable : 0;
  if (placed == 0 && host.ahead_.is_empty()) return process(to, packet, 0);
  const std::uint64_t position = host.connection().streams().rx_range.end + host.ahead_.bytes();
  const Instant before = host.waiting_.empty() ? now_ : host.waiting_.back().due;
  const auto time = Duration(static_cast<std::int64_t>(
      random_() % static_cast<std::uint64_t>(host.config_.copy_time.count())));
  const std::uint32_t added = host.ahead_.add(packet.segment, placeable);
  const std::vector<std::byte> mess(placed, static_cast<std::byte>(random_()));
  host.connection().streams().rx.copy_in(position, mess);
  host.waiting_.push_back({std::move(packet), placed != 0 ? std::max(before, now_ + time) : before,
                           position, placed, added});
  return finish_copies(to, now_);
}

// Those that are over by `limit`.
bool Simulation::finish_copies(std::size_t to, Instant limit) {
  Host& host = *hosts_[to];
  while (!host.waiting_.empty() && host.waiting_.front().due <= limit) {
    const Host::Waiting waiting = std::move(host.waiting_.front());
    host.waiting_.pop_front();
    host.ahead_.remove(waiting.added);
    host.connection().streams().rx.copy_in(waiting.position,
                                           std::span(waiting.packet.bytes).first(waiting.placed));
    if (!process(to, waiting.packet, waiting.placed)) return false;
  }
  return true;
}

bool Simulation::process(std::size_t to, const Packet& packet, std::uint32_t placed) {
  tcp::Connection& connection = hosts_[to]->connection();
  Segment segment = packet.segment;
  segment.placed = placed;
  if (connection.state() == TcpState::kClosed) {
    if (!segment.has(TcpFlags::kRst)) refuse(to, segment);
    return true;
  }
  segment.payload = packet.bytes;
  const bool is_acceptable = connection.on_segment(segment, now_);
  if (config_.trace)
    std::cerr << (now_ - kStart) / microseconds(1) << " us  " << to << " receives "
              << segment.seg_seq.value() << " +" << packet.bytes.size() << " ack "
              << segment.seg_ack.value() << (is_acceptable ? "" : " NOT ACCEPTABLE") << "\n";
  return drain(to);
}

// RFC 9293 3.10.7.1: what a host says of a connection that it no longer knows.
void Simulation::refuse(std::size_t from, const Segment& segment) {
  Packet reset;
  reset.segment.seg_seq = segment.seg_ack;
  reset.segment.flags = TcpFlags::kRst;
  reset.flow = from / 2;
  links_[from % 2].send(std::move(reset), now_, random_);
}

void Simulation::print(std::size_t from, const Packet& packet) const {
  const Segment& s = packet.segment;
  std::cerr << (now_ - kStart) / microseconds(1) << " us  " << from << ": seq " << s.seg_seq.value()
            << " +" << packet.bytes.size() << " ack " << s.seg_ack.value() << " wnd " << s.seg_wnd
            << " flags " << int(s.flags) << " ts " << s.options.ts_val << "/" << s.options.ts_ecr;
  for (std::size_t i = 0; i < s.options.sack_count; ++i)
    std::cerr << " sack " << s.options.sack[i].start.value() << "-"
              << s.options.sack[i].end.value();
  const tcp::Info info = hosts_[from]->connection_->info();
  std::cerr << "  [" << to_string(info.state) << " cwnd " << info.cwnd_bytes << " out "
            << info.unacked_bytes << " rtx " << info.total_retransmits << " srtt " << info.srtt_us
            << "]\n";
}

// Sends what the connection wants to send, cut as a device would.
bool Simulation::drain(std::size_t from) {
  Host& host = *hosts_[from];
  int plans = 0;
  while (auto plan = host.connection().poll_segment(now_)) {
    if (++plans > 10'000) {
      failure_ = "endless output";
      return false;
    }
    const std::uint32_t piece = std::max(plan->gso_size, 1u);
    host.payload_sent_ += plan->payload_len;
    std::uint32_t sent = 0;
    do {
      const std::uint32_t length = std::min(piece, plan->payload_len - sent);
      Packet packet;
      packet.is_ect = plan->is_ect;
      packet.flow = from / 2;
      packet.segment.seg_seq = plan->seq + sent;
      packet.segment.seg_ack = plan->ack;
      packet.segment.seg_wnd = plan->wnd;
      packet.segment.flags = plan->flags;
      packet.segment.options = plan->options;
      if (sent + length != plan->payload_len)
        packet.segment.flags &= static_cast<std::uint8_t>(~(TcpFlags::kFin | TcpFlags::kPsh));
      packet.bytes.resize(length);
      if (length != 0)
        host.connection().streams().tx.copy_out(plan->payload_pos + sent, packet.bytes);
      if (config_.trace) print(from, packet);
      const bool is_lost = !links_[from % 2].send(std::move(packet), now_, random_);
      if (config_.trace && is_lost) std::cerr << "    lost\n";
      sent += length;
    } while (sent < plan->payload_len);
  }
  failure_ = host.take_events(now_);
  return failure_.empty();
}

namespace {

// The state as the next owner reads it from the flow record.
ConnectionState through_flow_record(const tcp::Connection& connection, Instant now) {
  const auto record = std::make_unique<ipc::FlowRecord>();
  const tcp::Streams& streams = connection.streams();
  ipc::store_state(*record, connection.export_state(now), streams.rx_range, streams.tx_range,
                   to_ms_ticks(now));
  return ipc::state_of(*record, to_ms_ticks(now));
}

}  // namespace

bool Simulation::hand_over(std::size_t i) {
  Host& host = *hosts_[i];
  host.next_handover_ = next_hand_over();
  if (host.connection().state() == TcpState::kClosed) {
    host.next_handover_ = kNever;
    return true;
  }
  if (!finish_copies(i, kNever)) return false;
  host.connection().freeze(now_);
  if (!drain(i)) return false;
  const tcp::Streams streams = host.connection().streams();
  const ConnectionState state = through_flow_record(host.connection(), now_);
  host.connection_.emplace(state, streams, host.limits(), now_);
  host.held_until_ = now_ + config_.handover_time;
  ++handovers_;
  return drain(i);
}

}  // namespace snp::sim
