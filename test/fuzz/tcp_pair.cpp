// The life of a connection as a list of operations against a simple model: two Connections write,
// read, shut down, are handed over and wait; the network loses, repeats and reorders as the input
// says. The model is two numbers for each direction: whatever happens, what was read is what was
// written, byte for byte; and once the network behaves, everything arrives and both ends close.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "snp/base/assert.h"
#include "snp/tcp/connection.h"

namespace {

using snp::Instant;
using snp::SeqNum;
using snp::TcpFlags;
using snp::tcp::Connection;
using snp::tcp::Streams;

constexpr std::uint32_t kRing = 1u << 14;
constexpr std::uint64_t kFirstPosition = 1u << 20;
constexpr std::size_t kMostInFlight = 64;  // beyond, the network drops

constexpr std::byte pattern(std::size_t side, std::uint64_t offset) {
  return static_cast<std::byte>((offset * 31 + (offset >> 8) * 7 + side * 101) & 0xff);
}

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

 private:
  std::span<const std::uint8_t> bytes_;
};

struct Packet {
  snp::Segment segment;
  std::vector<std::byte> bytes;
};

struct End {
  std::vector<std::byte> tx = std::vector<std::byte>(kRing);
  std::vector<std::byte> rx = std::vector<std::byte>(kRing);
  std::optional<Connection> connection;
  snp::tcp::Limits limits;
  std::uint64_t written = 0, read = 0;  // the model
  bool is_shut = false;
  std::vector<Packet> sent;  // under way to the other end
};

class Pair {
 public:
  explicit Pair(Input& input) : input_(input) {
    const std::uint32_t options = input_.u8();
    const std::array<SeqNum, 2> iss{SeqNum(0xffffff00u), SeqNum(0x7fffff00u)};
    static constexpr std::array kAlgorithms{"cubic", "newreno", "dctcp", "bbr"};
    for (std::size_t side = 0; side < 2; ++side) {
      snp::ConnectionState state;
      state.constant.timestamps = (options & 1) != 0;
      state.constant.sack = (options & 2) != 0;
      state.constant.ecn = (options & 4) != 0;
      state.cached.no_delay = (options & 8) != 0;
      state.constant.remote_mss = 1460;
      state.constant.snd_wind_shift = state.constant.rcv_wind_shift = (options & 16) != 0 ? 7 : 0;
      const std::string_view name = kAlgorithms[options >> 6];
      std::copy(name.begin(), name.end(), state.cached.congestion_control.begin());
      auto& d = state.delegated;
      d.snd_una = d.snd_nxt = d.snd_max = d.snd_wl2 = iss[side];
      d.rcv_nxt = d.rcv_wup = d.snd_wl1 = iss[1 - side];
      d.rcv_wnd = d.snd_wnd = kRing / 2;
      d.ts_val = d.ts_recent = 1000;
      End& end = ends_[side];
      end.limits.max_segment_payload = (options & 32) != 0 ? 65000 : 1448;
      end.connection.emplace(state,
                             Streams{{end.tx.data(), kRing},
                                     {kFirstPosition, kFirstPosition},
                                     {end.rx.data(), kRing},
                                     {kFirstPosition, kFirstPosition}},
                             end.limits, now_);
    }
  }

  void step() {
    const std::uint32_t operation = input_.u8();
    const std::size_t side = operation & 1;
    const std::uint32_t value = input_.u8();
    switch ((operation >> 1) % 8) {
      case 0:
        write(side, 1 + value * 29);
        break;
      case 1:
        read(side, 1 + value * 29);
        break;
      case 2:
        deliver(side, value, false);
        break;
      case 3:
        deliver(side, value, (value & 1) != 0);  // now and then it comes twice
        break;
      case 4:
        lose(side, value);
        break;
      case 5:
        wait(snp::microseconds(value * value * 20));
        break;
      case 6:
        hand_over(side);
        break;
      default:
        if (value % 4 == 0)
          shut(side);
        else
          deliver_all(side);
    }
  }

  // The network behaves: all that was written arrives, and both ends close.
  void finish() {
    for (std::size_t side = 0; side < 2; ++side)
      shut(side);
    for (int rounds = 0; !is_over(); ++rounds) {
      SNP_ASSERT(rounds < 20'000);
      const bool is_quiet = ends_[0].sent.empty() && ends_[1].sent.empty();
      for (std::size_t side = 0; side < 2; ++side) {
        deliver_all(side);
        read(1 - side, kRing);
      }
      if (!is_quiet || is_over()) continue;
      const Instant next =
          std::min(ends_[0].connection->next_timeout(), ends_[1].connection->next_timeout());
      SNP_ASSERT(next != snp::kNever);
      wait(std::max(next - now_, snp::Duration(snp::microseconds(1))));
    }
    if (has_failed_) return;
    for (std::size_t side = 0; side < 2; ++side) {
      read(side, kRing);  // what arrived stays readable after the close
      SNP_ASSERT(ends_[side].read == ends_[1 - side].written);
    }
  }

 private:
  [[nodiscard]] bool is_over() const {
    return has_failed_ || std::all_of(ends_.begin(), ends_.end(), [](const End& end) {
             return end.connection->state() == snp::TcpState::kClosed;
           });
  }

  void write(std::size_t side, std::uint32_t most) {
    End& end = ends_[side];
    if (end.is_shut) return;
    const Streams& s = end.connection->streams();
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(most, kRing - s.tx_range.length()));
    for (std::uint32_t i = 0; i < count; ++i)
      s.tx.data[(s.tx_range.end + i) & (kRing - 1)] = pattern(side, end.written + i);
    end.written += count;
    if (count != 0) end.connection->on_written(count, now_);
    drain(side);
  }

