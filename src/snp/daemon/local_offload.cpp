// Connections whose other end is on this host, too: both ends are flows, driven in step. What the
// design says of one socket holds for both before the next step is done: gates, filters, dumps,
// emptied; and on the way back refilled, awake, unsent bytes.
#include <algorithm>
#include <bit>

#include <sys/socket.h>

#include <spdlog/spdlog.h>

#include "snp/daemon/offloader.h"
#include "snp/daemon/record_journal.h"
#include "snp/daemon/refill_pair.h"
#include "snp/engine/clock.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Action;
using chimney::Input;
using chimney::LocalEnd;
using chimney::OffloadState;
using chimney::Reason;
using chimney::Step;
using settings::Setting;

bool has_closed(const ipc::Slot* slot) {
  return slot == nullptr || (slot->app.flags.load() & ipc::slot_flag::kClosed) != 0;
}

// Our descriptor is the last: close() must not wait for a peer.
void never_linger(int fd) {
  const linger none{0, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

SlotUse use_of(const Flow& flow) {
  return {flow.program->number, flow.slot, flow.in_use};
}

// What the streams between the ends hold, at most.
std::uint64_t most_queued(const host::Parked& a, const host::Parked& b) {
  return std::max(a.rx_range.length() + b.tx_range.length(),
                  b.rx_range.length() + a.tx_range.length());
}

}  // namespace

void Offloader::add_program(Program& program) {
  programs_[program.number] = &program;
}

Reason Offloader::find_peer(const FourTuple& tuple) {
  PeerIndex::Place place;
  switch (peers_.find(mirrored(tuple), place)) {
    case PeerIndex::Answer::kFound:
      return Reason::kOffloaded;
    case PeerIndex::Answer::kNotNow:
      return Reason::kBusy;
    case PeerIndex::Answer::kNobody:
      break;
  }
  return Reason::kLoopback;
}

// --- host to target ---

Reason Offloader::find_second(const Flow& first, Flow& second) {
  PeerIndex::Place place;
  if (peers_.find(mirrored(first.tuple), place) != PeerIndex::Answer::kFound)
    return Reason::kLoopback;
  if (first.tuple == mirrored(first.tuple)) return Reason::kState;  // connected to itself
  Program& program = *place.program;
  if (find(program.note(place.slot).flow) != nullptr) return Reason::kBusy;
  second.program = &program;
  second.slot = place.slot;
  const chimney::Verdict verdict = judge(program, place.slot, second, true);
  if (!verdict.is_yes()) {
    program.slot(place.slot).engine.reason.store(static_cast<std::uint16_t>(verdict.reason));
    return may_try_again(verdict.reason) ? Reason::kBusy : Reason::kPeerMoves;
  }
  if (second.tuple != mirrored(first.tuple)) return Reason::kBusy;  // the slot has changed hands
  if (verdict.rule != nullptr) second.treatment = verdict.rule->treatment;
  prepare_stay(second, verdict, false);
  return Reason::kOffloaded;
}

Reason Offloader::start_local(std::unique_ptr<Flow> first, const Done& done) {
  Program& program = *first->program;
  auto second = std::make_unique<Flow>();
  if (const Reason reason = find_second(*first, *second); reason != Reason::kOffloaded)
    return reason;
  if (free_ids_.size() < 2 || !has_room()) return Reason::kTargetFull;
  auto pair =
      pairs_.between(program, *second->program,
                     static_cast<std::size_t>(env_.settings.number(Setting::kLocalPairBytes)));
  if (!pair) return pair.error().code == Errc::kBusy ? Reason::kBusy : Reason::kArenaFull;

  std::array<ipc::FlowId, 2> ids{};
  std::size_t i = 0;
  for (std::unique_ptr<Flow>* owned : {&first, &second}) {
    (*owned)->is_local = true;
    (*owned)->quiet_since = engine::monotonic_now();
    ids[i++] = enrol(std::move(*owned)).id;
  }
  return move_both(**pair, ids, done);
}

Reason Offloader::move_both(Pair& pair, const std::array<ipc::FlowId, 2>& ids, const Done& done) {
  const std::array<Program*, 2> programs{find(ids[0])->program, find(ids[1])->program};
  std::array<Reason, 2> reasons{};
  for (std::size_t i = 0; i < 2; ++i) {
    drive(*find(ids[i]), Input::kOffloadRequested);
    reasons[i] = find(ids[i]) != nullptr ? Reason::kOffloaded : freed_for_;
  }
  if (reasons[0] == Reason::kOffloaded && reasons[1] == Reason::kOffloaded)
    reasons[0] = reasons[1] = take_both(pair, *find(ids[0]), *find(ids[1]));
  if (reasons[0] != Reason::kOffloaded || reasons[1] != Reason::kOffloaded) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (reasons[i] == Reason::kOffloaded)
        reasons[i] = may_try_again(reasons[1 - i]) ? Reason::kBusy : Reason::kPeerMoves;
      if (Flow* flow = find(ids[i]); flow != nullptr) {
        flow->reason = reasons[i];
        drive(*flow, Input::kGateBusy);
      }
      hand_over_ended(*programs[i]);
    }
    return reasons[0];
  }
  if (done) find(ids[0])->waiting.push_back(done);
  for (const ipc::FlowId id : ids)
    drive(*find(id), Input::kGateClosed);
  local_.dispatch(*this);
  for (const ipc::FlowId id : ids)
    if (Flow* flow = find(id); flow != nullptr && flow->is_spoilt)
      upload(*flow, Reason::kParkFailed, {});
  return Reason::kOffloaded;
}

