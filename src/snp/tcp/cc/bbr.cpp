// BBR (draft-cardwell-iccrg-bbr-congestion-control-00): a model of the path, its bandwidth (most of
// ten rounds) and its round-trip time (least of ten seconds), sets rate and window; a loss does
// not. Sections named below are the draft's.
#include <algorithm>

#include "snp/tcp/cc/algorithms.h"

namespace snp::tcp {
namespace {

constexpr double kHighGain = 2.885;  // 2/ln 2: doubles each round (4.3.2.1)
constexpr double kWindowGain = 2;
constexpr double kMargin = 0.99;  // a queue that a rounding built would never drain
constexpr std::uint32_t kFilterRounds = 10;
constexpr Duration kMinRttWindow = seconds(10);
constexpr Duration kProbeRttTime = milliseconds(200);
constexpr std::uint32_t kLeastSegments = 4;
constexpr double kFullGrowth = 1.25;
constexpr std::uint8_t kFullRounds = 3;
constexpr std::array<double, 8> kCycle{1.25, 0.75, 1, 1, 1, 1, 1, 1};  // 4.3.4.1
constexpr std::uint32_t kMaxQuantum = 65536;

enum class Mode : std::uint8_t { kStartup, kDrain, kProbeBw, kProbeRtt };

// The most of the last kFilterRounds rounds: the best three, each after the one before.
class MaxFilter {
 public:
  void add(std::uint32_t round, std::uint64_t value) noexcept {
    if (value >= best_[0].value || round - best_[2].round > kFilterRounds) {
      best_.fill({value, round});
      return;
    }
    if (value >= best_[1].value)
      best_[1] = best_[2] = {value, round};
    else if (value >= best_[2].value)
      best_[2] = {value, round};
    age(round, {value, round});
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return best_[0].value; }

 private:
  struct Best {
    std::uint64_t value = 0;
    std::uint32_t round = 0;
  };

  // What is too old goes; the next best, no older than needed, moves up.
  void age(std::uint32_t round, Best newest) noexcept {
    const std::uint32_t passed = round - best_[0].round;
    if (passed > kFilterRounds) {
      best_[0] = best_[1];
      best_[1] = best_[2];
      best_[2] = newest;
      if (round - best_[0].round > kFilterRounds) {
        best_[0] = best_[1];
        best_[1] = newest;
      }
    } else if (best_[1].round == best_[0].round && passed > kFilterRounds / 4) {
      best_[1] = best_[2] = newest;
    } else if (best_[2].round == best_[1].round && passed > kFilterRounds / 2) {
      best_[2] = newest;
    }
  }

  std::array<Best, 3> best_{};
};

struct Bbr {
  MaxFilter bandwidth;  // bytes per second
  Instant min_rtt_at;
  Instant probe_rtt_until = kNever;
  Instant cycle_at;
  float full_bandwidth = 0;
  std::uint32_t min_rtt_us = 0;  // 0: no sample yet
  std::uint32_t round = 0;
  std::uint32_t prior_cwnd = 0;  // before a recovery or PROBE_RTT
  Mode mode = Mode::kStartup;
  std::uint8_t full_rounds = 0;
  std::uint8_t cycle = 0;
  bool is_full = false;        // the pipe was filled once
  bool is_recovering = false;  // as of the last ACK
  bool conserves = false;      // first round of a recovery: what leaves replaces what arrived
  bool is_after_idle = false;
  bool probe_rtt_round_ended = false;

