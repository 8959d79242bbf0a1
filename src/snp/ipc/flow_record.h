// What must survive the engine: one record per offloaded connection, in a memfd that only snpd's
// own processes map (engine and keeper). Together with the arena it is enough to rebuild the kernel
// socket, or the engine's connection, after a kill.
//
// Order of stores by the shard: payload into the ring, then rcv_nxt here, then rx_head in the slot,
// and only then may the ACK leave; snd_max here before a segment leaves. (design section 4)
#pragma once

#include <atomic>
#include <cstdint>

#include "snp/ipc/arena.h"
#include "snp/state/connection_state.h"
#include "snp/state/host_socket.h"

namespace snp::ipc {

inline constexpr std::uint32_t kFlowRecordMagic = 0x464e5053;
inline constexpr std::uint32_t kFlowRecords = 65536;  // most connections offloaded at once
using FlowId = std::uint32_t;                         // index of a record
inline constexpr FlowId kNoFlow = 0xffffffff;

enum class FlowStatus : std::uint32_t {
  kFree = 0,
  kParking = 1,    // the socket is being emptied; `state` and the ranges are not complete yet
  kOffloaded = 2,  // state, ranges and rings tell the whole truth
  kUnparking =
      3,  // the socket is being refilled from this record; may be done again from the start
};

struct alignas(64) FlowRecord {
  std::atomic<FlowStatus> status{FlowStatus::kFree};
  std::uint32_t arena = 0;  // number of the arena, as told to the keeper with its memfd
  SlotId slot = kNoSlot;    // kNoSlot: the application has closed, the engine finishes alone
  std::uint32_t shard = 0;
  std::uint64_t rx_ring = 0, tx_ring = 0;  // offsets into the arena
  std::uint32_t rx_size = 0, tx_size = 0;
  // Positions of snd_una and rcv_nxt; the other ends are rx_tail and tx_head in the slot.
  std::atomic<std::uint64_t> una_pos{0};
  std::atomic<std::uint64_t> rcv_pos{0};
  std::atomic<std::uint64_t> tx_end{0};    // tx_head as last accepted by the shard
  std::atomic<std::uint64_t> rx_begin{0};  // rx_tail as last accepted by the shard
  ConnectionState state;
  HostSocketMemo memo;
};

static_assert(sizeof(FlowRecord) <= 512);

}  // namespace snp::ipc