// Pre: both gates are closed. Post, unless it says why not: both sockets are silent and whole, what
// they held is in the rings of the programs' arenas, the records tell it, and the two are a couple.
// Else both sockets are as they were.
Reason Offloader::take_both(Pair& pair, Flow& first, Flow& second) {
  const std::array<Flow*, 2> flows{&first, &second};
  Reason reason = Reason::kOffloaded;
  for (Flow* flow : flows)
    if (reason == Reason::kOffloaded) reason = silence_end(*flow);
  for (Flow* flow : flows)
    if (reason == Reason::kOffloaded) reason = dump_end(*flow);
  if (reason == Reason::kOffloaded) reason = settle_both(pair, first, second);
  if (reason == Reason::kOffloaded) {
    note_local_start(first, second);
    note_local_start(second, first);
    for (Flow* flow : flows) {
      RecordJournal(env_.records[flow->id], flow->path).before_emptying(flow->parked);
      offloads_.queued_bytes += flow->parked.rx_range.length() + flow->parked.tx_range.length();
    }
    return reason;
  }
  for (const Flow* flow : flows) {
    ipc::FlowRecord& record = env_.records[flow->id];
    if (record.status.load() == ipc::FlowStatus::kSilenced)
      if (const auto released = host::release(flow->socket.get(), record.memo); !released)
        spdlog::error("{}: {}", to_string(flow->tuple), released.error().message);
    record.status.store(ipc::FlowStatus::kParking);
  }
  return reason;
}

Reason Offloader::silence_end(Flow& flow) {
  if (!env_.keeper.tell(KeeperNews::kSocket, flow.id, 0, flow.socket.get()))
    return Reason::kHandoverFailed;
  RecordJournal journal(env_.records[flow.id], flow.path);
  const auto memo = host::silence(flow.socket.get(), &journal);
  if (memo) return Reason::kOffloaded;
  env_.records[flow.id].status.store(ipc::FlowStatus::kParking);  // it is as it was
  return explain_park(flow, memo.error());
}

Reason Offloader::dump_end(Flow& flow) {
  const ipc::FlowRecord& record = env_.records[flow.id];
  std::byte* base = flow.program->arena->memory.data();
  chimney::Handoff& handoff = flow.handoff;
  handoff.id = flow.id;
  handoff.rx = {base + record.rx_ring, record.rx_size};
  handoff.tx = {base + record.tx_ring, record.tx_size};
  auto parked = host::dump(flow.socket.get(), record.memo, handoff.rx, ipc::kFirstPosition,
                           handoff.tx, ipc::kFirstPosition);
  if (!parked) return explain_park(flow, parked.error());
  flow.parked = *parked;
  note_keepalive(flow.program->slot(flow.slot), record.memo);
  complete(flow.parked.state, flow.path);
  handoff.state = flow.parked.state;
  handoff.rx_range = flow.parked.rx_range;
  handoff.tx_range = flow.parked.tx_range;
  return Reason::kOffloaded;
}