  [[nodiscard]] double pacing_gain() const noexcept {
    switch (mode) {
      case Mode::kStartup:
        return kHighGain;
      case Mode::kDrain:
        return 1 / kHighGain;
      case Mode::kProbeBw:
        return kCycle[cycle];
      case Mode::kProbeRtt:
        return 1;
    }
    return 1;
  }
  [[nodiscard]] double window_gain() const noexcept {
    if (mode == Mode::kStartup || mode == Mode::kDrain) return kHighGain;
    return mode == Mode::kProbeRtt ? 1 : kWindowGain;
  }
};

// What pacing lets go at once (4.2.2): a millisecond's worth.
std::uint32_t quantum(const CongestionState& state) noexcept {
  return std::clamp(
      static_cast<std::uint32_t>(std::min<std::uint64_t>(state.pacing_rate / 1000, kMaxQuantum)),
      2 * state.mss, kMaxQuantum);
}

// 4.2.3.2. Before the first sample: the window that is there.
std::uint32_t target(const CongestionState& state, const Bbr& own, double gain) noexcept {
  const std::uint64_t bandwidth = own.bandwidth.get();
  if (bandwidth == 0 || own.min_rtt_us == 0) return state.cwnd;
  const double bdp = static_cast<double>(bandwidth) * own.min_rtt_us * 1e-6;
  const double bytes = gain * bdp + 3.0 * quantum(state);
  return static_cast<std::uint32_t>(std::min(bytes, 1e9));
}

// 4.2.1. A pipe that is not full yet only speeds up. Slower than a segment a second nothing would
// be measured but the pauses, and a gain of a quarter be lost in rounding.
void set_pacing(CongestionState& state, const Bbr& own) noexcept {
  const double bandwidth = static_cast<double>(own.bandwidth.get());
  if (bandwidth == 0) return;
  const auto rate = static_cast<std::uint64_t>(own.pacing_gain() * bandwidth * kMargin);
  if (own.is_full || rate > state.pacing_rate)
    state.pacing_rate = std::max<std::uint64_t>(rate, state.mss);
}

void start(CongestionState& state, std::uint32_t srtt_us, Instant now) noexcept {
  state.make<Bbr>();
  Bbr& own = state.own<Bbr>();
  own.min_rtt_us = srtt_us;
  own.min_rtt_at = now;
  const double rtt_s = srtt_us == 0 ? 1e-3 : srtt_us * 1e-6;  // 4.2.1
  state.pacing_rate = static_cast<std::uint64_t>(kHighGain * state.cwnd / rtt_s);
  state.ssthresh = 0xffffffff;
}

void enter_probe_bw(Bbr& own, Instant now) noexcept {
  own.mode = Mode::kProbeBw;
  // Flows must not probe in step; the second phase, which drains, is no place to begin.
  const auto tick = static_cast<std::uint64_t>(now.time_since_epoch().count()) >> 12;
  own.cycle = static_cast<std::uint8_t>(tick % 7 == 0 ? 0 : tick % 7 + 1);
  own.cycle_at = now;
}

// 4.3.4.3.
void advance_cycle(const CongestionState& state, Bbr& own, const Acked& acked,
                   Instant now) noexcept {
  if (own.mode != Mode::kProbeBw) return;
  const bool is_over = now - own.cycle_at > microseconds(own.min_rtt_us);
  const double gain = kCycle[own.cycle];
  const std::uint32_t before = acked.in_flight + acked.bytes;
  bool goes_on = is_over;
  if (gain > 1)
    goes_on = is_over && (acked.is_recovering || before >= target(state, own, gain));
  else if (gain < 1)
    goes_on = is_over || before <= target(state, own, 1);
  if (!goes_on) return;
  own.cycle = static_cast<std::uint8_t>((own.cycle + 1) % kCycle.size());
  own.cycle_at = now;
}

// 4.3.2.2.
void check_full_pipe(Bbr& own, const Acked& acked) noexcept {
  if (own.is_full || !acked.round_ended || acked.rate.is_app_limited) return;
  const auto bandwidth = static_cast<float>(own.bandwidth.get());
  if (bandwidth >= own.full_bandwidth * static_cast<float>(kFullGrowth)) {
    own.full_bandwidth = bandwidth;
    own.full_rounds = 0;
  } else if (++own.full_rounds >= kFullRounds) {
    own.is_full = true;
  }
}

// 4.3.3.
void check_drain(const CongestionState& state, Bbr& own, const Acked& acked, Instant now) noexcept {
  if (own.mode == Mode::kStartup && own.is_full) own.mode = Mode::kDrain;
  if (own.mode == Mode::kDrain && acked.in_flight <= target(state, own, 1))
    enter_probe_bw(own, now);
}

void probe_rtt(CongestionState& state, Bbr& own, const Acked& acked, Instant now) noexcept {
  const std::uint32_t least = kLeastSegments * state.mss;
  if (own.probe_rtt_until == kNever) {
    if (acked.in_flight > least) return;
    own.probe_rtt_until = now + kProbeRttTime;
    own.probe_rtt_round_ended = false;
    return;
  }
  own.probe_rtt_round_ended |= acked.round_ended;
  if (!own.probe_rtt_round_ended || now < own.probe_rtt_until) return;
  own.min_rtt_at = now;
  state.cwnd = std::max(state.cwnd, own.prior_cwnd);
  if (own.is_full)
    enter_probe_bw(own, now);
  else
    own.mode = Mode::kStartup;
}

// 4.1.2, 4.3.5.
void update_min_rtt(CongestionState& state, Bbr& own, const Acked& acked, Instant now) noexcept {
  const bool has_expired = now > own.min_rtt_at + kMinRttWindow;
  if (acked.rtt_us != 0 && (own.min_rtt_us == 0 || acked.rtt_us <= own.min_rtt_us || has_expired)) {
    own.min_rtt_us = acked.rtt_us;
    own.min_rtt_at = now;
  }
  if (has_expired && own.mode != Mode::kProbeRtt && !own.is_after_idle) {
    own.mode = Mode::kProbeRtt;
    own.prior_cwnd = state.cwnd;
    own.probe_rtt_until = kNever;
  }
  if (own.mode == Mode::kProbeRtt) probe_rtt(state, own, acked, now);
  own.is_after_idle = false;
}

// 4.2.3.4. True: what leaves now replaces what arrived, no more.
bool conserve_packets(CongestionState& state, Bbr& own, const Acked& acked) noexcept {
  if (acked.is_recovering && !own.is_recovering) {
    own.conserves = true;
    state.cwnd = acked.in_flight + std::max(acked.bytes, state.mss);
  } else if (!acked.is_recovering && own.is_recovering) {
    own.conserves = false;
    state.cwnd = std::max(state.cwnd, own.prior_cwnd);
  } else if (own.conserves && acked.round_ended) {
    own.conserves = false;
  }
  own.is_recovering = acked.is_recovering;
  if (!own.conserves) return false;
  state.cwnd = std::max(state.cwnd, acked.in_flight + acked.bytes);
  return true;
}

// 4.2.3.
void set_window(CongestionState& state, Bbr& own, const Acked& acked) noexcept {
  const std::uint32_t least = kLeastSegments * state.mss;
  if (!conserve_packets(state, own, acked)) {
    const std::uint32_t wanted = target(state, own, own.window_gain());
    if (own.is_full)
      state.cwnd = std::min(state.cwnd + acked.bytes, wanted);
    else if (state.cwnd < wanted || own.bandwidth.get() == 0)
      state.cwnd += acked.bytes;
    state.cwnd = std::max(state.cwnd, least);
  }
  if (own.mode == Mode::kProbeRtt) state.cwnd = std::min(state.cwnd, least);
}

void on_acked(CongestionState& state, const Acked& acked, Instant now) noexcept {
  Bbr& own = state.own<Bbr>();
  if (acked.round_ended) ++own.round;
  if (acked.rate.bytes_per_s != 0 &&
      (!acked.rate.is_app_limited || acked.rate.bytes_per_s >= own.bandwidth.get()))
    own.bandwidth.add(own.round, acked.rate.bytes_per_s);
  advance_cycle(state, own, acked, now);
  check_full_pipe(own, acked);
  check_drain(state, own, acked, now);
  update_min_rtt(state, own, acked, now);
  set_pacing(state, own);
  set_window(state, own, acked);
}

void on_congestion(CongestionState& state, Congestion what, std::uint32_t /*in_flight*/,
                   Instant /*now*/) noexcept {
  Bbr& own = state.own<Bbr>();
  if (what == Congestion::kMark) return;
  if (!own.is_recovering && own.mode != Mode::kProbeRtt)
    own.prior_cwnd = state.cwnd;
  else
    own.prior_cwnd = std::max(own.prior_cwnd, state.cwnd);
  if (what != Congestion::kTimeout) return;
  // As Linux's bbr_set_state: one segment is under way, so conserving packets would never bring
  // more; the window grows by what is acknowledged. And the pipe must be found full again.
  own.is_recovering = true;
  own.conserves = false;
  own.full_bandwidth = 0;
}

// 4.3.4.4: go on at the rate that the path had.
void on_idle(CongestionState& state) noexcept {
  Bbr& own = state.own<Bbr>();
  own.is_after_idle = true;
  if (own.mode == Mode::kProbeBw && own.bandwidth.get() != 0)
    state.pacing_rate = std::max<std::uint64_t>(own.bandwidth.get(), state.mss);
}

}  // namespace

const CongestionAlgorithm kBbr{"bbr", true, false, start, on_acked, on_congestion, on_idle};

}  // namespace snp::tcp
