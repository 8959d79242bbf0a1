#include "snp/ipc/tcp_info.h"

#include <algorithm>
#include <cstring>

#include <linux/tcp.h>  // the C library's tcp_info ends early

namespace snp::ipc {

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
  tcp_info info{};
  const std::size_t size = std::min(length, sizeof info);
  std::memcpy(&info, value, size);
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
  info.tcpi_total_retrans = from.total_retransmits.load(kRelaxed);
  // The kernel says ~0 where nothing limits.
  const std::uint64_t pacing = from.pacing_rate.load(kRelaxed);
  info.tcpi_pacing_rate = pacing == 0 ? ~0ull : pacing;
  info.tcpi_bytes_acked = from.bytes_acked.load(kRelaxed);
  info.tcpi_bytes_received = from.bytes_received.load(kRelaxed);
  info.tcpi_segs_out = from.segs_out.load(kRelaxed);
  info.tcpi_segs_in = from.segs_in.load(kRelaxed);
  info.tcpi_notsent_bytes = from.notsent_bytes.load(kRelaxed);
  info.tcpi_min_rtt = from.min_rtt_us.load(kRelaxed);
  info.tcpi_delivery_rate = from.delivery_rate.load(kRelaxed);
  info.tcpi_bytes_retrans = from.bytes_resent.load(kRelaxed);
  info.tcpi_bytes_sent = from.bytes_sent.load(kRelaxed);
  info.tcpi_data_segs_in = from.data_segs_in.load(kRelaxed);
  info.tcpi_data_segs_out = from.data_segs_out.load(kRelaxed);
  info.tcpi_delivered = from.delivered_segments.load(kRelaxed);
  info.tcpi_retrans = from.resent_segments.load(kRelaxed);
  info.tcpi_dsack_dups = from.dsack_dups.load(kRelaxed);
  info.tcpi_rcv_ooopack = from.out_of_order.load(kRelaxed);
  info.tcpi_snd_wnd = from.snd_wnd.load(kRelaxed);
  std::memcpy(value, &info, size);
}

}  // namespace snp::ipc
