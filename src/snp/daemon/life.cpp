#include "snp/daemon/life.h"

#include <algorithm>

#include "snp/daemon/accounts.h"
#include "snp/ipc/tcp_info.h"

namespace snp::daemon {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t fin(bool is_counted) noexcept {
  return is_counted ? 1 : 0;
}

}  // namespace

LifePositions life_positions(const chimney::Handoff& handoff) noexcept {
  const TcpState state = handoff.state.delegated.state;
  const Positions at = positions_of(handoff);
  return {at.in, handoff.tx_range.begin, at.out, has_received_fin(state),
          state == TcpState::kFinWait2 || state == TcpState::kTimeWait};
}

chimney::Handoff handoff_of(const host::Parked& parked) noexcept {
  chimney::Handoff handoff;
  handoff.state = parked.state;
  handoff.rx_range = parked.rx_range;
  handoff.tx_range = parked.tx_range;
  return handoff;
}

void leave_host(ipc::SlotLife& life, std::uint32_t in_use, const host::SocketMark& mark,
                std::uint64_t fenced, const LifePositions& at) noexcept {
  TcpCounters counted;
  TcpCounters start;
  if (life.in_use.load(kRelaxed) == in_use) {
    counted = load(life.counted);
    start = load(life.start);
  }
  TcpCounters now = mark.tcp;
  now.bytes_sent -= fenced;
  // Where `now` is still below `start`, positions count from there all the same.
  const auto exact = [&](std::uint64_t TcpCounters::*counter) {
    return counted.*counter + (now.*counter - start.*counter);
  };
  life.received_offset.store(
      exact(&TcpCounters::bytes_received) - fin(at.has_peers_fin) - at.received, kRelaxed);
  life.acked_offset.store(exact(&TcpCounters::bytes_acked) - fin(at.is_fin_acknowledged) - at.acked,
                          kRelaxed);
  const TcpCounters told = grown(counted, start, now);
  life.sent_offset.store(exact(&TcpCounters::bytes_sent) - told.bytes_retrans - at.sent, kRelaxed);
  life.sent.store(at.sent, kRelaxed);
  life.is_fin_acknowledged.store(at.is_fin_acknowledged ? 1 : 0, kRelaxed);
  store(life.counted, told);
  store(life.start, mark.tcp);
  life.in_use.store(in_use, kRelaxed);
}

void come_home(ipc::SlotLife& life, const host::SocketMark& mark, const LifePositions& at,
               const LifePositions& told) noexcept {
  const ipc::StreamsNow streams{told.received, told.acked, told.sent, told.has_peers_fin,
                                told.is_fin_acknowledged};
  const TcpCounters counted = ipc::told_at_target(life, streams);
  // The socket counts from `at`; what was told beyond is not told again.
  TcpCounters start = mark.tcp;
  start.bytes_received +=
      counted.bytes_received - (life.received_offset.load(kRelaxed) + at.received);
  start.bytes_acked += counted.bytes_acked - (life.acked_offset.load(kRelaxed) + at.acked);
  start.bytes_sent +=
      counted.bytes_sent - (life.sent_offset.load(kRelaxed) + at.sent + counted.bytes_retrans);
  store(life.counted, counted);
  store(life.start, start);
}

LifePositions told_when_local(const chimney::Handoff& mine,
                              const chimney::Handoff& peers) noexcept {
  LifePositions told;
  told.received = peers.tx_range.end;
  told.acked = told.sent = mine.tx_range.end;
  told.has_peers_fin = peers.state.delegated.fin_pending;
  told.is_fin_acknowledged = mine.state.delegated.fin_pending;
  return told;
}

}  // namespace snp::daemon
