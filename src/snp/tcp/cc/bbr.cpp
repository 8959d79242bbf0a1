// BBR version 3 (draft-ietf-ccwg-bbr-06): a model of the path, its bandwidth (the most of two
// probing cycles), its round-trip time (the least of ten seconds) and how much fits into it, sets
// rate and window. Sections named below are the draft's.
//
// Departures. Where no queue is to be seen (Bbr::has_queue) more losses are put up with. And
// the delivery rate is told by a few marks in a round trip, not by each packet, so losses are
// judged when a mark is delivered: what was lost since it was sent, of what was in flight then.
#include "snp/tcp/cc/algorithms.h"
#include "snp/tcp/cc/bbr_model.h"

namespace snp::tcp {
namespace {

using State = Bbr::State;
using AckPhase = Bbr::AckPhase;

constexpr double kPacingMargin = 0.99;  // a queue that a rounding built would never drain
constexpr double kLossThreshold = 0.02;
// Where no queue is to be seen: of a short flight chance may take more than that.
constexpr double kRandomLoss = 0.05;
constexpr std::uint32_t kRandomSegments = 2;
constexpr double kBeta = 0.7;
constexpr double kFullGrowth = 1.25;
constexpr std::uint8_t kFullRounds = 3;
constexpr std::uint8_t kStartupLossEvents = 6;
constexpr std::uint8_t kDrainRounds = 3;
constexpr std::uint8_t kExtraAckedRounds = 5;  // of each of two spans: ExtraAckedFilterLen is 10
constexpr std::uint32_t kRenoRounds = 63;
// Whatever a hand-over tells: no path is faster (8 Tbit/s), and what is derived from it fits.
constexpr std::uint64_t kMostBandwidth = 1'000'000'000'000;
constexpr Duration kMinRttWindow = seconds(10);
constexpr Duration kProbeRttInterval = seconds(5);
constexpr Duration kProbeRttTime = milliseconds(200);

constexpr bool is_reached(std::uint32_t delivered, std::uint32_t mark) noexcept {
  return static_cast<std::int32_t>(delivered - mark) >= 0;
}

void start_round(Bbr& own, const Acked& acked) noexcept {
  own.next_round_delivered = acked.delivered;
}

void reset_full_bw(Bbr& own, std::uint64_t baseline = 0) noexcept {
  own.full_bw = baseline;
  own.full_bw_rounds = 0;
  own.is_full_bw_now = false;
}

void reset_shortterm_model(Bbr& own) noexcept {
  own.bw_shortterm = Bbr::kNoRateLimit;
  own.inflight_shortterm = Bbr::kNoLimit;
}

void enter(Bbr& own, State state) noexcept {
  own.state = state;
  own.rounds_in_state = 0;
}

// 5.3.3.8: flows must not probe in step, and with Reno and CUBIC flows of the same rate not more
// often than these lose.
void pick_probe_wait(Bbr& own, const Acked& acked, Instant now) noexcept {
  const auto ns = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const std::uint64_t mixed = (ns + acked.delivered) * 0x9e3779b97f4a7c15ull;
  own.rounds_since_probe = static_cast<std::uint16_t>(mixed >> 63);
  own.probe_wait_us = 2'000'000 + static_cast<std::uint32_t>((mixed >> 32) % 1'000'000);
}

// 5.3.3.9.
void start_down(Bbr& own, const Acked& acked, Instant now) noexcept {
  own.is_loss_in_round = false;
  own.bw_latest = own.inflight_latest = 0;
  own.probe_up_acked_per_inc = Bbr::kNoLimit;
  pick_probe_wait(own, acked, now);
  own.cycle_at = now;
  own.ack_phase = AckPhase::kStopping;
  start_round(own, acked);
  enter(own, State::kDown);
}

void start_refill(Bbr& own, std::uint32_t delivered) noexcept {
  reset_shortterm_model(own);
  own.probe_up_rounds = 0;
  own.probe_up_acked = 0;
  own.was_probe_precautionary = false;
  own.ack_phase = AckPhase::kRefilling;
  own.next_round_delivered = delivered;
  enter(own, State::kRefill);
}

void raise_longterm_slope(const CongestionState& cc, Bbr& own) noexcept {
  const std::uint32_t growth = 1u << own.probe_up_rounds;
  own.probe_up_rounds = static_cast<std::uint8_t>(std::min(own.probe_up_rounds + 1, 30));
  own.probe_up_acked_per_inc = std::max(cc.cwnd / growth, cc.mss);
}

void start_up(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  own.is_probe_sample = true;
  own.ack_phase = AckPhase::kStarting;
  start_round(own, acked);
  reset_full_bw(own, acked.rate.bytes_per_s);
  enter(own, State::kUp);
  raise_longterm_slope(cc, own);
}

// 5.5.10.2.
bool is_inflight_too_high(const CongestionState& cc, const Bbr& own, const Acked& acked) noexcept {
  if (!acked.rate.has_mark) return false;
  const double most = own.has_queue()
                          ? kLossThreshold * acked.rate.in_flight
                          : kRandomLoss * acked.rate.in_flight + kRandomSegments * cc.mss;
  return static_cast<double>(acked.rate.lost) > most;
}

// What was lost of it did not fit.
void handle_inflight_too_high(const CongestionState& cc, Bbr& own, const Acked& acked,
                              Instant now) noexcept {
  own.was_probe_too_high = true;
  own.is_probe_sample = false;
  const std::uint32_t fitted =
      acked.rate.in_flight - std::min(acked.rate.in_flight, acked.rate.lost);
  if (!acked.rate.is_app_limited)
    own.inflight_longterm =
        std::max({fitted, static_cast<std::uint32_t>(own.target_inflight(cc) * kBeta),
                  Bbr::least_window(cc)});
  if (own.state == State::kUp) start_down(own, acked, now);
}

// 5.5.1, 5.5.5.
void update_round(Bbr& own, const Acked& acked) noexcept {
  own.is_round_start =
      acked.rate.has_mark && is_reached(acked.rate.prior_delivered, own.next_round_delivered);
  if (!own.is_round_start) return;
  start_round(own, acked);
  if (own.rounds_since_probe != 0xffff) ++own.rounds_since_probe;
  if (own.rounds_in_state != 0xff) ++own.rounds_in_state;
  own.last_round_rtt_us = own.round_rtt_us;
  own.round_rtt_us = 0;
}

void update_max_bw(Bbr& own, const RateSample& rate) noexcept {
  if (rate.bytes_per_s != 0 && (!rate.is_app_limited || rate.bytes_per_s >= own.max_bw()))
    own.max_bw_of_cycle[1] = std::max(own.max_bw_of_cycle[1], rate.bytes_per_s);
}

// 5.5.10.3.
void adapt_lower_bounds(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  if (own.is_probing_bw() || !own.is_loss_in_round) return;
  if (!own.has_queue() && !is_inflight_too_high(cc, own, acked)) return;
  if (own.bw_shortterm == Bbr::kNoRateLimit) own.bw_shortterm = own.max_bw();
  if (own.inflight_shortterm == Bbr::kNoLimit) own.inflight_shortterm = cc.cwnd;
  own.bw_shortterm = std::max(
      own.bw_latest, static_cast<std::uint64_t>(kBeta * static_cast<double>(own.bw_shortterm)));
  own.inflight_shortterm =
      std::max(own.inflight_latest, static_cast<std::uint32_t>(kBeta * own.inflight_shortterm));
}

void update_congestion_signals(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  if (acked.lost_bytes != 0) {
    if (!own.is_loss_in_round) own.loss_round_delivered = acked.delivered;
    own.is_loss_in_round = true;
    if (own.loss_events < kStartupLossEvents) ++own.loss_events;
  }
  const RateSample& rate = acked.rate;
  own.is_loss_round_start =
      rate.has_mark && is_reached(rate.prior_delivered, own.loss_round_delivered);
  own.bw_latest = std::max(own.bw_latest, rate.bytes_per_s);
  if (rate.has_mark) own.inflight_latest = std::max(own.inflight_latest, rate.delivered);
  update_round(own, acked);
  update_max_bw(own, rate);
  if (!own.is_loss_round_start) return;
  own.loss_round_delivered = acked.delivered;
  adapt_lower_bounds(cc, own, acked);
  own.is_loss_in_round = false;
}

void advance_latest_signals(Bbr& own, const Acked& acked) noexcept {
  if (!own.is_loss_round_start) return;
  own.bw_latest = acked.rate.bytes_per_s;
  own.inflight_latest = acked.rate.delivered;
  own.loss_events = 0;
}

// 5.5.9.
void update_ack_aggregation(const CongestionState& cc, Bbr& own, const Acked& acked,
                            Instant now) noexcept {
  const double interval = std::chrono::duration<double>(now - own.extra_acked_since).count();
  double expected = static_cast<double>(own.bw()) * interval;
  if (own.extra_acked_delivered <= expected) {
    own.extra_acked_delivered = 0;
    own.extra_acked_since = now;
    expected = 0;
  }
  own.extra_acked_delivered += acked.bytes;
  if (own.is_round_start &&
      ++own.extra_acked_rounds >= (own.is_full_bw_reached ? kExtraAckedRounds : 1)) {
    own.extra_acked_rounds = 0;
    own.extra_acked = {own.extra_acked[1], 0};
  }
  const double extra = std::min<double>(own.extra_acked_delivered - expected, cc.cwnd);
  own.extra_acked[1] = std::max(own.extra_acked[1], static_cast<std::uint32_t>(extra));
}

// 5.3.1.2. Only where it accelerates: elsewhere a rate that does not grow says nothing.
void check_full_bw(Bbr& own, const Acked& acked) noexcept {
  if (own.state != State::kStartup && own.state != State::kUp) return;
  if (own.is_full_bw_now || !own.is_round_start || acked.rate.is_app_limited ||
      acked.rate.bytes_per_s == 0)
    return;
  if (static_cast<double>(acked.rate.bytes_per_s) >=
      static_cast<double>(own.full_bw) * kFullGrowth) {
    reset_full_bw(own, acked.rate.bytes_per_s);
    return;
  }
  own.is_full_bw_now = ++own.full_bw_rounds >= kFullRounds;
  if (own.is_full_bw_now) own.is_full_bw_reached = true;
}

// 5.3.1.3.
void check_startup_done(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  if (own.state != State::kStartup) return;
  if (own.is_loss_round_start && acked.is_recovering && own.loss_events >= kStartupLossEvents &&
      is_inflight_too_high(cc, own, acked)) {
    own.is_full_bw_reached = true;
    own.inflight_longterm =
        std::max(static_cast<std::uint32_t>(std::min(own.bdp(1), 1e9)), own.inflight_latest);
  }
  if (own.is_full_bw_reached) enter(own, State::kDrain);
}

// 5.3.2.
void check_drain_done(const CongestionState& cc, Bbr& own, const Acked& acked,
                      Instant now) noexcept {
  if (own.state == State::kDrain &&
      (acked.in_flight <= own.inflight(cc, 1) || own.rounds_in_state > kDrainRounds))
    start_down(own, acked, now);
}

void probe_longterm_upward(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  if (!acked.is_window_limited || cc.cwnd < own.inflight_longterm) return;
  own.probe_up_acked += acked.bytes;
  const std::uint32_t steps = own.probe_up_acked / own.probe_up_acked_per_inc;
  own.probe_up_acked -= steps * own.probe_up_acked_per_inc;
  own.inflight_longterm += steps * cc.mss;
  if (own.is_round_start) raise_longterm_slope(cc, own);
}

// 5.3.3.9, AdaptLongTermModel. True: it decided about the state.
bool adapt_longterm_model(const CongestionState& cc, Bbr& own, const Acked& acked,
                          Instant now) noexcept {
  if (own.ack_phase == AckPhase::kStarting && own.is_round_start)
    own.ack_phase = AckPhase::kFeedback;
  if (own.ack_phase == AckPhase::kStopping && own.is_round_start) {
    own.is_probe_sample = false;
    own.ack_phase = AckPhase::kInit;
    if (own.is_in_probe_bw() && !acked.rate.is_app_limited)
      own.max_bw_of_cycle = {own.max_bw_of_cycle[1], 0};
    if (own.is_in_probe_bw() && own.was_probe_precautionary && !own.was_probe_too_high) {
      start_refill(own, acked.delivered);
      return true;
    }
  }
  if (is_inflight_too_high(cc, own, acked)) {
    if (!own.is_probe_sample) return false;
    handle_inflight_too_high(cc, own, acked, now);
    return own.state == State::kDown;
  }
  if (own.inflight_longterm == Bbr::kNoLimit || !acked.rate.has_mark) return false;
  own.inflight_longterm = std::max(own.inflight_longterm, acked.rate.in_flight);
  if (own.state == State::kUp) probe_longterm_upward(cc, own, acked);
  return false;
}

bool is_time_to_probe(const CongestionState& cc, const Bbr& own, Instant now) noexcept {
  const std::uint32_t reno_rounds = own.target_inflight(cc) / cc.mss;
  return now > own.cycle_at + microseconds(own.probe_wait_us) ||
         own.rounds_since_probe >= std::min(reno_rounds, kRenoRounds);
}

bool is_time_to_cruise(const CongestionState& cc, const Bbr& own, const Acked& acked) noexcept {
  return acked.in_flight <= std::min(own.inflight_with_headroom(cc), own.inflight(cc, 1));
}

// 5.3.3.7.
bool is_time_to_go_down(const CongestionState& cc, Bbr& own, const Acked& acked) noexcept {
  if (own.was_probe_too_high && acked.in_flight >= own.inflight_longterm) {
    own.was_probe_precautionary = true;
    return true;
  }
  if (acked.is_window_limited && cc.cwnd >= own.inflight_longterm) {
    reset_full_bw(own, acked.rate.bytes_per_s);
    return false;
  }
  return own.is_full_bw_now;
}

void update_probe_bw(const CongestionState& cc, Bbr& own, const Acked& acked,
                     Instant now) noexcept {
  if (!own.is_full_bw_reached || adapt_longterm_model(cc, own, acked, now)) return;
  switch (own.state) {
    case State::kDown:
      if (is_time_to_probe(cc, own, now))
        start_refill(own, acked.delivered);
      else if (is_time_to_cruise(cc, own, acked))
        enter(own, State::kCruise);
      break;
    case State::kCruise:
      if (is_time_to_probe(cc, own, now)) start_refill(own, acked.delivered);
      break;
    case State::kRefill:
      if (own.is_round_start) start_up(cc, own, acked);
      break;
    case State::kUp:
      if (is_time_to_go_down(cc, own, acked)) {
        own.was_probe_too_high = false;
        start_down(own, acked, now);
      }
      break;
    default:
      break;
  }
}

// 5.3.4.4.
void exit_probe_rtt(CongestionState& cc, Bbr& own, const Acked& acked, Instant now) noexcept {
  own.probe_rtt_min_at = now;
  cc.cwnd = std::max(cc.cwnd, own.prior_cwnd);
  reset_shortterm_model(own);
  if (!own.is_full_bw_reached) {
    enter(own, State::kStartup);
    return;
  }
  start_down(own, acked, now);
  enter(own, State::kCruise);
}

void handle_probe_rtt(CongestionState& cc, Bbr& own, const Acked& acked, Instant now) noexcept {
  if (own.probe_rtt_done_at == kNever) {
    if (acked.in_flight > own.probe_rtt_window(cc)) return;
    own.probe_rtt_done_at = now + kProbeRttTime;
    own.is_probe_rtt_round_done = false;
    start_round(own, acked);
    return;
  }
  if (own.is_round_start) own.is_probe_rtt_round_done = true;
  if (own.is_probe_rtt_round_done && now > own.probe_rtt_done_at)
    exit_probe_rtt(cc, own, acked, now);
}

void save_window(const CongestionState& cc, Bbr& own) noexcept {
  if (!own.is_recovering && own.state != State::kProbeRtt)
    own.prior_cwnd = cc.cwnd;
  else
    own.prior_cwnd = std::max(own.prior_cwnd, cc.cwnd);
}

// 5.3.4.3.
void update_min_rtt(CongestionState& cc, Bbr& own, const Acked& acked, Instant now) noexcept {
  const std::uint32_t rtt_us = acked.rtt_us;
  if (rtt_us != 0 && (own.round_rtt_us == 0 || rtt_us < own.round_rtt_us))
    own.round_rtt_us = rtt_us;
  const bool has_expired = now > own.probe_rtt_min_at + kProbeRttInterval;
  if (rtt_us != 0 && (own.probe_rtt_min_us == 0 || rtt_us < own.probe_rtt_min_us || has_expired)) {
    own.probe_rtt_min_us = rtt_us;
    own.probe_rtt_min_at = now;
  }
  if (own.probe_rtt_min_us != 0 && (own.min_rtt_us == 0 || own.probe_rtt_min_us < own.min_rtt_us ||
                                    now > own.min_rtt_at + kMinRttWindow)) {
    own.min_rtt_us = own.probe_rtt_min_us;
    own.min_rtt_at = own.probe_rtt_min_at;
  }
  // Where the round trip is shorter than a burst there is nothing to be gained by knowing it
  // better; a queue that lasts makes it longer.
  if (own.state != State::kProbeRtt && has_expired && !own.is_after_idle &&
      own.min_rtt_us >= kPacedBurstUs) {
    save_window(cc, own);
    enter(own, State::kProbeRtt);
    own.probe_rtt_done_at = kNever;
    own.ack_phase = AckPhase::kStopping;
    start_round(own, acked);
  }
  if (own.state == State::kProbeRtt) handle_probe_rtt(cc, own, acked, now);
  own.is_after_idle = false;
}

// 5.6.2. A pipe that is not full yet only speeds up. Slower than a segment a second nothing would
// be measured but the pauses.
void set_pacing(CongestionState& cc, const Bbr& own, double gain) noexcept {
  if (own.bw() == 0) return;
  const auto rate =
      static_cast<std::uint64_t>(gain * static_cast<double>(own.bw()) * kPacingMargin);
  if (own.is_full_bw_reached || rate > cc.pacing_rate)
    cc.pacing_rate = std::max<std::uint64_t>(rate, cc.mss);
}

// 5.6.4.7.
std::uint32_t window_bound(const CongestionState& cc, const Bbr& own) noexcept {
  std::uint32_t cap = Bbr::kNoLimit;
  if (own.state == State::kProbeRtt || own.state == State::kCruise)
    cap = own.inflight_with_headroom(cc);
  else if (own.is_in_probe_bw())
    cap = own.inflight_longterm;
  return std::max(std::min(cap, own.inflight_shortterm), Bbr::least_window(cc));
}

// 5.6.4.6.
void set_window(CongestionState& cc, const Bbr& own, const Acked& acked) noexcept {
  const std::uint32_t wanted = own.max_inflight(cc);
  if (own.is_full_bw_reached)
    cc.cwnd = std::min(cc.cwnd + acked.bytes, wanted);
  else if (cc.cwnd < wanted || own.max_bw() == 0)
    cc.cwnd += acked.bytes;
  cc.cwnd = std::max(cc.cwnd, Bbr::least_window(cc));
  if (own.state == State::kProbeRtt) cc.cwnd = std::min(cc.cwnd, own.probe_rtt_window(cc));
  cc.cwnd = std::min(cc.cwnd, window_bound(cc, own));
}

// 5.6.2, InitPacingRate.
std::uint64_t first_pacing_rate(const CongestionState& cc, std::uint32_t rtt_us) noexcept {
  const double rtt_s = rtt_us == 0 ? 1e-3 : rtt_us * 1e-6;
  return static_cast<std::uint64_t>(Bbr{}.pacing_gain() * cc.cwnd / rtt_s);
}

// As after a probe of the round trip (5.3.4.4): at the bandwidth of the path, until it is time to
// probe for more.
void resume(CongestionState& cc, Bbr& own, const PathModel& path) noexcept {
  own.max_bw_of_cycle = {std::min(path.bandwidth, kMostBandwidth), 0};
  own.is_full_bw_reached = true;
  own.inflight_longterm = path.inflight_longterm;
  own.probe_wait_us = path.probe_bw_wait_ms * 1000u;
  enter(own, State::kCruise);
  set_pacing(cc, own, own.pacing_gain());
  cc.cwnd = std::min(std::max(cc.cwnd, own.max_inflight(cc)), window_bound(cc, own));
}

void start(CongestionState& cc, std::uint32_t srtt_us, const PathModel& path,
           Instant now) noexcept {
  cc.make<Bbr>();
  Bbr& own = cc.own<Bbr>();
  cc.ssthresh = 0xffffffff;
  own.extra_acked_since = own.cycle_at = now;
  const bool is_recent = milliseconds(path.min_rtt_age_ms) < kMinRttWindow;
  own.min_rtt_us = is_recent && path.min_rtt_us != 0 ? path.min_rtt_us : srtt_us;
  own.probe_rtt_min_us = own.min_rtt_us;
  own.min_rtt_at = now - (is_recent ? milliseconds(path.min_rtt_age_ms) : Duration::zero());
  own.probe_rtt_min_at = now - (is_recent ? milliseconds(path.probe_rtt_age_ms) : Duration::zero());
  if (path.bandwidth != 0)
    resume(cc, own, path);
  else
    cc.pacing_rate = first_pacing_rate(cc, srtt_us);
}

// Where the pipe is not full yet, what was seen of its bandwidth says too little.
PathModel model(const CongestionState& cc, Instant now) noexcept {
  const Bbr& own = cc.own<Bbr>();
  const auto to_ms = [](Duration time) {
    return static_cast<std::uint16_t>(std::clamp<std::int64_t>(time / milliseconds(1), 0, 0xffff));
  };
  return {.bandwidth = own.is_full_bw_reached ? own.max_bw() : 0,
          .inflight_longterm = own.inflight_longterm,
          .min_rtt_us = own.min_rtt_us,
          .min_rtt_age_ms = to_ms(now - own.min_rtt_at),
          .probe_rtt_age_ms = to_ms(now - own.probe_rtt_min_at),
          .probe_bw_wait_ms = to_ms(own.cycle_at + microseconds(own.probe_wait_us) - now)};
}

void on_acked(CongestionState& cc, const Acked& acked, Instant now) noexcept {
  Bbr& own = cc.own<Bbr>();
  if (own.min_rtt_us == 0 && acked.rtt_us != 0)
    cc.pacing_rate = first_pacing_rate(cc, acked.rtt_us);
  update_congestion_signals(cc, own, acked);
  update_ack_aggregation(cc, own, acked, now);
  check_full_bw(own, acked);
  check_startup_done(cc, own, acked);
  check_drain_done(cc, own, acked, now);
  update_probe_bw(cc, own, acked, now);
  update_min_rtt(cc, own, acked, now);
  advance_latest_signals(own, acked);
  // 5.6.4.4: the window before a recovery comes back, as far as the model allows.
  if (own.is_recovering && !acked.is_recovering) cc.cwnd = std::max(cc.cwnd, own.prior_cwnd);
  own.is_recovering = acked.is_recovering;
  set_pacing(cc, own, own.pacing_gain());
  set_window(cc, own, acked);
}

// After a timeout the caller lets one segment go; the window grows by what is acknowledged.
void on_congestion(CongestionState& cc, Congestion what, std::uint32_t /*in_flight*/,
                   Instant /*now*/) noexcept {
  if (what == Congestion::kMark) return;
  Bbr& own = cc.own<Bbr>();
  save_window(cc, own);
  own.is_recovering = true;
}

// 5.4: go on at the rate that the path had.
void on_idle(CongestionState& cc) noexcept {
  Bbr& own = cc.own<Bbr>();
  own.is_after_idle = true;
  if (own.is_in_probe_bw()) set_pacing(cc, own, 1);
}

// 5.5.11.2.
void on_undo(CongestionState& cc, const CongestionState& before_loss) noexcept {
  Bbr& own = cc.own<Bbr>();
  const Bbr& before = before_loss.own<Bbr>();
  const bool left_startup = before.state == State::kStartup && own.state != State::kStartup &&
                            own.inflight_longterm != Bbr::kNoLimit;
  const bool left_up = before.state == State::kUp && own.was_probe_too_high &&
                       (own.state == State::kDown || own.state == State::kCruise);
  own.is_loss_in_round = false;
  own.is_recovering = false;
  own.bw_shortterm = std::max(own.bw_shortterm, before.bw_shortterm);
  own.inflight_shortterm = std::max(own.inflight_shortterm, before.inflight_shortterm);
  own.inflight_longterm = std::max(own.inflight_longterm, before.inflight_longterm);
  if (own.state == State::kProbeRtt) return;
  if (left_startup) {
    own.is_full_bw_reached = false;
    reset_full_bw(own);
    enter(own, State::kStartup);
  } else if (left_up) {
    own.was_probe_too_high = false;
    start_refill(own, own.next_round_delivered);
  }
}

}  // namespace

const CongestionAlgorithm kBbr{"bbr",         true,    false,   start, on_acked,
                               on_congestion, on_idle, on_undo, model};

}  // namespace snp::tcp
