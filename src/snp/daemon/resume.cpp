// A new engine goes on where another died: programs, then their connections (design section 4).
#include <algorithm>

#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/daemon/local_recovery.h"
#include "snp/daemon/offloader.h"
#include "snp/engine/clock.h"
#include "snp/engine/handoff.h"

namespace snp::daemon {
namespace {

using chimney::Input;
using chimney::Reason;

host::Path path_of(const ipc::FlowRecord& record) {
  host::Path path;
  path.ifindex = record.constant.ifindex;
  path.local_mac = record.cached.local_mac;
  path.next_hop_mac = record.cached.next_hop_mac;
  path.mtu = record.cached.path_mtu;
  return path;
}

}  // namespace

Result<> Offloader::resume(Program& program, ipc::FlowId id, UniqueFd socket, Instant quiet_since) {
  const ipc::FlowRecord& record = env_.records[id];
  const auto cannot = [&record](const char* why) {
    return fail(Errc::kInvalid, to_string(record.constant.tuple) + ": " + why);
  };
  const auto shards = static_cast<std::uint32_t>(env_.settings.number(settings::Setting::kShards));
  if (record.slot >= ipc::kSlots || record.shard >= shards)
    return cannot("the record names no slot or shard");
  if (!env_.devices.contains(record.constant.ifindex)) return cannot("its device is gone");
  if (env_.presence.want(record.constant.ifindex) != Presence::Answer::kHere)
    return cannot("its device takes no steering");
  const auto seen = host::survey(socket.get());
  if (!seen) return tl::unexpected(seen.error());
  if (!program.rings.take(record.rx_ring, record.rx_size)) return cannot("its ring is taken");
  if (!program.rings.take(record.tx_ring, record.tx_size)) {
    program.rings.free(record.rx_ring);
    return cannot("its ring is taken");
  }

  auto owned = std::make_unique<Flow>();
  owned->id = id;
  owned->program = &program;
  owned->slot = record.slot;
  owned->in_use = program.slot(record.slot).app.in_use.load();
  owned->socket = std::move(socket);
  owned->cookie = seen->cookie;
  owned->tuple = record.constant.tuple;
  owned->bound_ifindex = seen->bound_ifindex;
  owned->path = path_of(record);
  owned->shard = record.shard;
  owned->is_bound = true;  // until it is settled
  owned->quiet_since = quiet_since;
  handoff_ = engine::handoff_of(record, id, program.arena->memory.data(), engine::monotonic_now());
  handoff_.buffer_bytes =
      static_cast<std::uint32_t>(env_.settings.number(settings::Setting::kRingBytes));
  owned->account = record.account;
  drive(enter(std::move(owned)), Input::kResumeRequested);
  return {};
}

Result<> Offloader::resume_local(const std::array<Program*, 2>& programs,
                                 const std::array<ipc::FlowId, 2>& ids,
                                 std::array<UniqueFd, 2> sockets) {
  const ipc::PairPlace& place = env_.records[ids[0]].place;
  const auto cannot = [&](const char* why) {
    return fail(Errc::kInvalid, to_string(env_.records[ids[0]].constant.tuple) + ": " + why);
  };
  Pair* pair = pairs_.find(place.pair);
  if (pair == nullptr || pair->programs != programs) return cannot("the memory is another's");
  const PairSeat seat{place.index, {place.tx_ring, place.rx_ring}, place.ring_size};
  if (!pairs_.take_seat(*pair, seat)) return cannot("its ring is taken");
  std::array<LocalTarget::End, 2> ends;
  for (std::size_t side = 0; side < 2; ++side) {
    ipc::FlowRecord& record = env_.records[ids[side]];
    const auto seen = host::survey(sockets[side].get());
    if (!seen) return tl::unexpected(seen.error());
    record.rx_size = record.tx_size = 0;  // of the arena; the pair has the bytes
    auto owned = std::make_unique<Flow>();
    owned->id = ids[side];
    owned->program = programs[side];
    owned->slot = record.slot;
    owned->in_use = programs[side]->slot(record.slot).app.in_use.load();
    owned->socket = std::move(sockets[side]);
    owned->cookie = seen->cookie;
    owned->tuple = record.constant.tuple;
    owned->bound_ifindex = seen->bound_ifindex;
    owned->is_local = true;
    owned->account = record.account;
    owned->handoff.id = ids[side];
    owned->quiet_since = engine::monotonic_now();  // its programs went on
    ends[side] = {ids[side], programs[side], {programs[side]->number, owned->slot, owned->in_use}};
    enter(std::move(owned));
  }
  local_.adopt(*pair, seat, ends);
  for (const ipc::FlowId id : ids)
    drive(*find(id), Input::kResumeRequested);
  local_.dispatch(*this);
  return {};
}

void Offloader::close_books() {
  std::erase_if(free_ids_, [this](ipc::FlowId id) { return flows_.contains(id); });
  env_.accounts.settle(env_.records, [this](ipc::FlowId id) { return find(id) != nullptr; });
  recheck_paths();
}

Result<> Control::adopt_program(KeptProgram& kept) {
  auto arena = parts_.engine.attach(kept.arena.number, std::move(kept.arena.memory),
                                    std::move(kept.arena.bells));
  if (!arena) return tl::unexpected(arena.error());
  for (std::uint32_t id = 1; id < ipc::kWaitSets; ++id)
    if (UniqueFd eventfd(kept.arena.wait_set_fds[id].exchange(-1)); eventfd.is_open())
      parts_.engine.set_wait_set(**arena, static_cast<ipc::WaitSetId>(id), std::move(eventfd));
  auto session = add_session(std::make_unique<Session>(next_session_++, std::move(kept.session),
                                                       kept.pid, kept.uid, UniqueFd()));
  if (!session) return tl::unexpected(session.error());
  add_program(
      std::make_unique<Program>(kept.arena.number, kept.pid, kept.name, std::move(kept.pidfd),
                                std::move(kept.control_bell), **arena),
      *session);
  next_program_ = std::max(next_program_, kept.arena.number + 1);
  return {};
}

// What the program had asked the engine that died, and what it lost with it.
void Control::hear_again(Program& program) {
  for (const ipc::SlotId id : open_slots(program.arena->memory)) {
    const ipc::Slot& slot = program.slot(id);
    const auto reason = static_cast<Reason>(slot.engine.reason.load());
    if (slot.app.request.load() != ipc::SlotRequest::kOffload || Offloader::may_try_again(reason))
      take_request(program, id);
  }
}

void Control::adopt_pairs(Kept& kept) {
  for (auto& [number, pair] : kept.pairs) {
    const auto first = programs_.find(pair.programs[0]);
    const auto second = programs_.find(pair.programs[1]);
    if (first == programs_.end() || second == programs_.end())
      parts_.keeper.tell(KeeperNews::kPairGone, number);
    else
      parts_.offloader.pairs().adopt(number, std::move(pair.memory),
                                     {first->second.get(), second->second.get()},
                                     std::move(pair.lanes));
  }
  kept.pairs.clear();
}

Result<> Control::adopt_local(Kept& kept, ipc::FlowId id) {
  const std::array<ipc::FlowId, 2> ids{id, peer_of(records(), id)};
  std::array<Program*, 2> programs{};
  std::array<UniqueFd, 2> sockets;
  for (std::size_t side = 0; side < 2; ++side) {
    const auto program = programs_.find(records()[ids[side]].arena);
    const auto socket = kept.sockets.find(ids[side]);
    if (program == programs_.end() || socket == kept.sockets.end())
      return fail(Errc::kInvalid, "half a local connection");
    programs[side] = program->second.get();
    sockets[side] = std::move(socket->second);
  }
  return parts_.offloader.resume_local(programs, ids, std::move(sockets));
}

Result<> Control::adopt(Kept& kept) {
  for (const auto& [number, program] : kept.programs)
    if (auto adopted = adopt_program(*program); !adopted) return adopted;
  adopt_pairs(kept);
  for (auto& [id, socket] : kept.sockets) {
    if (records()[id].status.load() == ipc::FlowStatus::kLocal) {
      if (records()[id].place.side == 0)
        if (auto adopted = adopt_local(kept, id); !adopted) return adopted;
      continue;
    }
    const auto program = programs_.find(records()[id].arena);
    if (program == programs_.end()) return fail(Errc::kInvalid, "a connection without a program");
    if (auto resumed = parts_.offloader.resume(*program->second, id, std::move(socket), kept.since);
        !resumed)
      return resumed;
  }
  parts_.offloader.close_books();
  for (const auto& [number, program] : programs_)
    hear_again(*program);
  parts_.offloader.recheck_policy();  // a firewall may have come while nobody looked
  if (!kept.programs.empty())
    spdlog::info("went on with {} program(s) and {} connection(s)", kept.programs.size(),
                 kept.sockets.size());
  kept.programs.clear();
  kept.sockets.clear();
  return {};
}

}  // namespace snp::daemon
