#include "snp/daemon/local_target.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

#include "snp/base/assert.h"
#include "snp/daemon/slot_access.h"
#include "snp/engine/app_words.h"
#include "snp/engine/clock.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Handoff;
using chimney::LocalEnd;
using chimney::LocalStream;
using chimney::Reason;

void copy(const StreamRing& from, const StreamRange& range, const StreamRing& to,
          std::uint64_t at) {
  const auto [a, b] = from.pieces(range.begin, static_cast<std::uint32_t>(range.length()));
  to.copy_in(at, a);
  to.copy_in(at + a.size(), b);
}

}  // namespace

std::optional<FrozenPair> freeze_pair(ipc::PairConnection& connection,
                                      const std::array<ipc::PairPlace, 2>& places) {
  FrozenPair frozen;
  for (std::size_t side = 0; side < 2; ++side)
    frozen.ends[side] = ipc::freeze(connection.end[side]);
  for (std::size_t side = 0; side < 2; ++side) {
    const ipc::FrozenEnd& writer = frozen.ends[side];
    const ipc::FrozenEnd& reader = frozen.ends[1 - side];
    if (!ipc::bytes_between(reader.rx_tail, writer.tx_head, places[side].ring_size) ||
        reader.rx_tail < ipc::kFirstPosition)
      return std::nullopt;
    LocalStream& stream = frozen.streams[side];
    stream.begin = reader.rx_tail;
    stream.end = writer.tx_head;
    stream.has_ended = (writer.flags & ipc::pair_flag::kEnd) != 0;
    stream.first = places[side].tx_base;
    stream.origin = ipc::kFirstPosition;
  }
  return frozen;
}

void follow_options(const ipc::Slot& slot, ConnectionState& state) noexcept {
  if (slot.app.options_generation.load(std::memory_order_acquire) == 0) return;
  engine::apply_options(slot.facts.options, state.constant.tuple.remote.address.is_v4(),
                        state.cached);
}

LocalEnd end_of(const ipc::FlowRecord& record, ipc::FlowId id, const ipc::SharedMemory& memory) {
  LocalEnd end;
  end.handoff.id = id;
  end.handoff.state = ipc::state_of(record, to_ms_ticks(engine::monotonic_now()));
  end.handoff.rx = {memory.data() + record.place.rx_ring, record.place.ring_size};
  end.handoff.tx = {memory.data() + record.place.tx_ring, record.place.ring_size};
  end.receive_room = receive_room(record.memo);
  return end;
}

LocalTarget::Couple* LocalTarget::find(Id id) const {
  const auto found = couples_.find(id);
  return found == couples_.end() ? nullptr : found->second.get();
}

LocalTarget::Id LocalTarget::peer_of(Id id) const {
  const Couple* couple = find(id);
  return couple == nullptr ? ipc::kNoFlow : couple->ends[1 - side_of(*couple, id)].flow;
}

void LocalTarget::couple(Pair& pair, const PairSeat& seat, const std::array<End, 2>& ends) {
  auto couple = std::make_shared<Couple>();
  couple->pair = &pair;
  couple->seat = seat;
  couple->ends = ends;
  for (std::size_t side = 0; side < 2; ++side) {
    ipc::PairPlace& place = records_[ends[side].flow].place;
    place.pair = pair.number;
    place.index = seat.index;
    place.side = static_cast<std::uint32_t>(side);
    place.peer = ends[1 - side].flow;
    place.tx_ring = seat.rings[side];
    place.rx_ring = seat.rings[1 - side];
    place.ring_size = seat.ring_size;
    couples_[ends[side].flow] = couple;
  }
}

void LocalTarget::adopt(Pair& pair, const PairSeat& seat, const std::array<End, 2>& ends) {
  auto couple = std::make_shared<Couple>();
  couple->pair = &pair;
  couple->seat = seat;
  couple->ends = ends;
  couple->phase = Phase::kCarried;
  couple->is_trimmed = false;
  for (std::size_t side = 0; side < 2; ++side) {
    // What was carried before is not known any more: counting begins here.
    couple->first_head[side] =
        ipc::position_of(pair.connection(seat.index).end[side].tx_head.load());
    const Id id = ends[side].flow;
    couples_[id] = couple;
    answers_.push_back([id](chimney::TargetEvents& events) { events.initiated(id); });
  }
}

