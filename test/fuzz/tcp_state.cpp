// Any bytes as the state that another owner left (a flow record, the host's socket): the numbers
// may be anything. The connection that starts from it keeps within its rings, and what it exports,
// and a second connection from that, tell the same state.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "snp/base/assert.h"
#include "snp/ipc/flow_record.h"
#include "snp/tcp/connection.h"

namespace {

using snp::tcp::Connection;
using snp::tcp::Streams;

constexpr std::uint32_t kRing = 1u << 14;
constexpr std::uint64_t kFirstPosition = 1u << 20;

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  template <class T>
  T take() {
    T value{};
    const std::size_t size = std::min(sizeof value, bytes_.size());
    std::memcpy(&value, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }
  bool flag() { return (take<std::uint8_t>() & 1) != 0; }
  snp::SeqNum seq() { return snp::SeqNum(take<std::uint32_t>()); }

 private:
  std::span<const std::uint8_t> bytes_;
};

void read_agreed(Input& in, snp::ConnectionState& state) {
  auto& constant = state.constant;
  constant.remote_mss = in.take<std::uint16_t>();
  constant.snd_wind_shift = in.take<std::uint8_t>();
  constant.rcv_wind_shift = in.take<std::uint8_t>();
  constant.timestamps = in.flag();
  constant.sack = in.flag();
  constant.ecn = in.flag();
  auto& cached = state.cached;
  cached.path_mtu = in.take<std::uint16_t>();
  cached.user_timeout_ms = in.take<std::uint32_t>();
  cached.keepalive = {in.flag(), in.take<std::uint32_t>(), in.take<std::uint32_t>(),
                      in.take<std::uint32_t>()};
  cached.cork = in.flag();
  cached.no_delay = in.flag();
  cached.congestion_control = in.take<std::array<char, 16>>();
  cached.congestion_control.back() = 0;  // a string, as the host gives it
}

void read_delegated(Input& in, snp::DelegatedState& d) {
  d.state = static_cast<snp::TcpState>(in.take<std::uint8_t>() % 8);
  d.snd_una = in.seq();
  d.snd_nxt = d.snd_max = d.snd_una + in.take<std::uint32_t>() % (2 * kRing);
  d.snd_wnd = in.take<std::uint32_t>();
  d.snd_wl1 = in.seq();
  d.snd_wl2 = in.seq();
  d.max_snd_wnd = in.take<std::uint32_t>();
  d.rcv_nxt = in.seq();
  d.rcv_wnd = in.take<std::uint32_t>();
  d.rcv_wup = in.seq();
  d.ts_val = in.take<std::uint32_t>();
  d.ts_recent = in.take<std::uint32_t>();
  d.ts_recent_age_ms = in.take<std::uint32_t>();
  d.srtt_us = in.take<std::uint32_t>();
  d.rttvar_us = in.take<std::uint32_t>();
  d.min_rtt_us = in.take<std::uint32_t>();
  d.rto_ms = in.take<std::uint32_t>();
  d.cwnd_bytes = in.take<std::uint32_t>();
  d.ssthresh_bytes = in.take<std::uint32_t>();
  d.retransmits = in.take<std::uint8_t>();
  d.keepalive_probes = in.take<std::uint8_t>();
  d.persist_probes = in.take<std::uint8_t>();
  d.retransmit_delta_ms = in.take<std::int32_t>();
  d.keepalive_delta_ms = in.take<std::int32_t>();
  d.end_delta_ms = in.take<std::int32_t>();
  d.fin_pending = in.flag();
  d.reordering_seen = in.flag();
  d.pacing_delta_us = in.take<std::int32_t>();
}

void read_search(Input& in, snp::MtuSearch& search) {
  search.mss_limit = in.take<std::uint16_t>();
  search.mss_high = in.take<std::uint16_t>();
  search.probe = in.take<std::uint16_t>();
  search.probe_end = in.seq();
  search.tries_high = in.flag();
  search.probes_lost = in.take<std::uint8_t>();
  search.next_probe_delta_ms = in.take<std::int32_t>();
}

// As the next owner reads it.
snp::ConnectionState through_record(const Connection& connection, snp::Instant now) {
  snp::ipc::FlowRecord record;
  const Streams& streams = connection.streams();
  snp::ipc::store_state(record, connection.export_state(now), streams.rx_range, streams.tx_range,
                        snp::to_ms_ticks(now));
  return snp::ipc::state_of(record, snp::to_ms_ticks(now));
}

void check(Connection& connection, snp::Instant now) {
  for (int plans = 0;; ++plans) {
    SNP_ASSERT(plans < 1000);
    const auto plan = connection.poll_segment(now);
    if (!plan) break;
    const Streams& streams = connection.streams();
    SNP_ASSERT(plan->payload_len == 0 ||
               (plan->payload_pos >= streams.tx_range.begin &&
                plan->payload_pos + plan->payload_len <= streams.tx_range.end));
    SNP_ASSERT(plan->gso_size != 0);
  }
  connection.take_events();
  const auto info = connection.info();
  SNP_ASSERT(info.cwnd_bytes != 0);
  SNP_ASSERT(info.unacked_bytes <= connection.streams().tx_range.length() + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(std::span(data, size));
  snp::ConnectionState state;
  read_agreed(in, state);
  read_delegated(in, state.delegated);
  read_search(in, state.mtu_search);
  state.path = in.take<snp::PathModel>();
  std::vector<std::byte> tx(kRing);
  std::vector<std::byte> rx(kRing);
  const std::uint64_t queued = in.take<std::uint32_t>() % (kRing + 1);
  const std::uint64_t unread = in.take<std::uint32_t>() % (kRing + 1);
  const Streams streams{{tx.data(), kRing},
                        {kFirstPosition, kFirstPosition + queued},
                        {rx.data(), kRing},
                        {kFirstPosition - unread, kFirstPosition}};
  snp::Instant now(snp::seconds(1000));

  Connection first(state, streams, {}, now);
  first.freeze(now);
  const snp::ConnectionState once = through_record(first, now);
  Connection second(once, first.streams(), {}, now);
  second.freeze(now);
  const snp::ConnectionState twice = through_record(second, now);
  SNP_ASSERT(once.delegated.state == twice.delegated.state);
  SNP_ASSERT(once.delegated.snd_una == twice.delegated.snd_una);
  SNP_ASSERT(once.delegated.snd_max == twice.delegated.snd_max);
  SNP_ASSERT(once.delegated.rcv_nxt == twice.delegated.rcv_nxt);
  SNP_ASSERT(once.delegated.snd_wnd == twice.delegated.snd_wnd);
  SNP_ASSERT(once.delegated.cwnd_bytes == twice.delegated.cwnd_bytes);
  SNP_ASSERT(once.delegated.ssthresh_bytes == twice.delegated.ssthresh_bytes);
  SNP_ASSERT(once.path.marked_share == twice.path.marked_share);
  SNP_ASSERT(once.path.bandwidth == twice.path.bandwidth);
  SNP_ASSERT(once.delegated.reordering_seen == twice.delegated.reordering_seen);
  SNP_ASSERT(once.delegated.srtt_us == twice.delegated.srtt_us);
  SNP_ASSERT(once.delegated.fin_pending == twice.delegated.fin_pending);

  Connection third(twice, second.streams(), {}, now);
  check(third, now);
  for (int timers = 0; timers < 50 && third.next_timeout() != snp::kNever; ++timers) {
    now = std::max(now, third.next_timeout());
    third.on_timeout(now);
    check(third, now);
  }
  return 0;
}
