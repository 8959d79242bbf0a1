// RFC 5681; its recovery (RFC 6582) is the connection's.
#include <algorithm>

#include "snp/tcp/cc/algorithms.h"
#include "snp/tcp/cc/reno.h"

namespace snp::tcp {
namespace {

void start(CongestionState& state, std::uint32_t /*srtt_us*/, const PathModel& /*path*/,
           Instant /*now*/) noexcept {
  state.make<RenoGrowth>();
}

void on_acked(CongestionState& state, const Acked& acked, Instant /*now*/) noexcept {
  if (acked.may_grow) state.own<RenoGrowth>().grow(state, acked.bytes);
}

// RFC 5681 3.1, equation 4.
void on_congestion(CongestionState& state, Congestion /*what*/, std::uint32_t in_flight,
                   Instant /*now*/) noexcept {
  state.ssthresh = std::max(std::min(in_flight, state.cwnd) / 2, 2 * state.mss);
  state.own<RenoGrowth>().acked = 0;
}

void on_idle(CongestionState& state) noexcept {
  state.own<RenoGrowth>().acked = 0;
}

}  // namespace

const CongestionAlgorithm kNewReno{"newreno", false,         false,  start,
                                   on_acked,  on_congestion, on_idle};

}  // namespace snp::tcp
