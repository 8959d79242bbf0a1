#include "snp/daemon/pairs.h"

#include <algorithm>
#include <new>

#include <fcntl.h>

#include <spdlog/spdlog.h>

#include "snp/engine/clock.h"
#include "snp/ipc/control_protocol.h"
#include "snp/ipc/message_socket.h"
#include "snp/ipc/pair_stream.h"

namespace snp::daemon {
namespace {

// How long an empty pair stays: connections come one after the other.
constexpr Duration kLinger = seconds(3);
// Calls leave within microseconds; who is stopped inside is asked for less and less often.
constexpr Duration kFirstLook = milliseconds(1);
constexpr Duration kLastLook = milliseconds(200);

Result<ipc::SharedMemory> make_memory(ipc::PairNumber number, std::size_t bytes) {
  auto memory = ipc::SharedMemory::create("snp.pair", ipc::align_page(bytes));
  if (!memory) return memory;
  auto* header = new (memory->data()) ipc::PairHeader;
  header->number = number;
  header->size = memory->size();
  return memory;
}

void start_afresh(ipc::PairConnection& connection) {
  for (ipc::PairEnd& end : connection.end)
    new (&end) ipc::PairEnd;
}

void give_pages_back(const ipc::SharedMemory& memory, std::uint64_t offset, std::uint32_t size) {
  ::fallocate(memory.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
              static_cast<off_t>(size));
}

}  // namespace

Pair* Pairs::find(ipc::PairNumber number) {
  const auto found = pairs_.find(number);
  return found == pairs_.end() ? nullptr : found->second.get();
}

Result<Pair*> Pairs::between(Program& a, Program& b, std::size_t bytes) {
  Pair* pair = nullptr;
  for (const Key& key : {Key{a.number, b.number}, Key{b.number, a.number}})
    if (const auto found = by_programs_.find(key); found != by_programs_.end())
      pair = found->second;
  if (pair == nullptr) {
    auto made = make(a, b, bytes);
    if (!made) return made;
    pair = *made;
  }
  // The switch must find the message in its socket when it meets the pair.
  if (env_.has_unsent(a) || env_.has_unsent(b))
    return fail(Errc::kBusy, "a program does not read what snpd tells it");
  return pair;
}

Result<Pair*> Pairs::make(Program& a, Program& b, std::size_t bytes) {
  const ipc::PairNumber number = next_++;
  auto memory = make_memory(number, bytes);
  if (!memory) return tl::unexpected(memory.error());
  auto owned = std::make_unique<Pair>(number, std::move(*memory));
  Pair& pair = *owned;
  pair.programs = {&a, &b};
  pair.empty_since = engine::monotonic_now();
  // side 0 first: a process that talks to itself is told of both.
  const KeeperMessage message{.news = KeeperNews::kPair,
                              .number = number,
                              .size = pair.memory.size(),
                              .sides = {a.number, b.number}};
  const std::array<int, 1> fds{pair.memory.fd()};
  if (!env_.keeper.tell(message, fds)) return fail(Errc::kSystem, "snpd's keeper is gone");
  if (!announce(pair, 0) || !announce(pair, 1)) {
    env_.keeper.tell(KeeperNews::kPairGone, number);
    return fail(Errc::kBusy, "a program does not read what snpd tells it");
  }
  by_programs_[{a.number, b.number}] = &pair;
  pairs_.emplace(number, std::move(owned));
  // Not for nothing, if no connection comes after all.
  env_.loop.call_at(pair.empty_since + kLinger, [this, number] { remove_if_empty(number); });
  return &pair;
}

bool Pairs::announce(Pair& pair, std::uint32_t side) {
  ipc::PairMessage message;
  message.pair = pair.number;
  message.side = side;
  message.size = pair.memory.size();
  const std::array<int, 2> fds{pair.memory.fd(), pair.programs[1 - side]->pidfd.get()};
  return env_.send(*pair.programs[side], ipc::bytes_of(message), fds);
}

// --- places ---

std::optional<PairSeat> Pairs::seat(Pair& pair, std::uint32_t ring_size) {
  PairSeat seat;
  seat.ring_size = ring_size;
  if (pair.free_indexes.empty() && pair.fresh_index >= ipc::kSlots) return std::nullopt;
  const auto first = pair.rings.allocate(ring_size);
  if (!first) return std::nullopt;
  const auto second = pair.rings.allocate(ring_size);
  if (!second) {
    pair.rings.free(*first);
    return std::nullopt;
  }
  seat.rings = {*first, *second};
  if (pair.free_indexes.empty())
    seat.index = pair.fresh_index++;
  else
    seat.index = pair.free_indexes.extract(pair.free_indexes.begin()).value();
  start_afresh(pair.connection(seat.index));
  ++pair.connections;
  return seat;
}

bool Pairs::take_seat(Pair& pair, const PairSeat& seat) {
  if (seat.index >= ipc::kSlots) return false;
  if (seat.index < pair.fresh_index && !pair.free_indexes.contains(seat.index)) return false;
  if (!pair.rings.take(seat.rings[0], seat.ring_size)) return false;
  if (!pair.rings.take(seat.rings[1], seat.ring_size)) {
    pair.rings.free(seat.rings[0]);
    return false;
  }
  for (; pair.fresh_index <= seat.index; ++pair.fresh_index)
    pair.free_indexes.insert(pair.fresh_index);
  pair.free_indexes.erase(seat.index);
  ++pair.connections;
  return true;
}

void Pairs::leave(Pair& pair, const PairSeat& seat, const std::array<SlotUse, 2>& users) {
  resting_.push_back({pair.number, seat, users, {}});
  look_again();
}

void Pairs::free_seat(Pair& pair, const PairSeat& seat) {
  for (const std::uint64_t offset : seat.rings) {
    give_pages_back(pair.memory, offset, seat.ring_size);
    pair.rings.free(offset);
  }
  pair.free_indexes.insert(seat.index);
  if (--pair.connections > 0) return;
  pair.empty_since = engine::monotonic_now();
  env_.loop.call_at(pair.empty_since + kLinger,
                    [this, number = pair.number] { remove_if_empty(number); });
}

// Nobody who entered before the gate was closed is inside any more; who enters later finds other
// words in the slot.
bool Pairs::has_left(const SlotUse& use) const {
  const Program* program = env_.find_program(use.program);
  if (program == nullptr || program->arena == nullptr) return true;  // the pair goes with it
  const ipc::Slot& slot = program->slot(use.slot);
  return slot.app.in_use.load() != use.in_use || !ipc::has_users(slot);
}

void Pairs::release_when_left(const SlotUse& use) {
  if (release_if_left(use)) return;
  releasing_.push_back(use);
  look_again_later();
}

bool Pairs::release_if_left(const SlotUse& use) {
  if (!has_left(use)) return false;
  const Program* program = env_.find_program(use.program);
  if (program == nullptr || program->arena == nullptr) return true;
  ipc::Slot& slot = program->slot(use.slot);
  if (slot.app.in_use.load() == use.in_use)
    slot.engine.status.fetch_or(ipc::slot_status::kReleased, std::memory_order_release);
  return true;
}

void Pairs::look_again() {
  std::erase_if(resting_, [this](Resting& resting) {
    Pair* pair = find(resting.pair);
    if (pair == nullptr) return true;
    for (std::size_t side = 0; side < 2; ++side)
      resting.has_left[side] = resting.has_left[side] || has_left(resting.users[side]);
    if (!resting.has_left[0] || !resting.has_left[1]) return false;
    free_seat(*pair, resting.seat);
    return true;
  });
  std::erase_if(releasing_, [this](const SlotUse& use) { return release_if_left(use); });
  std::erase_if(late_lanes_, [this](const LateLane& lane) { return ring_if_told(lane); });
  look_again_later();
}

void Pairs::look_again_later() {
  if (is_looking_) return;
  if (resting_.empty() && releasing_.empty() && late_lanes_.empty()) {
    patience_ = kFirstLook;
    return;
  }
  is_looking_ = true;
  patience_ = std::clamp(patience_ * 2, kFirstLook, kLastLook);
  env_.loop.call_at(engine::monotonic_now() + patience_, [this] {
    is_looking_ = false;
    look_again();
  });
}

// --- lanes ---

bool Pairs::add_lane(const Program& program, ipc::PairNumber number, std::uint32_t side,
                     ipc::LaneId id, UniqueFd eventfd) {
  Pair* pair = find(number);
  if (pair == nullptr) return true;  // it has just gone; the program does not know yet
  if (pair->programs[side] != &program) return false;
  // The keeper first: a wake-up that comes later finds it wherever it is looked for.
  const KeeperMessage message{
      .news = KeeperNews::kLane, .number = number, .size = std::uint64_t{side} * ipc::kLanes + id};
  const std::array<int, 1> fds{eventfd.get()};
  env_.keeper.tell(message, fds);
  UniqueFd& known = pair->lanes[side][id];
  known = std::move(eventfd);
  if (!forward(*pair, side, id, known.get())) return false;
  // Its waiter may sleep already, and whoever wanted to wake it have found nothing. That holds
  // until the other side can find the message in its socket.
  ring(*pair, side, id);
  const Program& other = *pair->programs[1 - side];
  if (!other.has_ended && env_.has_unsent(other)) {
    late_lanes_.push_back({number, side, id});
    look_again_later();
  }
  return true;
}

void Pairs::ring(Pair& pair, std::uint32_t side, ipc::LaneId id) {
  const auto known = pair.lanes[side].find(id);
  if (known != pair.lanes[side].end() && !env_.ring(known->second.get()))
    pair.lanes[side].erase(known);
}

bool Pairs::ring_if_told(const LateLane& lane) {
  Pair* pair = find(lane.pair);
  if (pair == nullptr) return true;
  const Program& other = *pair->programs[1 - lane.side];
  if (!other.has_ended && env_.has_unsent(other)) return false;
  ring(*pair, lane.side, lane.id);
  return true;
}

bool Pairs::forward(Pair& pair, std::uint32_t side, ipc::LaneId id, int eventfd) {
  ipc::LaneMessage message;
  message.pair = pair.number;
  message.side = side;
  message.lane = id;
  Program& other = *pair.programs[1 - side];
  if (other.has_ended) return true;
  // A peer that takes no messages harms itself: this lane's waiter is woken by us alone.
  if (!env_.send(other, ipc::bytes_of(message), {&eventfd, 1}))
    spdlog::warn("{} (pid {}) does not read what snpd tells it", other.name, other.pid);
  return true;
}

void Pairs::wake(Pair& pair, std::uint32_t side, ipc::PairIndex index) {
  for (const auto& word : pair.connection(index).end[side].lanes) {
    const ipc::LaneId id = word.load();
    if (id == 0 || id >= ipc::kLanes || !ipc::tell(pair.lane(side, id), index)) continue;
    ring(pair, side, id);
  }
}

// --- the end of a pair ---

void Pairs::remove_if_empty(ipc::PairNumber number) {
  Pair* pair = find(number);
  if (pair == nullptr || pair->connections > 0) return;
  if (engine::monotonic_now() < pair->empty_since + kLinger) return;  // another is on its way
  remove(*pair);
}

void Pairs::remove(Pair& pair) {
  ipc::PairGone gone;
  gone.pair = pair.number;
  for (std::size_t side = 0; side < 2; ++side)
    if (!pair.programs[side]->has_ended && (side == 0 || pair.programs[0] != pair.programs[1]))
      env_.send(*pair.programs[side], ipc::bytes_of(gone), {});
  env_.keeper.tell(KeeperNews::kPairGone, pair.number);
  by_programs_.erase({pair.programs[0]->number, pair.programs[1]->number});
  pairs_.erase(pair.number);
}

void Pairs::end_program(const Program& program) {
  std::vector<Pair*> concerned;
  for (const auto& [number, pair] : pairs_)
    if (pair->programs[0] == &program || pair->programs[1] == &program)
      concerned.push_back(pair.get());
  for (Pair* pair : concerned)
    remove(*pair);
}

void Pairs::adopt(ipc::PairNumber number, ipc::SharedMemory memory,
                  std::array<Program*, 2> programs,
                  std::array<std::map<ipc::LaneId, UniqueFd>, 2> lanes) {
  auto pair = std::make_unique<Pair>(number, std::move(memory));
  pair->programs = programs;
  pair->lanes = std::move(lanes);
  pair->empty_since = engine::monotonic_now();
  by_programs_[{programs[0]->number, programs[1]->number}] = pair.get();
  pairs_.emplace(number, std::move(pair));
  next_ = std::max(next_, number + 1);
  env_.loop.call_at(engine::monotonic_now() + kLinger, [this, number] { remove_if_empty(number); });
}

}  // namespace snp::daemon
