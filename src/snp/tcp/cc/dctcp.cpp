// DCTCP (RFC 8257): the window comes down by the share of bytes that were marked. The receiver's
// part (3.2) is the connection's: echoes_each_mark. For paths whose queues mark early; elsewhere it
// is Reno.
#include <algorithm>

#include "snp/tcp/cc/algorithms.h"
#include "snp/tcp/cc/reno.h"

namespace snp::tcp {
namespace {

constexpr double kG = 1.0 / 16;  // RFC 8257 4.2

struct Dctcp {
  RenoGrowth growth;
  std::uint32_t marked = 0;  // bytes of this observation window
  std::uint64_t acked = 0;
  double alpha = 1;  // RFC 8257 3.3: with the first mark as careful as Reno
};

void start(CongestionState& state, std::uint32_t /*srtt_us*/, const PathModel& path,
           Instant /*now*/) noexcept {
  state.make<Dctcp>();
  state.own<Dctcp>().alpha = static_cast<double>(path.marked_share) / PathModel::kAllMarked;
}

PathModel model(const CongestionState& state, Instant /*now*/) noexcept {
  return {.marked_share =
              static_cast<std::uint16_t>(state.own<Dctcp>().alpha * PathModel::kAllMarked + 0.5)};
}

// RFC 8257 3.3: observed over each window, in recovery too.
void observe(Dctcp& own, const Acked& acked) noexcept {
  own.acked += acked.bytes;
  own.marked += acked.marked_bytes;
  if (!acked.round_ended || own.acked == 0) return;
  const double share = static_cast<double>(own.marked) / static_cast<double>(own.acked);
  own.alpha = own.alpha * (1 - kG) + kG * std::min(share, 1.0);
  own.acked = 0;
  own.marked = 0;
}

void on_acked(CongestionState& state, const Acked& acked, Instant /*now*/) noexcept {
  Dctcp& own = state.own<Dctcp>();
  observe(own, acked);
  if (acked.may_grow) own.growth.grow(state, acked.bytes);
}

// RFC 8257 3.4, equation 1, and 3.5: a loss is not a mark.
void on_congestion(CongestionState& state, Congestion what, std::uint32_t in_flight,
                   Instant /*now*/) noexcept {
  Dctcp& own = state.own<Dctcp>();
  const double window = std::min(in_flight, state.cwnd);
  const double reduction = what == Congestion::kMark ? own.alpha / 2 : 0.5;
  state.ssthresh = std::max(static_cast<std::uint32_t>(window * (1 - reduction)), 2 * state.mss);
  own.growth.acked = 0;
}

void on_idle(CongestionState& state) noexcept {
  state.own<Dctcp>().growth.acked = 0;
}

}  // namespace

const CongestionAlgorithm kDctcp{"dctcp",       false,   true,    start, on_acked,
                                 on_congestion, on_idle, nullptr, model};

}  // namespace snp::tcp
