// What a flow record tells the engine that goes on after another was killed.
#pragma once

#include "snp/base/time.h"
#include "snp/chimney/target.h"
#include "snp/ipc/flow_record.h"

namespace snp::engine {

// The streams as the shard had accepted them: the next one reads on in the slot from there. `base`:
// of the record's arena. Pre: the record's rings lie in it.
[[nodiscard]] inline chimney::Handoff handoff_of(const ipc::FlowRecord& record,
                                                 chimney::ConnectionId id, std::byte* base,
                                                 Instant now) noexcept {
  const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(record);
  return {id,
          ipc::state_of(record, to_ms_ticks(now)),
          {base + record.rx_ring, record.rx_size},
          {base + record.tx_ring, record.tx_size},
          {record.rx_begin.load(), snapshot.rcv_pos},
          {snapshot.una_pos, record.tx_end.load()}};
}

}  // namespace snp::engine
