#include "snp/daemon/slot_access.h"

#include <algorithm>
#include <new>

#include <unistd.h>

#include "snp/engine/clock.h"

namespace snp::daemon {

Result<ipc::SharedMemory> make_arena(std::size_t bytes, std::uint32_t shards) {
  auto arena = ipc::SharedMemory::create("snp.arena", bytes);
  if (!arena) return arena;
  auto* header = new (arena->data()) ipc::ArenaHeader;
  header->arena_size = bytes;
  header->shards = shards;
  return arena;
}

std::optional<chimney::Reason> reason_to_stay(const ipc::Slot& slot) noexcept {
  if ((slot.app.flags.load() & ipc::slot_flag::kStayInHost) == 0) return std::nullopt;
  const auto asked = static_cast<chimney::Reason>(slot.app.request_reason.load());
  return asked == chimney::Reason::kOffloaded ? chimney::Reason::kUnsupportedCall : asked;
}

bool close_gate(ipc::Slot& slot, ipc::SlotMode closed, Duration limit) {
  ipc::set_mode(slot, closed);
  if (!ipc::has_users(slot)) return true;
  const Instant deadline = engine::monotonic_now() + limit;
  while (ipc::has_users(slot)) {
    if (engine::monotonic_now() >= deadline) return false;
    ::usleep(20);
  }
  return true;
}

void for_each_slot(const ipc::SharedMemory& arena,
                   const std::function<void(ipc::SlotId, ipc::Slot&)>& visit) {
  constexpr auto kEnd =
      static_cast<off_t>(ipc::kSlotsOffset + sizeof(ipc::Slot) * std::size_t{ipc::kSlots});
  auto at = static_cast<off_t>(ipc::kSlotsOffset);
  while (at < kEnd) {
    const off_t data = ::lseek(arena.fd(), at, SEEK_DATA);
    if (data < 0 || data >= kEnd) break;
    const off_t hole = ::lseek(arena.fd(), data, SEEK_HOLE);
    const off_t begin = std::max(data, at) - static_cast<off_t>(ipc::kSlotsOffset);
    const off_t end = std::min(hole, kEnd) - static_cast<off_t>(ipc::kSlotsOffset);
    constexpr auto kSize = static_cast<off_t>(sizeof(ipc::Slot));
    // A slot that straddles the border counts with the extent in which it begins.
    for (off_t id = (begin + kSize - 1) / kSize; id * kSize < end; ++id)
      visit(static_cast<ipc::SlotId>(id), slot_at(arena, static_cast<ipc::SlotId>(id)));
    at = std::max(hole, at + 1);
  }
}

std::vector<ipc::SlotId> open_slots(const ipc::SharedMemory& arena) {
  std::vector<ipc::SlotId> found;
  for_each_slot(arena, [&](ipc::SlotId id, const ipc::Slot& slot) {
    if (is_open(slot)) found.push_back(id);
  });
  return found;
}

bool read_ranges(const ipc::FlowRecord& record, const ipc::Slot* slot, StreamRange& rx_range,
                 StreamRange& tx_range) noexcept {
  const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(record);
  rx_range = {record.rx_begin.load(), snapshot.rcv_pos};
  tx_range = {snapshot.una_pos, record.tx_end.load()};
  if (slot == nullptr) return true;
  const std::uint64_t tx_head = slot->app.tx_head.load();
  const std::uint64_t rx_tail = slot->app.rx_tail.load();
  if (tx_head < tx_range.end || tx_head - tx_range.begin > record.tx_size) return false;
  if (rx_tail < rx_range.begin || rx_tail > rx_range.end) return false;
  tx_range.end = tx_head;
  rx_range.begin = rx_tail;
  return true;
}

}  // namespace snp::daemon
