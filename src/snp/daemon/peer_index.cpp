#include "snp/daemon/peer_index.h"

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

// A look at all slots costs tens of nanoseconds a connection.
constexpr Duration kScanEvery = milliseconds(5);

}  // namespace

void PeerIndex::learn(const FourTuple& tuple, const Program& program, ipc::SlotId slot) {
  if (entries_.size() > purge_at_) {
    std::erase_if(entries_, [this](const auto& entry) { return !check(entry.second); });
    purge_at_ = 1024 + 2 * entries_.size();
  }
  entries_[tuple] = {program.number, slot, program.slot(slot).app.in_use.load()};
}

std::optional<PeerIndex::Place> PeerIndex::check(const Entry& entry) const {
  const auto found = programs_.find(entry.program);
  if (found == programs_.end()) return std::nullopt;
  Program& program = *found->second;
  if (program.has_ended || program.arena == nullptr) return std::nullopt;
  const ipc::Slot& slot = program.slot(entry.slot);
  if (slot.app.in_use.load() != entry.in_use || !is_open(slot)) return std::nullopt;
  return Place{&program, entry.slot};
}

bool PeerIndex::look_up(const FourTuple& tuple, Place& out) {
  const auto known = entries_.find(tuple);
  if (known == entries_.end()) return false;
  const auto place = check(known->second);
  if (!place) {
    entries_.erase(known);
    return false;
  }
  out = *place;
  return true;
}

PeerIndex::Answer PeerIndex::find(const FourTuple& tuple, Place& out) {
  if (look_up(tuple, out)) return Answer::kFound;
  if (engine::monotonic_now() - scanned_ < kScanEvery) return Answer::kNotNow;
  scan();
  return look_up(tuple, out) ? Answer::kFound : Answer::kNobody;
}

void PeerIndex::scan() {
  scanned_ = engine::monotonic_now();
  for (const auto& [number, program] : programs_) {
    if (program->has_ended || program->arena == nullptr) continue;
    for (const ipc::SlotId slot : open_slots(program->arena->memory)) {
      if (program->note(slot).is_indexed) continue;
      const auto tuple = program->tuple_of(slot);
      if (!tuple) continue;
      learn(*tuple, *program, slot);
      program->note(slot).is_indexed = true;
    }
  }
}

}  // namespace snp::daemon
