// CUBIC (RFC 9438). Windows in segments, time in seconds, as in the text.
#include <algorithm>
#include <cmath>
#include <utility>

#include "snp/tcp/cc/algorithms.h"
#include "snp/tcp/cc/hystart.h"

namespace snp::tcp {
namespace {

constexpr double kC = 0.4;                                      // RFC 9438 5.1
constexpr double kBeta = 0.7;                                   // RFC 9438 4.6
constexpr double kAlpha = 3.0 * (1.0 - kBeta) / (1.0 + kBeta);  // RFC 9438 4.3

struct Cubic {
  double w_max = 0;        // window before the last reduction
  double cwnd_prior = 0;   // the same, without what fast convergence takes off (RFC 9438 4.1.2)
  double w_est = 0;        // what Reno would have (RFC 9438 4.3)
  double k = 0;            // seconds until the curve is back at w_max
  double credit = 0;       // fraction of a byte of growth, carried over
  Instant epoch = kNever;  // start of this congestion avoidance stage, without unused time
  Instant seen{};          // the last ACK
  HyStart hystart;
};

void start(CongestionState& state, std::uint32_t /*srtt_us*/, const PathModel& /*path*/,
           Instant /*now*/) noexcept {
  state.make<Cubic>();
}

void begin_epoch(CongestionState& state, Cubic& own, Instant now) noexcept {
  const double cwnd = static_cast<double>(state.cwnd) / state.mss;
  own.epoch = now;
  own.w_est = cwnd;
  own.credit = 0;
  if (cwnd < own.w_max) {
    own.k = std::cbrt((own.w_max - cwnd) / kC);  // RFC 9438 4.2, equation 2
  } else {
    own.k = 0;
    own.w_max = cwnd;
  }
}

// RFC 9438 4.2, equation 1.
double w_cubic(const Cubic& own, double t) noexcept {
  const double d = t - own.k;
  return kC * d * d * d + own.w_max;
}

void avoid_congestion(CongestionState& state, const Acked& acked, std::uint32_t bytes,
                      Instant now) noexcept {
  Cubic& own = state.own<Cubic>();
  if (own.epoch == kNever) begin_epoch(state, own, now);
  const double cwnd = static_cast<double>(state.cwnd) / state.mss;
  const double segments = static_cast<double>(bytes) / state.mss;
  // RFC 9438 4.3, equation 4; alpha is 1 once Reno has passed the old window.
  own.w_est += (own.w_est >= own.cwnd_prior ? 1.0 : kAlpha) * segments / cwnd;

  const double t = std::chrono::duration<double>(now - own.epoch).count();
  const double rtt = static_cast<double>(acked.min_rtt_us) * 1e-6;
  // RFC 9438 4.4, 4.5: the window of one round trip ahead, at most 1.5 times the present one.
  const double target = std::clamp(w_cubic(own, t + rtt), cwnd, 1.5 * cwnd);
  double growth = (target - cwnd) / cwnd * segments;
  if (w_cubic(own, t) < own.w_est) growth = std::max(growth, own.w_est - cwnd);
  own.credit += std::min(growth, segments) * state.mss;
  const auto whole = static_cast<std::uint32_t>(std::max(own.credit, 0.0));
  own.credit -= whole;
  state.cwnd += whole;
}

void on_acked(CongestionState& state, const Acked& acked, Instant now) noexcept {
  Cubic& own = state.own<Cubic>();
  const Instant seen = std::exchange(own.seen, now);
  if (!acked.may_grow) {
    // RFC 9438 4.2: the time in which the window is not used does not count.
    if (own.epoch != kNever) own.epoch += now - std::max(seen, own.epoch);
    return;
  }
  std::uint32_t bytes = acked.bytes;
  if (state.is_slow_start()) bytes = own.hystart.grow(state, acked);
  if (bytes != 0) avoid_congestion(state, acked, bytes, now);
}

void on_congestion(CongestionState& state, Congestion what, std::uint32_t in_flight,
                   Instant /*now*/) noexcept {
  Cubic& own = state.own<Cubic>();
  const double cwnd = static_cast<double>(state.cwnd) / state.mss;
  own.cwnd_prior = cwnd;
  // RFC 9438 4.7: fast convergence gives room to newcomers. 4.8: after a timeout the plateau is
  // where slow start ends.
  own.w_max = cwnd < own.w_max ? cwnd * (1.0 + kBeta) / 2.0 : cwnd;
  if (what == Congestion::kTimeout) own.w_max = 0;
  own.epoch = kNever;
  own.hystart.restart();
  // RFC 9438 4.6: of what is used, not of what is allowed.
  const double used = std::min(static_cast<double>(in_flight), static_cast<double>(state.cwnd));
  state.ssthresh = std::max(static_cast<std::uint32_t>(used * kBeta), 2 * state.mss);
}

void on_idle(CongestionState& state) noexcept {
  state.own<Cubic>().epoch = kNever;
  state.own<Cubic>().hystart.restart();
}

}  // namespace

const CongestionAlgorithm kCubic{"cubic", false, false, start, on_acked, on_congestion, on_idle};

}  // namespace snp::tcp
