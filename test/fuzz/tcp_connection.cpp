// A list of operations against one Connection: whatever comes from the wire, the application and
// the clock, it stays within its rings, its output ends, and its numbers make sense.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "snp/base/assert.h"
#include "snp/tcp/connection.h"

namespace {

using snp::SeqNum;
using snp::TcpFlags;
using snp::tcp::Connection;
using snp::tcp::Streams;

constexpr std::uint32_t kRing = 1u << 14;
constexpr std::uint32_t kMostWindow = 1u << 30;  // RFC 7323 2.3
constexpr std::uint64_t kFirstPosition = 1u << 20;

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
  // Near zero, on both sides, mostly.
  std::uint32_t offset() {
    const std::uint32_t value = u16();
    return (value & 1) != 0 ? 0u - (value >> 1) : value >> 1;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

class Bench {
 public:
  explicit Bench(Input& input) : input_(input) {
    snp::ConnectionState state;
    const std::uint32_t options = input_.u8();
    state.constant.timestamps = (options & 1) != 0;
    state.constant.sack = (options & 2) != 0;
    state.constant.ecn = (options & 4) != 0;
    state.cached.no_delay = (options & 8) != 0;
    state.cached.keepalive.enabled = (options & 16) != 0;
    state.constant.remote_mss = 1460;
    state.constant.snd_wind_shift = state.constant.rcv_wind_shift = (options & 32) != 0 ? 7 : 0;
    auto& d = state.delegated;
    d.snd_una = d.snd_nxt = d.snd_max = SeqNum(0xffffff00u);
    d.rcv_nxt = d.rcv_wup = d.snd_wl1 = SeqNum(0x7fffff00u);
    d.snd_wl2 = d.snd_una;
    d.rcv_wnd = kRing / 2;
    d.snd_wnd = kRing;
    limits_.max_segment_payload = (options & 64) != 0 ? 65000 : 1448;
    connection_.emplace(state,
                        Streams{{tx_.data(), kRing},
                                {kFirstPosition, kFirstPosition},
                                {rx_.data(), kRing},
                                {kFirstPosition, kFirstPosition}},
                        limits_, now_);
  }

  void step() {
    switch (input_.u8() % 10) {
      case 0:
        connection_->on_written(input_.u16(), now_);
        break;
      case 1:
        connection_->on_consumed(input_.u16(), now_);
        break;
      case 2:
        now_ += snp::microseconds(input_.u16());
        break;
      case 3:
        now_ = std::max(now_, std::min(connection_->next_timeout(), now_ + snp::seconds(200)));
        connection_->on_timeout(now_);
        break;
      case 4:
        hand_over();
        break;
      case 5:
        finish(input_.u8());
        break;
      default:
        receive();
    }
    check();
  }

 private:
  void receive() {
    const auto before = connection_->export_delegated(now_);
    const std::vector<std::byte> payload(input_.u8() * (input_.u8() % 64));
    snp::Segment segment;
    segment.seg_seq = before.rcv_nxt + input_.offset();
    segment.seg_ack = before.snd_una + input_.offset();
    segment.seg_wnd = static_cast<std::uint16_t>(input_.u16());
    const std::uint32_t flags = input_.u8();
    // Mostly plain segments.
    segment.flags = static_cast<std::uint8_t>(flags < 200 ? (flags & 1) | TcpFlags::kAck : flags);
    segment.gso_size = static_cast<std::uint16_t>(input_.u8() % 3 * 500);
    segment.is_ce = (flags & 32) != 0;
    segment.options.has_timestamps = (flags & 64) == 0;
    segment.options.ts_val = input_.offset();
    segment.options.ts_ecr = before.ts_val + input_.offset();
    segment.options.sack_count = static_cast<std::uint8_t>(input_.u8() % 5);
    for (std::uint8_t i = 0; i < segment.options.sack_count; ++i) {
      const SeqNum start = before.snd_una + input_.offset();
      segment.options.sack[i] = {start, start + input_.u16()};
    }
    segment.payload = payload;
    connection_->on_segment(segment, now_);
  }

  void hand_over() {
    connection_->freeze(now_);
    check();
    const auto state = connection_->export_state(now_);
    const Streams streams = connection_->streams();
    connection_.emplace(state, streams, limits_, now_);
  }

  void finish(std::uint32_t how) {
    if (how % 16 == 0) connection_->abort(now_);
    if (how % 16 == 1) connection_->close(now_);
    if (how % 16 == 2) connection_->shutdown_write(now_);
  }

  void check() {
    for (int plans = 0;; ++plans) {
      SNP_ASSERT(plans < 1000);
      const auto plan = connection_->poll_segment(now_);
      if (!plan) break;
      const Streams& streams = connection_->streams();
      SNP_ASSERT(plan->payload_len == 0 ||
                 (plan->payload_pos >= streams.tx_range.begin &&
                  plan->payload_pos + plan->payload_len <= streams.tx_range.end));
      SNP_ASSERT(plan->payload_len <= std::max(limits_.max_segment_payload, 1460u));
      SNP_ASSERT(plan->gso_size != 0);
    }
    connection_->take_events();
    const Streams& streams = connection_->streams();
    SNP_ASSERT(streams.rx_range.begin <= streams.rx_range.end);
    SNP_ASSERT(streams.rx_range.length() <= kRing && streams.tx_range.length() <= kRing);
    const auto info = connection_->info();
    SNP_ASSERT(info.unacked_bytes <= streams.tx_range.length() + 1);
    SNP_ASSERT(info.cwnd_bytes != 0 && info.cwnd_bytes <= kMostWindow);
  }

  Input& input_;
  snp::tcp::Limits limits_;
  snp::Instant now_ = snp::Instant(snp::seconds(1000));
  std::vector<std::byte> tx_ = std::vector<std::byte>(kRing);
  std::vector<std::byte> rx_ = std::vector<std::byte>(kRing);
  std::optional<Connection> connection_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(std::span(data, size));
  Bench bench(input);
  while (!input.is_empty())
    bench.step();
  return 0;
}