void LocalTarget::erase(Couple& couple) {
  const std::array<Id, 2> ids{couple.ends[0].flow, couple.ends[1].flow};
  pairs_.leave(*couple.pair, couple.seat, {couple.ends[0].use, couple.ends[1].use});
  for (const Id id : ids) {
    records_[id].place = {};
    couples_.erase(id);
  }
}

void LocalTarget::forget(Id id) {
  if (Couple* couple = find(id); couple != nullptr) erase(*couple);
}

// --- host to target ---

void LocalTarget::initiate(const Handoff& handoff) {
  Couple* couple = find(handoff.id);
  SNP_ASSERT(couple != nullptr);
  if (couple->phase != Phase::kCoupled) return;  // adopted
  couple->arrived[side_of(*couple, handoff.id)] = handoff;
  if (couple->arrived[0] && couple->arrived[1]) join(*couple);
}

void LocalTarget::join(Couple& couple) {
  const std::array<const Handoff*, 2> ends{&*couple.arrived[0], &*couple.arrived[1]};
  std::array<LocalStream, 2> streams;
  for (std::size_t side = 0; side < 2; ++side) {
    const Handoff& writer = *ends[side];
    const Handoff& reader = *ends[1 - side];
    streams[side] = chimney::stream_between(writer, reader, ipc::kFirstPosition);
    const StreamRing ring = couple.pair->ring(couple.seat, static_cast<std::uint32_t>(side));
    SNP_ASSERT(streams[side].end - streams[side].begin <= ring.size);
    copy(reader.rx, reader.rx_range, ring, streams[side].begin);
    copy(writer.tx, writer.tx_range, ring, streams[side].begin + reader.rx_range.length());
    ipc::PairEnd& end = couple.pair->connection(couple.seat.index).end[side];
    end.tx_head.store(streams[side].end);
    const bool is_deaf = records_[couple.ends[side].flow].memo.shutdown_read != 0;
    end.flags.store((streams[side].has_ended ? ipc::pair_flag::kEnd : 0) |
                    (is_deaf ? ipc::pair_flag::kDeaf : 0));
    couple.first_head[side] = streams[side].end;
  }
  // Both know their bases before either counts as local: from then on the pair tells the truth.
  for (std::size_t side = 0; side < 2; ++side)
    place(couple, side, streams[side], streams[1 - side]);
  for (std::size_t side = 0; side < 2; ++side) {
    const Id id = couple.ends[side].flow;
    records_[id].status.store(ipc::FlowStatus::kLocal);
    answers_.push_back([id](chimney::TargetEvents& events) { events.initiated(id); });
  }
  couple.arrived = {};
  couple.phase = Phase::kCarried;
  couple.is_trimmed = false;
}

void LocalTarget::place(Couple& couple, std::size_t side, const LocalStream& out,
                        const LocalStream& in) {
  const End& end = couple.ends[side];
  ipc::PairPlace& place = records_[end.flow].place;
  place.tx_base = out.first;
  place.rx_base = in.first;
  if (end.program->arena == nullptr) return;
  ipc::SlotEngineSide& words = end.program->slot(end.use.slot).engine;
  words.rx_ring = place.rx_ring;
  words.tx_ring = place.tx_ring;
  words.rx_size = words.tx_size = place.ring_size;
  words.pair_side = static_cast<std::uint8_t>(side);
  words.pair = place.pair;
  words.pair_index = place.index;
}

// --- target to host ---

void LocalTarget::terminate(Id id, Duration /*patience*/) {
  Couple* couple = find(id);
  SNP_ASSERT(couple != nullptr && couple->phase == Phase::kCarried);
  const std::size_t side = side_of(*couple, id);
  couple->is_asked[side] = true;
  if (couple->is_asked[1 - side]) return take_apart(*couple);
  answers_.push_back([peer = couple->ends[1 - side].flow](chimney::TargetEvents& events) {
    events.upload_requested(peer, Reason::kPeerMoves);
  });
}

