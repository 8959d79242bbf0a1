// Copy first, process after (doc/decisions/0012-netdma.md), against a hostile peer: the same
// segments go to two connections that differ in one thing only. One copies payload when the segment
// has its turn. The other's payload is placed in its ring before, as far as placeable() allows it,
// by an engine that makes a mess of the place until the copy is over and finishes copies in any
// order. Whatever comes, both hold the same stream, say the same to the peer and tell their
// application the same.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "snp/base/assert.h"
#include "snp/tcp/connection.h"
#include "snp/tcp/segments_ahead.h"

namespace {

using snp::SeqNum;
using snp::TcpFlags;
using snp::tcp::Connection;
using snp::tcp::Streams;

constexpr std::uint32_t kRing = 1u << 14;
constexpr std::uint64_t kFirstPosition = (1u << 20) + kRing / 2;  // the ring wraps soon
constexpr std::size_t kMostWaiting = 24;

// Reads small integers from the input; zeros when it is used up.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint32_t u8() {
    if (bytes_.empty()) return 0;
    const std::uint8_t value = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint32_t u16() { return u8() << 8 | u8(); }

 private:
  std::span<const std::uint8_t> bytes_;
};

struct End {
  std::vector<std::byte> tx = std::vector<std::byte>(kRing);
  std::vector<std::byte> rx = std::vector<std::byte>(kRing);
  std::optional<Connection> connection;
};

// A segment that has not had its turn.
struct Waiting {
  snp::Segment segment;
  std::vector<std::byte> bytes;
  std::uint64_t position = 0;  // where `placed` bytes of it go
  std::uint32_t placed = 0;
  std::uint32_t added = 0;  // SegmentsAhead
  bool is_copied = false;
};

class Twins {
 public:
  explicit Twins(Input& input) : input_(input) {
    const std::uint32_t options = input_.u8();
    snp::ConnectionState state;
    state.constant.timestamps = (options & 1) != 0;
    state.constant.sack = (options & 2) != 0;
    state.constant.ecn = (options & 4) != 0;
    state.constant.remote_mss = 1460;
    state.constant.snd_wind_shift = state.constant.rcv_wind_shift = (options & 8) != 0 ? 7 : 0;
    auto& d = state.delegated;
    d.snd_una = d.snd_nxt = d.snd_max = d.snd_wl2 = SeqNum(0xffffff00u);
    d.rcv_nxt = d.rcv_wup = d.snd_wl1 = SeqNum((options & 16) != 0 ? 0xfffff000u : 0x7fffff00u);
    d.rcv_wnd = (options & 32) != 0 ? kRing : kRing / 2;
    d.snd_wnd = kRing;
    d.ts_val = d.ts_recent = 1000;
    for (End* end : {&plain_, &placed_}) {
      const Streams streams{{end->tx.data(), kRing},
                            {kFirstPosition, kFirstPosition},
                            {end->rx.data(), kRing},
                            {kFirstPosition, kFirstPosition}};
      end->connection.emplace(state, streams, limits_, now_);
    }
  }

  void step() {
    const std::uint32_t operation = input_.u8() % 16;
    switch (operation) {
      case 0:
        process(1 + input_.u8() % 4);
        break;
      case 1:
        process(kMostWaiting);
        break;
      case 2:
        copy_one(input_.u8());
        break;
      case 3:
        read(input_.u16());
        break;
      case 4:
        write(input_.u16());
        break;
      case 5:
        now_ += snp::microseconds(input_.u16());
        break;
      case 6:
        fire_timer();
        break;
      case 7:
        finish(input_.u8());
        break;
      case 8:
        hand_over();
        break;
      default:
        // Mostly the next of the stream; else anything near it.
        receive(operation < 13 ? 0 : static_cast<std::int32_t>(input_.u16()) - 0x8000);
    }
    check();
  }
  void end() {
    process(kMostWaiting);
    check();
  }

 private:
  static constexpr std::byte kMess{0xee};

  static bool is_same(std::span<const std::byte> a, std::span<const std::byte> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
  }

  template <class Action>
  void both(Action&& action) {
    action(*plain_.connection);
    action(*placed_.connection);
  }

