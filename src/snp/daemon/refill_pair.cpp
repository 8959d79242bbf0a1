#include "snp/daemon/refill_pair.h"

#include "snp/host/parking.h"

namespace snp::daemon {

std::array<Result<host::Refilled>, 2> refill_pair(const std::array<EndToRefill, 2>& ends) {
  const auto refill = [](const EndToRefill& end) {
    const chimney::Handoff& h = end.handoff;
    return host::refill(end.fd, h.state, end.memo, h.rx, h.rx_range, h.tx, h.tx_range);
  };
  std::array<Result<host::Refilled>, 2> results{refill(ends[0]), refill(ends[1])};
  const auto for_both = [&](auto&& step) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (!results[i]) continue;
      if (const Result<> done = step(ends[i], *results[i]); !done)
        results[i] = tl::unexpected(done.error());
    }
  };
  for_both([](const EndToRefill& end, const host::Refilled& in) {
    return host::resume(end.fd, end.handoff.state.cached, end.memo, in);
  });
  for_both([](const EndToRefill& end, const host::Refilled& in) {
    const chimney::Handoff& h = end.handoff;
    return host::send_rest(end.fd, h.state.cached, end.memo, in, h.tx, h.tx_range);
  });
  for (const EndToRefill& end : ends)
    if (end.resets) host::reset(end.fd);
  return results;
}

}  // namespace snp::daemon