Reason Offloader::settle_both(Pair& pair, Flow& first, Flow& second) {
  if (!chimney::are_each_other(first.handoff, second.handoff)) return Reason::kNotEachOther;
  const std::uint64_t queued = most_queued(first.parked, second.parked);
  const auto most = static_cast<std::uint64_t>(env_.settings.number(Setting::kRingMaxBytes));
  const std::uint64_t size = std::bit_ceil(
      std::max(queued, static_cast<std::uint64_t>(env_.settings.number(Setting::kLocalRingBytes))));
  if (size > std::max<std::uint64_t>(std::bit_floor(most), 4096)) return Reason::kQueuesTooLarge;
  const auto seat = pairs_.seat(pair, static_cast<std::uint32_t>(size));
  if (!seat) return Reason::kArenaFull;

  LocalEnd a{first.handoff, 0};
  LocalEnd b{second.handoff, 0};
  chimney::settle(a, b);
  first.handoff = a.handoff;
  second.handoff = b.handoff;
  // In a process that talks to itself side 0 is whoever asked.
  const std::size_t side = pair.programs[0] == first.program ? 0 : 1;
  std::array<LocalTarget::End, 2> ends;
  ends[side] = {first.id, first.program, use_of(first)};
  ends[1 - side] = {second.id, second.program, use_of(second)};
  local_.couple(pair, *seat, ends);
  return Reason::kOffloaded;
}

// Whatever is left of the socket is silent. The connection goes on in memory, and comes home at
// once; at the worst it is lost then.
Input Offloader::empty_end(Flow& flow) {
  if (const auto emptied = host::empty(flow.socket.get(), flow.parked); !emptied) {
    spdlog::error("{}: {}", to_string(flow.tuple), emptied.error().message);
    flow.is_spoilt = true;
  }
  return Input::kParked;
}

// What the lifecycle asks of an end. Nothing returned: the other end comes first.
std::optional<Input> Offloader::carry_out_local(Flow& flow, Action action) {
  switch (action) {
    case Action::kCloseGate:
      if (flow.lifecycle.state() == OffloadState::kUploading) {
        // Nobody is waited for: whoever is inside finds the streams frozen.
        if (ipc::Slot* slot = slot_of(flow); slot != nullptr)
          ipc::set_mode(*slot, ipc::SlotMode::kUploading);
        return Input::kGateClosed;
      }
      return shut_gate(flow) == Input::kGateBusy ? std::optional(Input::kGateBusy) : std::nullopt;
    case Action::kOpenGateToHost:
      open_gate_to_host(flow);
      break;
    case Action::kOpenGateToTarget:
      set_slot_mode(flow, ipc::SlotMode::kOffloaded, flow.reason);
      break;
    case Action::kPark:
      return empty_end(flow);
    case Action::kInitiate:
      ++initiating_;
      local_.initiate(flow.handoff);
      break;
    case Action::kTerminate:
      ++uploads_running_;
      local_.terminate(flow.id, Duration::zero());
      break;
    case Action::kBury:
      host::bury(flow.socket.get());
      break;
    case Action::kFree:
      free_flow(flow);
      break;
    default:  // there is no steering, and kUnpark is done for both, see refill_both()
      break;
  }
  return std::nullopt;
}

// --- target to host ---

void Offloader::run_local_upload(Flow& flow) {
  const std::array<ipc::FlowId, 2> ids{flow.id, local_.peer_of(flow.id)};
  for (const ipc::FlowId id : ids)
    notice_local_close(*find(id));
  if (!local_.knows(ids[0])) return local_.dispatch(*this);  // both have closed
  if (local_.is_reset(ids[0])) return refuse_local_upload(ids);
  for (const ipc::FlowId id : ids) {
    Flow& end = *find(id);
    end.quiet_since = engine::monotonic_now();
    end.reason = Reason::kOffloaded;  // for as long as it is not home
    if (std::exchange(end.is_upload_wanted, true)) continue;
    end.upload_reason = Reason::kPeerMoves;
    ++end.program->hand_overs_on;
  }
  for (const ipc::FlowId id : ids)
    drive(*find(id), Input::kUploadRequested);
  local_.dispatch(*this);
  forgive_gaps(*find(ids[0]));
  refill_both(ids);
}

// One end has reset the other: the host has nothing to go on with. What is unread is read from the
// pair, and whoever waits for the way home is told of the error instead.
void Offloader::refuse_local_upload(const std::array<ipc::FlowId, 2>& ids) {
  for (const ipc::FlowId id : ids) {
    Flow& flow = *find(id);
    if (ipc::Slot* slot = slot_of(flow); slot != nullptr) {
      slot->engine.error.store(local_.error_of(id));
      slot->engine.status.fetch_or(ipc::slot_status::kError);
      env_.engine.notify(*flow.program->arena, flow.slot);
    }
    if (!flow.is_upload_wanted) continue;
    // Over, by what one of the programs did: no failure of the hand-over.
    flow.is_upload_wanted = false;
    answer(flow, reason_as_result(flow.tuple, Reason::kState));
    hand_over_ended(*flow.program);
  }
}

