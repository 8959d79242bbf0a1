// What a segment costs in the connection alone: no device, no rings shared with anyone.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include <benchmark/benchmark.h>

#include "snp/tcp/connection.h"

namespace snp::tcp {
namespace {

constexpr std::uint32_t kRing = 1u << 20;
constexpr SeqNum kIss(1000);
constexpr SeqNum kIrs(5000);

class Bench {
 public:
  Bench() {
    ConnectionState state;
    state.constant.remote_mss = 1460;
    state.constant.tuple.remote.address = IpAddress::v4(10, 0, 0, 2);
    state.constant.timestamps = state.constant.sack = true;
    state.constant.snd_wind_shift = state.constant.rcv_wind_shift = 7;
    DelegatedState& d = state.delegated;
    d.snd_una = d.snd_nxt = d.snd_max = d.snd_wl2 = kIss;
    d.rcv_nxt = d.rcv_wup = d.snd_wl1 = kIrs;
    d.rcv_wnd = d.snd_wnd = 500'000;
    d.cwnd_bytes = 1'000'000;
    d.srtt_us = 100;
    d.rttvar_us = 50;
    connection_.emplace(state, Streams{{tx_.data(), kRing}, {0, 0}, {rx_.data(), kRing}, {0, 0}},
                        Limits{}, now_);
    segment_.seg_seq = kIrs;
    segment_.seg_ack = kIss;
    segment_.seg_wnd = 4000;
    segment_.flags = TcpFlags::kAck;
    segment_.options.has_timestamps = true;
    segment_.options.ts_val = 1;
  }

  void receive(std::uint32_t bytes) {
    now_ += microseconds(5);
    segment_.payload = {payload_.data(), bytes};
    benchmark::DoNotOptimize(connection_->on_segment(segment_, now_));
    segment_.seg_seq += bytes;
    drain();
    connection_->on_consumed(bytes, now_);
    drain();
  }
  // The next timer, when it is due.
  void expire() {
    now_ = std::max(now_, std::min(connection_->next_timeout(), now_ + seconds(1)));
    connection_->on_timeout(now_);
    drain();
  }
  Segment& segment() { return segment_; }  // the next that comes
  void write(std::uint32_t bytes) {
    connection_->on_written(bytes, now_);
    segment_.seg_ack += bytes;  // of the next segment that comes
    drain();
  }

 private:
  void drain() {
    while (auto plan = connection_->poll_segment(now_))
      benchmark::DoNotOptimize(plan->payload_pos);
    benchmark::DoNotOptimize(connection_->take_events());
    benchmark::DoNotOptimize(connection_->next_timeout());
  }

  std::vector<std::byte> tx_ = std::vector<std::byte>(kRing);
  std::vector<std::byte> rx_ = std::vector<std::byte>(kRing);
  std::vector<std::byte> payload_ = std::vector<std::byte>(65536);
  Instant now_ = Instant(seconds(1000));
  std::optional<Connection> connection_;
  Segment segment_;
};

// Each stage alone. The pieces of a cycle that are not measured run while the clock stands still,
// which costs more than they do: batches keep that out of the figures.
constexpr std::uint32_t kBatch = 256;

void send_one(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    for (std::uint32_t i = 0; i < kBatch; ++i)
      bench.write(64);
    state.PauseTiming();
    bench.receive(0);  // acknowledges the batch
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * kBatch);
}
BENCHMARK(send_one);

void acknowledge_one(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    state.PauseTiming();
    const SeqNum from = bench.segment().seg_ack;
    for (std::uint32_t i = 0; i < kBatch; ++i)
      bench.write(64);
    state.ResumeTiming();
    for (std::uint32_t i = 1; i <= kBatch; ++i) {
      bench.segment().seg_ack = from + i * 64;
      bench.receive(0);
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * kBatch);
}
BENCHMARK(acknowledge_one);

// The timer that most often expires: a delayed ACK, and the ACK itself.
void delayed_ack_timer(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    state.PauseTiming();
    bench.receive(64);
    state.ResumeTiming();
    bench.expire();
  }
}
BENCHMARK(delayed_ack_timer);

void receive_in_order(benchmark::State& state) {
  Bench bench;
  for (auto _ : state)
    bench.receive(static_cast<std::uint32_t>(state.range(0)));
}
BENCHMARK(receive_in_order)->Arg(64)->Arg(1448);

void send_and_be_acknowledged(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    bench.write(static_cast<std::uint32_t>(state.range(0)));
    bench.receive(0);
  }
}
BENCHMARK(send_and_be_acknowledged)->Arg(64)->Arg(1448);

void request_and_response(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    bench.receive(static_cast<std::uint32_t>(state.range(0)));
    bench.write(static_cast<std::uint32_t>(state.range(0)));
  }
}
BENCHMARK(request_and_response)->Arg(64);

}  // namespace
}  // namespace snp::tcp

BENCHMARK_MAIN();
