// RFC 5681 with byte counting (RFC 3465); its recovery (RFC 6582) is the connection's.
#include <algorithm>

#include "snp/tcp/cc/algorithms.h"

namespace snp::tcp {
namespace {

struct NewReno {
  std::uint32_t acked = 0;  // bytes towards the next segment of growth
};

void start(CongestionState& state) noexcept {
  state.make<NewReno>();
}

void on_acked(CongestionState& state, const Acked& acked, Instant /*now*/) noexcept {
  if (!acked.is_cwnd_limited) return;
  std::uint32_t bytes = acked.bytes;
  if (state.is_slow_start()) {
    const std::uint32_t growth = std::min(bytes, state.ssthresh - state.cwnd);
    state.cwnd += growth;
    bytes -= growth;
  }
  NewReno& own = state.own<NewReno>();
  own.acked += bytes;
  if (own.acked >= state.cwnd) {  // RFC 5681 3.1: one segment per round trip
    own.acked -= state.cwnd;
    state.cwnd += state.mss;
  }
}

// RFC 5681 3.1, equation 4.
void on_congestion(CongestionState& state, std::uint32_t in_flight, Instant /*now*/) noexcept {
  state.ssthresh = std::max(std::min(in_flight, state.cwnd) / 2, 2 * state.mss);
  state.own<NewReno>().acked = 0;
}

void on_idle(CongestionState& state) noexcept {
  state.own<NewReno>().acked = 0;
}

}  // namespace

const CongestionAlgorithm kNewReno{"newreno", start, on_acked, on_congestion, on_idle};

}  // namespace snp::tcp
