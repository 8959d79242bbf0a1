// What BBR knows of a path, and where in its cycle it stands (draft-ietf-ccwg-bbr-06, BBRv3).
// Names and sections are the draft's. bbr.cpp has what happens with it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "snp/tcp/cc/congestion_control.h"

namespace snp::tcp {

struct Bbr {
  enum class State : std::uint8_t { kStartup, kDrain, kDown, kCruise, kRefill, kUp, kProbeRtt };
  // What the ACKs that come now tell of the last probe for bandwidth.
  enum class AckPhase : std::uint8_t { kInit, kRefilling, kStarting, kFeedback, kStopping };

  static constexpr std::uint32_t kNoLimit = 0xffffffff;
  static constexpr std::uint64_t kNoRateLimit = ~0ull;
  static constexpr double kWindowGain = 2;
  static constexpr double kProbeRttWindowGain = 0.5;
  static constexpr std::uint32_t kLeastSegments = 4;  // MinPipeCwnd
  static constexpr std::uint32_t kMaxQuantum = 65536;
  static constexpr std::uint32_t kQueueShare = 8;
  static constexpr double kHeadroom = 0.15;

  // Bytes per second.
  std::array<std::uint64_t, 2> max_bw_of_cycle{};  // the cycle before, and this one
  std::uint64_t bw_shortterm = kNoRateLimit;
  std::uint64_t bw_latest = 0;
  std::uint64_t full_bw = 0;
  // Bytes.
  std::uint32_t inflight_longterm = kNoLimit, inflight_shortterm = kNoLimit;
  std::uint32_t inflight_latest = 0;
  std::uint32_t prior_cwnd = 0;  // before a recovery or PROBE_RTT
  std::uint32_t probe_up_acked = 0, probe_up_acked_per_inc = kNoLimit;
  std::array<std::uint32_t, 2> extra_acked{};  // the most of the last rounds, in two spans
  std::uint32_t extra_acked_delivered = 0;
  // Delivered bytes, modulo 2^32: a round is over when what was sent after them is delivered.
  std::uint32_t next_round_delivered = 0, loss_round_delivered = 0;
  // Microseconds; 0: no sample.
  std::uint32_t min_rtt_us = 0, probe_rtt_min_us = 0;
  std::uint32_t round_rtt_us = 0, last_round_rtt_us = 0;  // the least of this round, of the last
  std::uint32_t probe_wait_us = 0;
  Instant min_rtt_at, probe_rtt_min_at, probe_rtt_done_at = kNever;
  Instant cycle_at, extra_acked_since;
  std::uint16_t rounds_since_probe = 0;
  std::uint8_t rounds_in_state = 0;  // saturates
  std::uint8_t extra_acked_rounds = 0;
  std::uint8_t probe_up_rounds = 0, full_bw_rounds = 0, loss_events = 0;
  State state = State::kStartup;
  AckPhase ack_phase = AckPhase::kInit;
  bool is_full_bw_reached : 1 = false;  // once
  bool is_full_bw_now : 1 = false;
  bool is_round_start : 1 = false;
  bool is_loss_round_start : 1 = false;
  bool is_loss_in_round : 1 = false;
  bool is_probe_sample : 1 = false;
  bool was_probe_too_high : 1 = false;
  bool was_probe_precautionary : 1 = false;
  bool is_probe_rtt_round_done : 1 = false;
  bool is_after_idle : 1 = false;
  bool is_recovering : 1 = false;  // as of the last ACK

  [[nodiscard]] std::uint64_t max_bw() const noexcept {
    return std::max(max_bw_of_cycle[0], max_bw_of_cycle[1]);
  }
  [[nodiscard]] std::uint64_t bw() const noexcept { return std::min(max_bw(), bw_shortterm); }

