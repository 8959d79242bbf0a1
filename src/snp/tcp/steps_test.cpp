#include <algorithm>

#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

constexpr Instant kStart = Instant(seconds(5000));
constexpr std::uint64_t kFirstPosition = 1ull << 20;

// The peer's byte with relative sequence number n.
constexpr std::byte peer_byte(std::uint64_t n) {
  return static_cast<std::byte>(n * 31 + (n >> 8) + 7);
}

std::string flag_names(std::uint8_t flags) {
  std::string names;
  constexpr std::pair<std::uint8_t, char> kNames[] = {
      {TcpFlags::kFin, 'F'}, {TcpFlags::kSyn, 'S'}, {TcpFlags::kRst, 'R'}, {TcpFlags::kPsh, 'P'},
      {TcpFlags::kAck, '.'}, {TcpFlags::kUrg, 'U'}, {TcpFlags::kEce, 'E'}, {TcpFlags::kCwr, 'C'}};
  for (const auto& [flag, name] : kNames)
    if ((flags & flag) != 0) names += name;
  return names;
}

template <class T>
bool differs(const std::optional<T>& wanted, const T& got) {
  return wanted && *wanted != got;
}

}  // namespace

Start::Start() {
  state.constant.remote_mss = 1012;  // 1000 with timestamps
  state.constant.tuple.remote.address = IpAddress::v4(10, 0, 0, 2);
  state.constant.timestamps = true;
  state.constant.sack = true;
  state.constant.window_scaling = true;
  state.constant.snd_wind_shift = state.constant.rcv_wind_shift = 5;
  DelegatedState& d = state.delegated;
  d.snd_una = d.snd_nxt = d.snd_max = SeqNum(0xfffff000u);
  d.rcv_nxt = d.rcv_wup = SeqNum(0x7ffff800u);
  d.snd_wl1 = d.rcv_nxt;
  d.snd_wl2 = d.snd_una;
  d.rcv_wnd = 60'000;
  d.snd_wnd = 64'000;
  d.ts_val = 70'000;
  d.ts_recent = 4'999'000;
  d.srtt_us = 10'000;
  d.rttvar_us = 2'000;
}

Steps::Steps(const Start& start)
    : start_(start),
      iss_(start.state.delegated.snd_una),
      irs_(start.state.delegated.rcv_nxt),
      tx_(start.ring),
      rx_(start.ring),
      now_(kStart) {
  const Streams streams{{tx_.data(), start.ring},
                        {kFirstPosition, kFirstPosition + start.queued},
                        {rx_.data(), start.ring},
                        {kFirstPosition - start.unread, kFirstPosition}};
  connection_.emplace(start.state, streams, start.limits, now_);
  drain();
}

Steps& Steps::receive(const In& in, bool is_acceptable) {
  std::vector<std::byte> payload(in.len);
  for (std::uint32_t i = 0; i < in.len; ++i)
    payload[i] = peer_byte(in.seq + i);
  Segment segment;
  segment.seg_seq = irs_ + in.seq;
  segment.seg_ack = iss_ + in.ack;
  segment.seg_wnd = in.wnd;
  segment.flags = in.flags;
  segment.is_ce = in.is_ce;
  segment.gso_size = in.gso;
  segment.payload = payload;
  segment.options.has_timestamps = start_.state.constant.timestamps;
  segment.options.ts_val = in.ts_val.value_or(to_ms_ticks(now_));
  segment.options.ts_ecr = in.ts_ecr.value_or(last_ts_);
  for (const auto& [from, to] : in.sack) {
    const bool is_ours = segment.options.sack_count < segment.options.sack.size();
    if (is_ours) segment.options.sack[segment.options.sack_count++] = {iss_ + from, iss_ + to};
  }
  std::ostringstream line;
  line << "receive seq " << in.seq << " len " << in.len << " ack " << in.ack << " "
       << flag_names(in.flags) << " wnd " << in.wnd;
  for (const auto& [from, to] : in.sack)
    line << " sack " << from << "-" << to;
  note(line.str());
  if (connection_->on_segment(segment, now_) != is_acceptable)
    fail(is_acceptable ? "the segment was found unacceptable" : "the segment was found acceptable");
  drain();
  return *this;
}

Steps& Steps::write(std::uint32_t bytes) {
  note("write " + std::to_string(bytes));
  connection_->on_written(bytes, now_);
  drain();
  return *this;
}

Steps& Steps::consume(std::uint32_t bytes) {
  note("consume " + std::to_string(bytes));
  const Streams& streams = connection_->streams();
  if (streams.rx_range.length() < bytes) {
    fail("only " + std::to_string(streams.rx_range.length()) + " bytes are readable");
    return *this;
  }
  for (std::uint32_t i = 0; i < bytes; ++i, ++consumed_)
    if (rx_[(streams.rx_range.begin + i) % start_.ring] != peer_byte(consumed_)) {
      fail("byte " + std::to_string(consumed_) + " is wrong");
      return *this;
    }
  connection_->on_consumed(bytes, now_);
  drain();
  return *this;
}