// Pre: both handoffs are there.
void Offloader::refill_both(const std::array<ipc::FlowId, 2>& ids) {
  const std::array<Flow*, 2> flows{find(ids[0]), find(ids[1])};
  std::array<LocalTarget::LastWords, 2> words;
  const auto end = [&](std::size_t i) -> EndToRefill {
    words[i] = local_.last_words(ids[i]);
    follow_shutdown(slot_of(*flows[i]), env_.records[ids[i]].memo);
    return {flows[i]->socket.get(), env_.records[ids[i]].memo, flows[i]->handoff,
            words[i].is_reset || words[i].is_hostile};
  };
  const std::array<Result<host::Refilled>, 2> refilled = refill_pair({end(0), end(1)});
  // From here on the host has them: nobody may refill them again.
  for (const ipc::FlowId id : ids) {
    env_.records[id].status.store(ipc::FlowStatus::kFree);
    env_.keeper.tell(KeeperNews::kForget, id);
  }
  local_.forget(ids[0]);
  const std::array<LifePositions, 2> told{told_when_local(flows[0]->handoff, flows[1]->handoff),
                                          told_when_local(flows[1]->handoff, flows[0]->handoff)};
  for (std::size_t i = 0; i < 2; ++i)
    end_local_upload(*flows[i], words[i], told[i], refilled[i]);
}

void Offloader::end_local_upload(Flow& flow, const LocalTarget::LastWords& words,
                                 const LifePositions& told,
                                 const Result<host::Refilled>& refilled) {
  Program& program = *flow.program;
  if (words.is_gone) leave_to_us(flow);
  if (flow.lifecycle.is_orphan() && !words.is_reset) never_linger(flow.socket.get());
  flow.stay.bytes = words.traffic.in + words.traffic.out;
  if (words.is_hostile) flow.reason = Reason::kHostile;
  flow.is_home = refilled.has_value();
  if (slot_of(flow) != nullptr) {
    SlotNote& note = program.note(flow.slot);
    note.local_in += words.traffic.in;
    note.local_out += words.traffic.out;
  }
  if (!refilled) {
    flow.reason = Reason::kUnparkFailed;
    ++uploads_.failed;
    spdlog::error("{}: cannot bring it home: {}", to_string(flow.tuple), refilled.error().message);
  }
  if (refilled) note_return(flow, flow.handoff, told, refilled->mark, refilled->filtered);
  drive(flow, refilled ? Input::kUnparked : Input::kUnparkFailed);
  hand_over_ended(program);
}

// --- ends ---

// The application has closed: its slot is free once nobody is inside, the rest is ours.
void Offloader::leave_to_us(Flow& flow) {
  if (flow.lifecycle.is_orphan()) return;
  if (ipc::Slot* slot = slot_of(flow); slot != nullptr) {
    ipc::set_mode(*slot, ipc::SlotMode::kUploading);
    env_.records[flow.id].slot = ipc::kNoSlot;  // it will be another's
    pairs_.release_when_left(use_of(flow));
  }
  drive(flow, Input::kAppClosed);
}

void Offloader::notice_local_close(Flow& flow) {
  if (flow.lifecycle.is_orphan() || !has_closed(slot_of(flow))) return;
  end_stay(flow);
  leave_to_us(flow);
  local_.on_closed(flow.id);
}

void Offloader::app_closed(Program& program, ipc::SlotId slot) {
  Flow* flow = find(program.note(slot).flow);
  if (flow == nullptr || !flow->is_local) return;
  notice_local_close(*flow);
  local_.dispatch(*this);
}

// --- figures ---

std::optional<Offloader::LocalView> Offloader::local_view(const Flow& flow) {
  if (!flow.is_local) return std::nullopt;
  LocalView view;
  if (const Flow* peer = find(local_.peer_of(flow.id)); peer != nullptr) view.peer = peer->program;
  view.traffic = local_.traffic(flow.id).value_or(LocalTarget::Traffic{});
  return view;
}

}  // namespace snp::daemon