void LocalTarget::take_apart(Couple& couple) {
  const std::array<ipc::FlowRecord*, 2> records{&records_[couple.ends[0].flow],
                                                &records_[couple.ends[1].flow]};
  std::array<LocalEnd, 2> ends;
  for (std::size_t side = 0; side < 2; ++side) {
    const End& end = couple.ends[side];
    ends[side] = end_of(*records[side], end.flow, couple.pair->memory);
    if (end.program->arena == nullptr) continue;
    const ipc::Slot& slot = end.program->slot(end.use.slot);
    if (slot.app.in_use.load() == end.use.in_use) follow_options(slot, ends[side].handoff.state);
  }
  auto frozen = freeze_pair(couple.pair->connection(couple.seat.index),
                            {records[0]->place, records[1]->place});
  const bool is_hostile = !frozen;
  if (is_hostile) frozen.emplace();
  for (std::size_t side = 0; side < 2; ++side) {
    const std::uint32_t flags = frozen->ends[side].flags;
    couple.words[side] = {
        (flags & ipc::pair_flag::kGone) != 0, (flags & ipc::pair_flag::kReset) != 0, is_hostile,
        is_hostile ? Traffic{}
                   : Traffic{frozen->ends[side].rx_tail - ipc::kFirstPosition,
                             frozen->ends[side].tx_head - couple.first_head[side]}};
    past_bytes_ += frozen->streams[side].begin - frozen->streams[side].origin;
  }
  chimney::take_apart(ends[0], ends[1], frozen->streams[0], frozen->streams[1]);
  couple.phase = Phase::kApart;
  for (const LocalEnd& end : ends)
    answers_.push_back([handoff = end.handoff](chimney::TargetEvents& events) {
      events.terminated(handoff.id, handoff);
    });
}

bool LocalTarget::is_reset(Id id) const {
  const Couple* couple = find(id);
  if (couple == nullptr || couple->phase != Phase::kCarried) return false;
  const auto& both = couple->pair->connection(couple->seat.index).end;
  return ((both[0].flags.load() | both[1].flags.load()) & ipc::pair_flag::kReset) != 0;
}

int LocalTarget::error_of(Id id) const {
  const Couple* couple = find(id);
  if (couple == nullptr) return ECONNRESET;
  const auto& peer = couple->pair->connection(couple->seat.index).end[1 - side_of(*couple, id)];
  return (peer.flags.load() & ipc::pair_flag::kEnd) != 0 ? EPIPE : ECONNRESET;
}

LocalTarget::LastWords LocalTarget::last_words(Id id) const {
  const Couple* couple = find(id);
  return couple == nullptr ? LastWords{} : couple->words[side_of(*couple, id)];
}

// --- ends ---

void LocalTarget::on_closed(Id id) {
  Couple* couple = find(id);
  if (couple != nullptr && couple->phase == Phase::kCarried) end(*couple, side_of(*couple, id));
}

// What the kernel does at process exit, in the words of the pair.
void LocalTarget::on_died(Id id) {
  using namespace ipc::pair_flag;  // NOLINT(google-build-using-namespace)
  Couple* couple = find(id);
  if (couple == nullptr || couple->phase != Phase::kCarried) return;
  const std::size_t side = side_of(*couple, id);
  auto& both = couple->pair->connection(couple->seat.index).end;
  const auto left = ipc::bytes_between(both[side].rx_tail.load(), both[1 - side].tx_head.load(),
                                       couple->seat.ring_size);
  const bool has_read_all = left.has_value() && *left == 0;
  const std::uint32_t flags = both[side].flags.load();
  const bool was_over = ipc::is_over(flags, both[1 - side].flags.load());
  const std::uint32_t says = was_over ? 0 : has_read_all ? kEnd : kReset;
  if ((flags & kGone) == 0) (void)ipc::add_flags(both[side].flags, kGone | says);
  if (!was_over)
    pairs_.wake(*couple->pair, static_cast<std::uint32_t>(1 - side), couple->seat.index);
  end(*couple, side);
}

void LocalTarget::end(Couple& couple, std::size_t side) {
  if (couple.is_over[side]) return;
  couple.is_over[side] = true;
  if (!couple.is_over[1 - side]) return;
  const auto& both = couple.pair->connection(couple.seat.index).end;
  for (const ipc::PairEnd& reader : both)
    past_bytes_ += ipc::position_of(reader.rx_tail.load()) - ipc::kFirstPosition;
  const std::array<Id, 2> ids{couple.ends[0].flow, couple.ends[1].flow};
  erase(couple);
  for (const Id id : ids)
    answers_.push_back([id](chimney::TargetEvents& events) { events.finished(id); });
}

