// What must survive the engine: one record per offloaded connection, in a memfd that only snpd's
// own processes map (engine and keeper). Together with the arena it is enough to rebuild the kernel
// socket, or the engine's connection, after a kill.
//
// Order of stores by the shard: payload into the ring, then the snapshot here, then rx_head in the
// slot, and only then may the ACK leave; snd_max here before a segment leaves. (design section 4)
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/ipc/arena.h"
#include "snp/state/connection_state.h"
#include "snp/state/host_socket.h"
#include "snp/state/stream_ring.h"

namespace snp::ipc {

inline constexpr std::uint32_t kFlowRecords = 65536;  // most connections offloaded at once
using FlowId = std::uint32_t;                         // index of a record
inline constexpr FlowId kNoFlow = 0xffffffff;

enum class FlowStatus : std::uint32_t {
  kFree = 0,
  kParking = 1,    // the socket is as it was; of this record only the place and the tuple count
  kSilenced = 2,   // the socket is whole, but may be silent already; `memo` is complete
  kOffloaded = 3,  // state, ranges and rings tell the whole truth, whatever the socket still holds
  kUnparking =
      4,       // the socket is being refilled from this record; may be done again from the start
  kLocal = 5,  // the pair's memory tells where the streams stand: place_of(), snapshots as at park
};

// Of a local connection: where it is in its pair, and how positions there map to sequence numbers.
struct PairPlace {
  std::uint32_t pair = 0;                  // PairNumber
  std::uint32_t index = 0;                 // PairIndex
  std::uint32_t side = 0;                  // this flow's
  FlowId peer = 0xffffffff;                // the other side's record, kNoFlow when it is over
  std::uint64_t tx_ring = 0, rx_ring = 0;  // offsets into the pair's memory
  std::uint32_t ring_size = 0;             // of both
  SeqNum tx_base, rx_base;                 // of the byte at kFirstPosition
};

// What the shard changes: where the two streams stand and the delegated state, which belong
// together.
struct FlowSnapshot {
  std::uint64_t una_pos = 0;  // position of snd_una; the transmit stream ends at tx_end
  std::uint64_t rcv_pos = 0;  // position of rcv_nxt; the unread stream begins at rx_begin
  std::uint32_t at_ms = 0;    // to_ms_ticks() of the moment: delegated.ts_val counts from here
  DelegatedState delegated;
};

struct alignas(64) FlowRecord {
  std::atomic<FlowStatus> status{FlowStatus::kFree};
  std::uint32_t arena = 0;  // number of the arena, as told to the keeper with its memfd
  SlotId slot = kNoSlot;    // kNoSlot: the application has closed, the engine finishes alone
  std::uint32_t shard = 0;
  std::uint32_t account = 0;               // of the connection, in the ledger; 0: none
  std::uint64_t rx_ring = 0, tx_ring = 0;  // offsets into the arena
  std::uint32_t rx_size = 0, tx_size = 0;
  std::atomic<std::uint64_t> tx_end{0};    // tx_head as last accepted by the shard
  std::atomic<std::uint64_t> rx_begin{0};  // rx_tail as last accepted by the shard
  // Highest sequence number sent; ahead of the snapshot's between its store and the next commit.
  std::atomic<std::uint32_t> snd_max{0};
  // A kill may come between any two stores: the snapshot that is not named is written, then named.
  std::atomic<std::uint32_t> current{0};  // index of the valid snapshot
  std::array<FlowSnapshot, 2> snapshots;
  ConstState constant;
  CachedState cached;
  // As of `path_at_ms`, once in a while: a kill costs what was found since.
  PathModel path;
  MtuSearch mtu_search;
  std::uint32_t path_at_ms = 0;
  HostSocketMemo memo;
  PairPlace place;  // kLocal; place.peer also while the two are parked
};

static_assert(sizeof(FlowRecord) <= 640);

// Replaces the snapshot as a whole. One writer.
inline void commit(FlowRecord& record, const FlowSnapshot& snapshot) noexcept {
  const std::uint32_t next = 1 - (record.current.load(std::memory_order_relaxed) & 1);
  record.snapshots[next] = snapshot;
  record.current.store(next, std::memory_order_release);
}

[[nodiscard]] inline const FlowSnapshot& snapshot_of(const FlowRecord& record) noexcept {
  return record.snapshots[record.current.load(std::memory_order_acquire) & 1];
}

// The connection as the record tells it, its timestamp clock brought forward to `now_ms`.
[[nodiscard]] inline ConnectionState state_of(const FlowRecord& record,
                                              std::uint32_t now_ms) noexcept {
  const FlowSnapshot& snapshot = snapshot_of(record);
  ConnectionState state{record.constant, record.cached, snapshot.delegated, record.path,
                        record.mtu_search};
  const std::uint32_t passed_ms = now_ms - snapshot.at_ms;
  state.delegated.ts_val += passed_ms;
  state.delegated.ts_recent_age_ms += passed_ms;
  state.delegated.silence_ms += passed_ms;
  state.delegated.stall_ms += passed_ms;
  state.path.age(now_ms - record.path_at_ms);
  state.mtu_search.age(now_ms - record.path_at_ms);
  state.delegated.snd_max =
      seq_max(state.delegated.snd_max, SeqNum(record.snd_max.load(std::memory_order_relaxed)));
  return state;
}

inline void store_path(FlowRecord& record, const PathModel& path, const MtuSearch& mtu_search,
                       std::uint32_t now_ms) noexcept {
  record.path = path;
  record.mtu_search = mtu_search;
  record.path_at_ms = now_ms;
}

// Control thread, before park() empties the socket: the record tells the whole truth from here on.
inline void store_state(FlowRecord& record, const ConnectionState& state,
                        const StreamRange& rx_range, const StreamRange& tx_range,
                        std::uint32_t now_ms) noexcept {
  record.constant = state.constant;
  record.cached = state.cached;
  store_path(record, state.path, state.mtu_search, now_ms);
  record.tx_end.store(tx_range.end, std::memory_order_relaxed);
  record.rx_begin.store(rx_range.begin, std::memory_order_relaxed);
  record.snd_max.store(state.delegated.snd_max.value(), std::memory_order_relaxed);
  commit(record, {tx_range.begin, rx_range.end, now_ms, state.delegated});
}

}  // namespace snp::ipc