  // 5.6.1.
  [[nodiscard]] double pacing_gain() const noexcept {
    switch (state) {
      case State::kStartup:
        return 2.77;
      case State::kDrain:
        return 0.5;
      case State::kDown:
        return 0.9;
      case State::kUp:
        return 1.25;
      default:
        return 1;
    }
  }
  [[nodiscard]] double window_gain() const noexcept {
    if (state == State::kUp) return 2.25;
    return state == State::kProbeRtt ? kProbeRttWindowGain : kWindowGain;
  }
  [[nodiscard]] bool is_in_probe_bw() const noexcept {
    return state == State::kDown || state == State::kCruise || state == State::kRefill ||
           state == State::kUp;
  }
  [[nodiscard]] bool is_probing_bw() const noexcept {
    return state == State::kStartup || state == State::kRefill || state == State::kUp;
  }

  // Ours: a path that loses at random must not be taken for one that is too full; for that BBR is
  // used. Who came when a queue stood already does not see it, so this alone acquits nobody.
  [[nodiscard]] bool has_queue() const noexcept {
    const std::uint32_t least =
        round_rtt_us == 0 || (last_round_rtt_us != 0 && last_round_rtt_us < round_rtt_us)
            ? last_round_rtt_us
            : round_rtt_us;
    return least == 0 || least > min_rtt_us + min_rtt_us / kQueueShare;
  }

  // 5.6.4.2. Ours: on a path shorter than a burst it is the hosts, which work in batches, that an
  // ACK waits for.
  [[nodiscard]] double bdp(double gain) const noexcept {
    return gain * static_cast<double>(bw()) * std::max(min_rtt_us, kPacedBurstUs) * 1e-6;
  }
  // 5.6.3: what pacing lets go at once.
  [[nodiscard]] static std::uint32_t quantum(const CongestionState& cc) noexcept {
    const std::uint64_t in_ms = std::min<std::uint64_t>(cc.pacing_rate / 1000, kMaxQuantum);
    return std::max(static_cast<std::uint32_t>(in_ms), 2 * cc.mss);
  }
  [[nodiscard]] static std::uint32_t least_window(const CongestionState& cc) noexcept {
    return kLeastSegments * cc.mss;
  }
  // QuantizationBudget.
  [[nodiscard]] std::uint32_t quantized(const CongestionState& cc, double cap) const noexcept {
    auto bytes = static_cast<std::uint32_t>(std::min(cap, 1e9));
    bytes = std::max({bytes, 3 * quantum(cc), least_window(cc)});
    return state == State::kUp ? bytes + 2 * cc.mss : bytes;
  }
  [[nodiscard]] std::uint32_t inflight(const CongestionState& cc, double gain) const noexcept {
    if (bw() == 0 || min_rtt_us == 0) return cc.cwnd;
    return quantized(cc, bdp(gain));
  }
  [[nodiscard]] std::uint32_t max_inflight(const CongestionState& cc) const noexcept {
    if (bw() == 0 || min_rtt_us == 0) return cc.cwnd;
    return quantized(cc, bdp(window_gain()) + std::max(extra_acked[0], extra_acked[1]));
  }
  [[nodiscard]] std::uint32_t inflight_with_headroom(const CongestionState& cc) const noexcept {
    if (inflight_longterm == kNoLimit) return kNoLimit;
    const auto headroom =
        std::max(cc.mss, static_cast<std::uint32_t>(kHeadroom * inflight_longterm));
    return std::max(inflight_longterm - std::min(headroom, inflight_longterm), least_window(cc));
  }
  [[nodiscard]] std::uint32_t target_inflight(const CongestionState& cc) const noexcept {
    return static_cast<std::uint32_t>(std::min<double>(bdp(1), cc.cwnd));
  }
  [[nodiscard]] std::uint32_t probe_rtt_window(const CongestionState& cc) const noexcept {
    return std::max(static_cast<std::uint32_t>(std::min(bdp(kProbeRttWindowGain), 1e9)),
                    least_window(cc));
  }
};

}  // namespace snp::tcp
