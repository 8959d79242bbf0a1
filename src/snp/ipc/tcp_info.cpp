#include "snp/ipc/tcp_info.h"

#include <algorithm>
#include <cstring>

#include <linux/tcp.h>  // the C library's tcp_info ends early

namespace snp::ipc {
namespace {

// The caller's structure may be older, or newer, than ours.
template <class Change>
void change(void* value, std::size_t length, Change change) noexcept {
  tcp_info info{};
  const std::size_t size = std::min(length, sizeof info);
  std::memcpy(&info, value, size);
  change(info);
  std::memcpy(value, &info, size);
}

}  // namespace

StreamsNow streams_of(const Slot& slot) noexcept {
  StreamsNow now;
  now.received = slot.engine.rx_head.load(std::memory_order_acquire);
  now.acked = slot.engine.tx_tail.load(std::memory_order_acquire);
  now.sent = std::max(now.acked, slot.life.sent.load(std::memory_order_relaxed));
  now.has_peers_fin = (slot.engine.status.load() & slot_status::kPeerClosed) != 0;
  now.is_fin_acknowledged = slot.life.is_fin_acknowledged.load(std::memory_order_relaxed) != 0;
  return now;
}

TcpCounters told_at_target(const SlotLife& life, const StreamsNow& now) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  TcpCounters told = load(life.counted);
  // Never less than was told before.
  const auto raise = [](std::uint64_t& counter, std::uint64_t value) {
    if (static_cast<std::int64_t>(value - counter) > 0) counter = value;
  };
  raise(told.bytes_received,
        life.received_offset.load(kRelaxed) + now.received + (now.has_peers_fin ? 1 : 0));
  raise(told.bytes_acked,
        life.acked_offset.load(kRelaxed) + now.acked + (now.is_fin_acknowledged ? 1 : 0));
  raise(told.bytes_sent, life.sent_offset.load(kRelaxed) + now.sent + told.bytes_retrans);
  return told;
}

void add_earlier_life(const SlotLife& life, void* value, std::size_t length) noexcept {
  change(value, length, [&](tcp_info& info) {
    snp::put_counters(grown(load(life.counted), load(life.start), counters_in(info)), info);
  });
}

void put_counters(const TcpCounters& counters, void* value, std::size_t length) noexcept {
  change(value, length, [&](tcp_info& info) { snp::put_counters(counters, info); });
}

void overlay_tcp_info(const SlotInfo& from, std::uint32_t now_ms, void* value,
                      std::size_t length) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const auto byte = [](const std::atomic<std::uint32_t>& word) {
    return static_cast<std::uint8_t>(std::min(word.load(kRelaxed), 255u));
  };
  const auto age = [now_ms](const std::atomic<std::uint32_t>& at_ms) {
    return static_cast<std::uint32_t>(
        std::max(0, static_cast<std::int32_t>(now_ms - at_ms.load(kRelaxed))));
  };
  change(value, length, [&](tcp_info& info) {
    info.tcpi_state = byte(from.tcp_state);
    info.tcpi_ca_state = byte(from.ca_state);
    info.tcpi_retransmits = byte(from.retransmits);
    info.tcpi_probes = byte(from.probes);
    info.tcpi_backoff = byte(from.backoff);
    info.tcpi_delivery_rate_app_limited = from.is_app_limited.load(kRelaxed) != 0;
    info.tcpi_rto = from.rto_us.load(kRelaxed);
    info.tcpi_snd_mss = from.snd_mss.load(kRelaxed);
    info.tcpi_rcv_mss = from.rcv_mss.load(kRelaxed);
    info.tcpi_unacked = from.unacked_segments.load(kRelaxed);
    info.tcpi_sacked = from.sacked_segments.load(kRelaxed);
    info.tcpi_lost = from.lost_segments.load(kRelaxed);
    info.tcpi_last_data_sent = age(from.last_data_sent_ms);
    info.tcpi_last_data_recv = age(from.last_data_recv_ms);
    info.tcpi_last_ack_recv = age(from.last_recv_ms);
    info.tcpi_rcv_ssthresh = from.rcv_wnd.load(kRelaxed);
    info.tcpi_rtt = from.srtt_us.load(kRelaxed);
    info.tcpi_rttvar = from.rttvar_us.load(kRelaxed);
    info.tcpi_snd_ssthresh = from.ssthresh_segments.load(kRelaxed);
    info.tcpi_snd_cwnd = from.cwnd_segments.load(kRelaxed);
    info.tcpi_rcv_rtt = from.rcv_rtt_us.load(kRelaxed);
    info.tcpi_rcv_space = from.rcv_space.load(kRelaxed);
    // The kernel says ~0 where nothing limits.
    const std::uint64_t pacing = from.pacing_rate.load(kRelaxed);
    info.tcpi_pacing_rate = pacing == 0 ? ~0ull : pacing;
    info.tcpi_notsent_bytes = from.notsent_bytes.load(kRelaxed);
    info.tcpi_min_rtt = from.min_rtt_us.load(kRelaxed);
    info.tcpi_delivery_rate = from.delivery_rate.load(kRelaxed);
    info.tcpi_retrans = from.resent_segments.load(kRelaxed);
    info.tcpi_snd_wnd = from.snd_wnd.load(kRelaxed);
  });
}

}  // namespace snp::ipc