  void receive(std::int32_t offset) {
    const Connection& connection = *placed_.connection;
    const auto d = connection.export_delegated(now_);
    Waiting next;
    next.bytes.resize(std::min(input_.u8() * 40, 10'000u));
    // Never the same content twice, so that of two segments for one place it shows which was taken.
    for (std::size_t i = 0; i < next.bytes.size(); ++i)
      next.bytes[i] = static_cast<std::byte>(serial_ * 37 + i + i / 251);
    ++serial_;
    snp::Segment& segment = next.segment;
    segment.seg_seq = d.rcv_nxt + (ahead_.bytes() + static_cast<std::uint32_t>(offset));
    segment.seg_ack = d.snd_una;
    segment.seg_wnd = 1000;
    segment.flags = TcpFlags::kAck;
    segment.options.has_timestamps = true;
    segment.options.ts_val = 1000 + serial_;
    segment.options.ts_ecr = d.ts_val;
    if (const std::uint32_t odd = input_.u8(); odd >= 192) make_odd(segment, odd);
    segment.payload = next.bytes;
    offer(std::move(next));
  }

  void make_odd(snp::Segment& segment, std::uint32_t how) {
    switch (how % 8) {
      case 0:
        segment.flags = static_cast<std::uint8_t>(input_.u8());
        break;
      case 1:
        segment.flags |= TcpFlags::kFin;
        break;
      case 2:
        segment.seg_ack = segment.seg_ack + input_.u16();
        break;
      case 3:
        segment.seg_ack = segment.seg_ack + (0u - input_.u16());
        break;
      case 4:
        segment.options.ts_val -= input_.u16();  // PAWS
        break;
      case 5:
        segment.options.has_timestamps = false;
        break;
      case 6:
        segment.is_ce = true;
        segment.flags |= TcpFlags::kCwr;
        break;
      default:
        segment.seg_wnd = 0;
    }
  }

  // As Shard::wait_for_copy() does it.
  void offer(Waiting next) {
    if (waiting_.size() == kMostWaiting) process(kMostWaiting);
    const Connection& connection = *placed_.connection;
    const bool is_wanted = input_.u8() % 4 != 0 && !next.bytes.empty();
    const std::uint32_t placeable = ahead_.placeable(connection, next.segment);
    SNP_ASSERT(placeable <= next.bytes.size());
    next.placed = is_wanted ? placeable : 0;
    if (next.placed == 0 && ahead_.is_empty())
      return both([&](Connection& each) { each.on_segment(next.segment, now_); });
    next.position = connection.streams().rx_range.end + ahead_.bytes();
    SNP_ASSERT(next.position + next.placed <= connection.streams().rx_range.begin + kRing);
    next.added = ahead_.add(next.segment, placeable);
    if (next.placed != 0)
      connection.streams().rx.copy_in(next.position, std::vector(next.placed, kMess));
    waiting_.push_back(std::move(next));
    waiting_.back().segment.payload = waiting_.back().bytes;
  }

  void copy(Waiting& waiting) {
    if (waiting.placed == 0 || waiting.is_copied) return;
    waiting.is_copied = true;
    placed_.connection->streams().rx.copy_in(waiting.position,
                                             std::span(waiting.bytes).first(waiting.placed));
  }
  void copy_one(std::uint32_t which) {
    if (!waiting_.empty()) copy(waiting_[which % waiting_.size()]);
  }

  void process(std::size_t most) {
    for (; most != 0 && !waiting_.empty(); --most, waiting_.pop_front()) {
      Waiting& first = waiting_.front();
      copy(first);
      ahead_.remove(first.added);
      plain_.connection->on_segment(first.segment, now_);
      first.segment.placed = first.placed;
      placed_.connection->on_segment(first.segment, now_);
      check();
    }
  }

  void read(std::uint32_t most) {
    const auto count = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(most, plain_.connection->streams().rx_range.length()));
    if (count != 0) both([&](Connection& each) { each.on_consumed(count, now_); });
  }
  void write(std::uint32_t most) {
    const auto room = kRing - plain_.connection->streams().tx_range.length();
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, room));
    if (count != 0) both([&](Connection& each) { each.on_written(count, now_); });
  }
  void fire_timer() {
    const auto next = plain_.connection->next_timeout();
    now_ = std::max(now_, std::min(next, now_ + snp::seconds(200)));
    both([&](Connection& each) { each.on_timeout(now_); });
  }
  void finish(std::uint32_t how) {
    if (how % 16 == 0) both([&](Connection& each) { each.abort(now_); });
    if (how % 16 == 1) both([&](Connection& each) { each.close(now_); });
    if (how % 16 == 2) both([&](Connection& each) { each.shutdown_write(now_); });
  }
  // Whoever lets go of a connection waits for its copies.
  void hand_over() {
    process(kMostWaiting);
    both([&](Connection& each) { each.freeze(now_); });
    check();
    for (End* end : {&plain_, &placed_}) {
      const auto state = end->connection->export_state(now_);
      const Streams streams = end->connection->streams();
      end->connection.emplace(state, streams, limits_, now_);
    }
  }

  void check() {
    check_plans();
    Connection& plain = *plain_.connection;
    Connection& placed = *placed_.connection;
    SNP_ASSERT(plain.take_events() == placed.take_events());
    SNP_ASSERT(plain.state() == placed.state());
    SNP_ASSERT(plain.next_timeout() == placed.next_timeout());
    SNP_ASSERT(plain.has_gap() == placed.has_gap());
    const Streams& s = plain.streams();
    SNP_ASSERT(s.rx_range.begin == placed.streams().rx_range.begin);
    SNP_ASSERT(s.rx_range.end == placed.streams().rx_range.end);
    const auto length = static_cast<std::uint32_t>(s.rx_range.length());
    const auto ours = s.rx.pieces(s.rx_range.begin, length);
    const auto theirs = placed.streams().rx.pieces(s.rx_range.begin, length);
    SNP_ASSERT(is_same(ours.first, theirs.first) && is_same(ours.second, theirs.second));
  }
  void check_plans() {
    for (int plans = 0;; ++plans) {
      SNP_ASSERT(plans < 1000);
      const auto plan = plain_.connection->poll_segment(now_);
      const auto other = placed_.connection->poll_segment(now_);
      SNP_ASSERT(plan.has_value() == other.has_value());
      if (!plan) return;
      SNP_ASSERT(plan->seq == other->seq && plan->ack == other->ack && plan->wnd == other->wnd);
      SNP_ASSERT(plan->flags == other->flags && plan->payload_len == other->payload_len);
      SNP_ASSERT(plan->options.sack_count == other->options.sack_count &&
                 plan->options.sack == other->options.sack);
    }
  }

  Input& input_;
  snp::tcp::Limits limits_;
  snp::Instant now_ = snp::Instant(snp::seconds(1000));
  End plain_, placed_;
  std::deque<Waiting> waiting_;
  snp::tcp::SegmentsAhead ahead_;
  std::uint32_t serial_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input input(std::span(data, size));
  Twins twins(input);
  while (!input.is_empty())
    twins.step();
  twins.end();
  return 0;
}