  void read(std::size_t side, std::uint32_t most) {
    End& end = ends_[side];
    const Streams& s = end.connection->streams();
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(most, s.rx_range.length()));
    for (std::uint32_t i = 0; i < count; ++i)
      SNP_ASSERT(s.rx.data[(s.rx_range.begin + i) & (kRing - 1)] ==
                 pattern(1 - side, end.read + i));
    end.read += count;
    SNP_ASSERT(end.read <= ends_[1 - side].written);
    if (count != 0) end.connection->on_consumed(count, now_);
    drain(side);
  }

  void shut(std::size_t side) {
    if (ends_[side].is_shut) return;
    ends_[side].is_shut = true;
    ends_[side].connection->shutdown_write(now_);
    drain(side);
  }

  void deliver(std::size_t from, std::uint32_t which, bool stays) {
    std::vector<Packet>& sent = ends_[from].sent;
    if (sent.empty()) return;
    const auto at = static_cast<std::ptrdiff_t>(which % sent.size());
    const Packet packet = sent[static_cast<std::size_t>(at)];
    if (!stays) sent.erase(sent.begin() + at);
    arrive(1 - from, packet);
  }

  void deliver_all(std::size_t from) {
    for (std::size_t left = ends_[from].sent.size(); left != 0; --left)
      deliver(from, 0, false);
  }

  void lose(std::size_t from, std::uint32_t which) {
    std::vector<Packet>& sent = ends_[from].sent;
    if (!sent.empty()) sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(which % sent.size()));
  }

  void arrive(std::size_t side, const Packet& packet) {
    End& end = ends_[side];
    if (end.connection->state() == snp::TcpState::kClosed) {  // RFC 9293 3.10.7.1
      if (packet.segment.has(TcpFlags::kRst)) return;
      Packet reset;
      reset.segment.seg_seq = packet.segment.seg_ack;
      reset.segment.flags = TcpFlags::kRst;
      push(end, std::move(reset));
      return;
    }
    snp::Segment segment = packet.segment;
    segment.payload = packet.bytes;
    end.connection->on_segment(segment, now_);
    drain(side);
  }

  void wait(snp::Duration time) {
    const Instant until = now_ + time;
    for (int timers = 0;; ++timers) {
      SNP_ASSERT(timers < 10'000);
      const Instant next =
          std::min(ends_[0].connection->next_timeout(), ends_[1].connection->next_timeout());
      if (next > until) break;
      now_ = std::max(now_, next);
      for (std::size_t side = 0; side < 2; ++side) {
        ends_[side].connection->on_timeout(now_);
        drain(side);
      }
    }
    now_ = until;
  }

  void hand_over(std::size_t side) {
    End& end = ends_[side];
    if (end.connection->state() == snp::TcpState::kClosed) return;
    end.connection->freeze(now_);
    drain(side);
    const auto state = end.connection->export_state(now_);
    const Streams streams = end.connection->streams();
    end.connection.emplace(state, streams, end.limits, now_);
    drain(side);
  }

  static void push(End& end, Packet packet) {
    if (end.sent.size() < kMostInFlight) end.sent.push_back(std::move(packet));
  }

  void drain(std::size_t side) {
    End& end = ends_[side];
    for (int plans = 0;; ++plans) {
      SNP_ASSERT(plans < 1000);
      const auto plan = end.connection->poll_segment(now_);
      if (!plan) break;
      send(end, *plan);
    }
    const std::uint32_t events = end.connection->take_events();
    // It may give up, or find the other end gone: then nothing more is promised.
    if ((events & (snp::tcp::kReset | snp::tcp::kTimedOut)) != 0) has_failed_ = true;
    if ((events & snp::tcp::kPeerClosed) != 0) {
      SNP_ASSERT(ends_[1 - side].is_shut);
      SNP_ASSERT(end.read + end.connection->streams().rx_range.length() == ends_[1 - side].written);
    }
  }

  // As a device that segments.
  static void send(End& end, const snp::tcp::SegmentPlan& plan) {
    std::uint32_t done = 0;
    do {
      const std::uint32_t length = std::min(std::max(plan.gso_size, 1u), plan.payload_len - done);
      Packet packet;
      packet.segment.seg_seq = plan.seq + done;
      packet.segment.seg_ack = plan.ack;
      packet.segment.seg_wnd = plan.wnd;
      packet.segment.flags = plan.flags;
      packet.segment.options = plan.options;
      if (done + length != plan.payload_len)
        packet.segment.flags &= static_cast<std::uint8_t>(~(TcpFlags::kFin | TcpFlags::kPsh));
      packet.bytes.resize(length);
      if (length != 0) end.connection->streams().tx.copy_out(plan.payload_pos + done, packet.bytes);
      push(end, std::move(packet));
      done += length;
    } while (done < plan.payload_len);
  }

  Input& input_;
  Instant now_ = Instant(snp::seconds(1000));
  std::array<End, 2> ends_;
  bool has_failed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Input input(std::span(data, size));
  Pair pair(input);
  while (!input.is_empty())
    pair.step();
  pair.finish();
  return 0;
}