Steps& Steps::shutdown() {
  note("shutdown");
  connection_->shutdown_write(now_);
  drain();
  return *this;
}

Steps& Steps::close() {
  note("close");
  connection_->close(now_);
  drain();
  return *this;
}

Steps& Steps::abort() {
  note("abort");
  connection_->abort(now_);
  drain();
  return *this;
}

Steps& Steps::update(const CachedState& cached) {
  note("update");
  connection_->update(cached, now_);
  drain();
  return *this;
}

Steps& Steps::pass(Duration time) {
  const Instant end = now_ + time;
  note("pass " + std::to_string(time / microseconds(1)) + " us");
  for (int i = 0; connection_->next_timeout() <= end; ++i) {
    if (i == 1000) {
      fail("a timer does not let go");
      break;
    }
    now_ = std::max(now_, connection_->next_timeout());
    note("timer");
    connection_->on_timeout(now_);
    drain();
  }
  now_ = end;
  return *this;
}

Steps& Steps::hand_over() {
  note("freeze");
  connection_->freeze(now_);
  drain();
  const ConnectionState state = connection_->export_state(now_);
  const Streams streams = connection_->streams();
  connection_.emplace(state, streams, start_.limits, now_);
  note("import");
  drain();
  return *this;
}

Steps& Steps::expect(const Out& out) {
  if (plans_.empty()) {
    fail("nothing was sent");
    return *this;
  }
  const SegmentPlan plan = plans_.front();
  plans_.pop_front();
  Blocks sack;
  for (std::uint8_t i = 0; i < plan.options.sack_count; ++i)
    sack.emplace_back(plan.options.sack[i].start - irs_, plan.options.sack[i].end - irs_);
  const auto wnd = static_cast<std::uint32_t>(plan.wnd) << start_.state.constant.rcv_wind_shift;
  // PSH is a hint: not compared.
  const auto flags = static_cast<std::uint8_t>(plan.flags & ~TcpFlags::kPsh);
  if (differs(out.seq, plan.seq - iss_) || differs(out.len, plan.payload_len) ||
      differs(out.ack, plan.ack - irs_) || differs(out.flags, flags) ||
      differs(out.wnd_bytes, wnd) || differs(out.sack, sack) ||
      differs(out.resent, plan.is_retransmission) || differs(out.gso, plan.gso_size))
    fail("not what was expected: " + describe(plan));
  return *this;
}

Steps& Steps::expect_none() {
  if (!plans_.empty()) fail("not expected: " + describe(plans_.front()));
  return *this;
}

Steps& Steps::expect_state(TcpState state) {
  if (connection_->state() != state)
    fail(std::string("state is ") + to_string(connection_->state()) + ", not " + to_string(state));
  return *this;
}

Steps& Steps::expect_events(std::uint32_t events) {
  if (events_ != events)
    fail("events are " + std::to_string(events_) + ", not " + std::to_string(events));
  events_ = 0;
  return *this;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> Steps::take_packet() {
  if (plans_.empty()) return std::nullopt;
  SegmentPlan& plan = plans_.front();
  const std::uint32_t length = std::min(plan.payload_len, std::max(plan.gso_size, 1u));
  const std::pair packet{plan.seq - iss_, length};
  plan.seq += length;
  plan.payload_len -= length;
  if (plan.payload_len == 0) plans_.pop_front();
  return packet;
}

Steps& Steps::forget_output() {
  plans_.clear();
  return *this;
}

Steps& Steps::forget_events() {
  events_ = 0;
  return *this;
}

void Steps::drain() {
  for (int i = 0;; ++i) {
    const auto plan = connection_->poll_segment(now_);
    if (!plan) break;
    if (i == 1000) {
      fail("output does not end");
      break;
    }
    last_ts_ = plan->options.ts_val;
    note("  sends " + describe(*plan));
    plans_.push_back(*plan);
  }
  events_ |= connection_->take_events();
}

void Steps::note(const std::string& line) {
  transcript_ << (now_ - kStart) / microseconds(1) << " us  " << line << "\n";
}

void Steps::fail(const std::string& why) {
  ADD_FAILURE() << why << "\nwhat happened:\n" << transcript_.str();
}

std::string Steps::describe(const SegmentPlan& plan) const {
  std::ostringstream out;
  out << "seq " << plan.seq - iss_ << " len " << plan.payload_len << " ack " << plan.ack - irs_
      << " " << flag_names(plan.flags) << " wnd "
      << (static_cast<std::uint32_t>(plan.wnd) << start_.state.constant.rcv_wind_shift);
  for (std::uint8_t i = 0; i < plan.options.sack_count; ++i)
    out << " sack " << plan.options.sack[i].start - irs_ << "-" << plan.options.sack[i].end - irs_;
  if (plan.is_retransmission) out << " (again)";
  return out.str();
}

}  // namespace snp::tcp::testing