void LocalTarget::dispatch(chimney::TargetEvents& events) {
  while (!answers_.empty()) {
    const std::vector<Answer> answers = std::exchange(answers_, {});
    for (const Answer& answer : answers)
      answer(events);
  }
}

// --- figures, memory ---

std::optional<LocalTarget::Traffic> LocalTarget::traffic(Id id) const {
  const Couple* couple = find(id);
  if (couple == nullptr || couple->phase != Phase::kCarried) return std::nullopt;
  const std::size_t side = side_of(*couple, id);
  const ipc::PairEnd& end = couple->pair->connection(couple->seat.index).end[side];
  return Traffic{ipc::position_of(end.rx_tail.load()) - ipc::kFirstPosition,
                 ipc::position_of(end.tx_head.load()) - couple->first_head[side]};
}

std::optional<Positions> LocalTarget::positions(Id id) const {
  const Couple* couple = find(id);
  if (couple == nullptr || couple->phase != Phase::kCarried) return std::nullopt;
  const std::size_t side = side_of(*couple, id);
  const auto& both = couple->pair->connection(couple->seat.index).end;
  return Positions{ipc::position_of(both[1 - side].tx_head.load()),
                   ipc::position_of(both[side].tx_head.load())};
}

LocalTarget::Counters LocalTarget::counters() const {
  Counters counters;
  counters.bytes = past_bytes_;
  for (const auto& [id, couple] : couples_) {
    if (couple->phase != Phase::kCarried || couple->ends[0].flow != id) continue;
    ++counters.connections;
    for (const ipc::PairEnd& reader : couple->pair->connection(couple->seat.index).end)
      counters.bytes += ipc::position_of(reader.rx_tail.load()) - ipc::kFirstPosition;
  }
  return counters;
}

void LocalTarget::trim() {
  for (const auto& [id, couple] : couples_)
    if (couple->phase == Phase::kCarried && couple->ends[0].flow == id) trim(*couple);
}

void LocalTarget::trim(Couple& couple) {
  const auto& both = couple.pair->connection(couple.seat.index).end;
  std::uint64_t sum = 0;
  bool is_empty = true;
  for (std::size_t side = 0; side < 2; ++side) {
    sum += both[side].tx_head.load() + both[side].rx_tail.load();
    is_empty &= both[side].tx_head.load() == both[1 - side].rx_tail.load();
  }
  const bool stood_still = std::exchange(couple.seen, sum) == sum;
  if (!stood_still) couple.is_trimmed = false;
  if (!stood_still || !is_empty || couple.is_trimmed) return;

  std::array<ipc::Slot*, 2> slots{};
  for (std::size_t side = 0; side < 2; ++side) {
    const End& end = couple.ends[side];
    if (couple.is_over[side] || end.program->arena == nullptr) continue;
    slots[side] = &end.program->slot(end.use.slot);
    if (slots[side]->app.in_use.load() != end.use.in_use ||
        ipc::mode_of(slots[side]->engine.mode_word.load()) != ipc::SlotMode::kOffloaded)
      return;
  }
  // A writer in the middle of its call has put bytes behind tx_head: only while nobody is inside.
  bool is_alone = true;
  std::array<std::uint32_t, 2> words{};
  for (std::size_t side = 0; side < 2; ++side) {
    if (slots[side] == nullptr) continue;
    words[side] = ipc::close_for_a_moment(*slots[side]);
    is_alone &= !ipc::has_users(*slots[side]);
  }
  for (std::size_t side = 0; side < 2; ++side)
    is_alone &= both[side].tx_head.load() == both[1 - side].rx_tail.load();
  if (is_alone) {
    for (const std::uint64_t offset : couple.seat.rings)
      ::fallocate(couple.pair->memory.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset), static_cast<off_t>(couple.seat.ring_size));
    couple.is_trimmed = true;
  }
  for (std::size_t side = 0; side < 2; ++side)
    if (slots[side] != nullptr) ipc::reopen(*slots[side], words[side]);
}

}  // namespace snp::daemon
