#include "snp/daemon/local_recovery.h"

#include <bit>

#include "snp/daemon/local_target.h"
#include "snp/daemon/slot_access.h"
#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using chimney::LocalEnd;
using ipc::FlowStatus;

bool fits(const ipc::SharedMemory& memory, std::uint64_t offset, std::uint32_t size) noexcept {
  return std::has_single_bit(size) && offset <= memory.size() && size <= memory.size() - offset;
}

bool fits(const ipc::SharedMemory& memory, const ipc::PairPlace& place) noexcept {
  return place.index < ipc::kSlots && fits(memory, place.tx_ring, place.ring_size) &&
         fits(memory, place.rx_ring, place.ring_size);
}

bool holds_all(const ipc::FlowRecord& record) noexcept {
  const FlowStatus status = record.status.load();
  return status == FlowStatus::kOffloaded || status == FlowStatus::kLocal;
}

// As dump() left it.
std::optional<LocalEnd> dumped(const LocalCase& one) {
  const ipc::FlowRecord& record = *one.record;
  if (one.arena == nullptr || !fits(*one.arena, record.rx_ring, record.rx_size) ||
      !fits(*one.arena, record.tx_ring, record.tx_size))
    return std::nullopt;
  LocalEnd end;
  const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(record);
  end.handoff.id = one.id;
  end.handoff.state = ipc::state_of(record, to_ms_ticks(engine::monotonic_now()));
  end.handoff.rx = {one.arena->data() + record.rx_ring, record.rx_size};
  end.handoff.tx = {one.arena->data() + record.tx_ring, record.tx_size};
  end.handoff.rx_range = {record.rx_begin.load(), snapshot.rcv_pos};
  end.handoff.tx_range = {snapshot.una_pos, record.tx_end.load()};
  end.receive_room = receive_room(record.memo);
  return end;
}

std::optional<LocalHome> from_arenas(const LocalCases& cases) {
  LocalHome home;
  for (std::size_t side = 0; side < 2; ++side) {
    const auto end = dumped(cases[side]);
    if (!end) return std::nullopt;
    home.ends[side] = *end;
  }
  chimney::settle(home.ends[0], home.ends[1]);
  return home;
}

std::optional<LocalHome> from_pair(const LocalCases& cases, const KeptPair& pair) {
  LocalHome home;
  std::array<ipc::PairPlace, 2> places;
  for (std::size_t side = 0; side < 2; ++side) {
    places[side] = cases[side].record->place;
    if (!fits(pair.memory, places[side])) return std::nullopt;
    const ipc::FlowRecord& record = *cases[side].record;
    home.ends[side] = end_of(record, cases[side].id, pair.memory);
    if (cases[side].arena != nullptr && record.slot < ipc::kSlots)
      follow_options(slot_at(*cases[side].arena, record.slot), home.ends[side].handoff.state);
  }
  auto& connection =
      pair.memory.at<ipc::PairConnection>(ipc::pair_connection_offset(places[0].index));
  auto frozen = freeze_pair(connection, places);
  home.is_sane = frozen.has_value();
  if (!frozen) frozen.emplace();
  for (std::size_t side = 0; side < 2; ++side) {
    home.is_gone[side] = (frozen->ends[side].flags & ipc::pair_flag::kGone) != 0;
    home.resets[side] = !home.is_sane || (frozen->ends[side].flags & ipc::pair_flag::kReset) != 0;
  }
  chimney::take_apart(home.ends[0], home.ends[1], frozen->streams[0], frozen->streams[1]);
  return home;
}

bool is_frozen(const ipc::PairEnd& end) noexcept {
  return ((end.tx_head.load() | end.rx_tail.load()) & ipc::kFrozen) != 0 ||
         (end.flags.load() & ipc::pair_flag::kFrozenFlags) != 0;
}

}  // namespace

ipc::FlowId peer_of(const ipc::FlowRecord* records, ipc::FlowId id) noexcept {
  const ipc::PairPlace& place = records[id].place;
  if (place.peer >= ipc::kFlowRecords) return ipc::kNoFlow;
  const ipc::PairPlace& other = records[place.peer].place;
  const bool is_mutual = other.peer == id && other.pair == place.pair &&
                         other.index == place.index && other.side + place.side == 1;
  return is_mutual ? place.peer : ipc::kNoFlow;
}

LocalTruth truth_of(const LocalCases& cases) noexcept {
  if (!holds_all(*cases[0].record) || !holds_all(*cases[1].record)) return LocalTruth::kSockets;
  for (const LocalCase& one : cases)
    if (one.record->status.load() == FlowStatus::kLocal) return LocalTruth::kPair;
  return LocalTruth::kArenas;
}

bool can_go_on(const LocalCases& cases, const KeptPair& pair) noexcept {
  for (const LocalCase& one : cases) {
    if (one.record->status.load() != FlowStatus::kLocal || one.arena == nullptr ||
        one.record->slot >= ipc::kSlots || !fits(pair.memory, one.record->place))
      return false;
    const ipc::Slot& slot = slot_at(*one.arena, one.record->slot);
    const ipc::SlotMode mode = ipc::mode_of(slot.engine.mode_word.load());
    if (!is_open(slot) || mode == ipc::SlotMode::kInHost || mode == ipc::SlotMode::kOffloading)
      return false;
  }
  const auto& both =
      pair.memory.at<ipc::PairConnection>(ipc::pair_connection_offset(cases[0].record->place.index))
          .end;
  return !is_frozen(both[0]) && !is_frozen(both[1]);
}

std::optional<LocalHome> way_home(const LocalCases& cases, LocalTruth truth, const KeptPair* pair) {
  if (truth == LocalTruth::kArenas) return from_arenas(cases);
  return pair == nullptr ? std::nullopt : from_pair(cases, *pair);
}

}  // namespace snp::daemon
