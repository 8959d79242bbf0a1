// snpd's hands on the slots of an arena: gate, waiters, and the application's words read as what
// they are, hostile.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "snp/base/time.h"
#include "snp/chimney/reason.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/flow_record.h"
#include "snp/ipc/shared_memory.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {

// Pre: id < kSlots.
inline ipc::Slot& slot_at(const ipc::SharedMemory& arena, ipc::SlotId id) noexcept {
  return arena.at<ipc::Slot>(ipc::kSlotsOffset + std::size_t{id} * sizeof(ipc::Slot));
}
// Pre: id < kWaitSets.
inline ipc::WaitSet& wait_set_at(const ipc::SharedMemory& arena, ipc::WaitSetId id) noexcept {
  return arena.at<ipc::WaitSet>(ipc::kWaitSetsOffset + std::size_t{id} * sizeof(ipc::WaitSet));
}
inline ipc::Doorbells& doorbells_of(const ipc::SharedMemory& arena) noexcept {
  return arena.at<ipc::Doorbells>(ipc::kDoorbellsOffset);
}

constexpr bool is_allocated(std::uint32_t in_use) noexcept {
  return (in_use & 1) != 0;
}

// Names a connection that its program has not closed.
inline bool is_open(const ipc::Slot& slot) noexcept {
  return is_allocated(slot.app.in_use.load()) &&
         (slot.app.flags.load() & ipc::slot_flag::kClosed) == 0 &&
         (slot.engine.status.load() & ipc::slot_status::kReleased) == 0;
}

// Why the program's side wants the connection to stay in the host for good, as a reason of the
// table.
std::optional<chimney::Reason> reason_to_stay(const ipc::Slot& slot) noexcept;

// A new arena for a process, its header written.
Result<ipc::SharedMemory> make_arena(std::size_t bytes, std::uint32_t shards);

// What the application has shut down since its socket was parked is shut when it comes home.
inline void follow_shutdown(const ipc::Slot* slot, HostSocketMemo& memo) noexcept {
  if (slot != nullptr && (slot->app.flags.load() & ipc::slot_flag::kShutdownRead) != 0)
    memo.shutdown_read = 1;
}

// What a parked socket cannot tell, for a switch that has not mirrored its options yet. Pre: the
// gate is closed.
inline void note_keepalive(ipc::Slot& slot, const HostSocketMemo& memo) noexcept {
  if (slot.app.options_generation.load() == 0) slot.facts.options.keepalive = memo.keepalive;
}

// Closes the gate and waits until no call of the application is inside: `limit` at most. False:
// somebody still is; the caller opens the gate again.
bool close_gate(ipc::Slot& slot, ipc::SlotMode closed, Duration limit);

// Changes the mode and marks the slot for everybody who watches it: `visit` gets the wait sets,
// each of which may have to be woken.
template <class Visit>
void open_gate(const ipc::SharedMemory& arena, ipc::SlotId id, ipc::SlotMode mode, Visit&& visit) {
  ipc::Slot& slot = slot_at(arena, id);
  ipc::set_mode(slot, mode);
  for (const auto& word : slot.app.wait_sets) {
    const ipc::WaitSetId set = word.load();
    if (set == 0 || set >= ipc::kWaitSets) continue;
    ipc::mark(wait_set_at(arena, set).ready, id);
    visit(set);
  }
}

// Every slot that was ever used, without touching pages that nobody ever touched.
void for_each_slot(const ipc::SharedMemory& arena,
                   const std::function<void(ipc::SlotId, ipc::Slot&)>& visit);
std::vector<ipc::SlotId> open_slots(const ipc::SharedMemory& arena);

// Where the streams of an offloaded connection end on the application's side, as far as its words
// can be true: tx_head in [tx_end, una_pos + size], rx_tail in [rx_begin, rcv_pos]. False: they
// cannot; `tx_range` and `rx_range` then hold what the shard had accepted.
bool read_ranges(const ipc::FlowRecord& record, const ipc::Slot* slot, StreamRange& rx_range,
                 StreamRange& tx_range) noexcept;

}  // namespace snp::daemon
