#include "snp/daemon/recovery.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <set>
#include <vector>

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "snp/chimney/reason.h"
#include "snp/daemon/accounts.h"
#include "snp/daemon/life.h"
#include "snp/daemon/local_recovery.h"
#include "snp/daemon/refill_pair.h"
#include "snp/daemon/reinjector.h"
#include "snp/daemon/slot_access.h"
#include "snp/engine/clock.h"
#include "snp/engine/wake_guard.h"
#include "snp/host/conntrack.h"
#include "snp/host/footprint.h"
#include "snp/host/parking.h"
#include "snp/wire/headers.h"

namespace snp::daemon {
namespace {

// Calls inside the gate end within microseconds, unless their process is not given the CPU.
constexpr Duration kGateLimit = milliseconds(2);
// For all of those together, when everything else is home.
constexpr Duration kSlowGates = milliseconds(500);

bool is_ready_for(int fd, short events) {
  pollfd poll_fd{fd, events, 0};
  return ::poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & events) != 0;
}

// Waiters that are to be told, once everything is where it belongs.
class Wakes {
 public:
  void note(KeptProgram& program, ipc::WaitSetId id) { wanted_.emplace(&program, id); }

  // An application can fill its eventfd and make writing to it block. A full one is readable, so
  // its waiter is awake and nothing is written; what it changes between the look and the write is
  // the guard's to end.
  void tell() {
    engine::WakeGuard guard;
    guard.set_thread(::pthread_self());
    const engine::WakeWatch watch({&guard});
    for (const auto& [program, id] : wanted_) {
      engine::Arena& arena = program->arena;
      const int eventfd = arena.wait_set_fds[id].load();
      if (eventfd < 0 || wait_set_at(arena.memory, id).sleeping.exchange(0) == 0) continue;
      if (is_ready_for(eventfd, POLLOUT)) guard.wake(arena, id);
    }
  }

 private:
  std::set<std::pair<KeptProgram*, ipc::WaitSetId>> wanted_;
};

// One connection and what the record names.
struct Case {
  ipc::FlowRecord& record;
  int fd = -1;
  KeptProgram* program = nullptr;  // nullptr: unknown, or gone
  ipc::Slot* slot = nullptr;       // nullptr: the engine knew that the application has closed
  std::string why{};               // of what went wrong

  [[nodiscard]] std::uint32_t flags() const { return slot == nullptr ? 0 : slot->app.flags.load(); }
  // The application has closed, whether the engine knew or not.
  [[nodiscard]] bool is_orphan() const {
    return slot == nullptr || (flags() & ipc::slot_flag::kClosed) != 0;
  }
};

class Recovery {
 public:
  // kBusy: a call is inside the gate, which is shut now. Try again, the last time with force.
  enum class Outcome { kHome, kFinished, kLost, kWaits, kBusy };

  Recovery(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering, Aim aim,
           const LedgerMemory* ledger)
      : kept_(kept), records_(records), steering_(steering), aim_(aim), ledger_(ledger) {
    if (auto opened = Reinjector::open()) reinjector_ = std::move(*opened);
  }

  Case look_up(ipc::FlowId id, int fd) {
    Case found{records_[id], fd};
    const auto program = kept_.programs.find(found.record.arena);
    if (program != kept_.programs.end()) found.program = program->second.get();
    if (found.program != nullptr && found.record.slot < ipc::kSlots)
      found.slot = &slot_at(found.program->arena.memory, found.record.slot);
    return found;
  }

  Outcome bring(Case& one, Duration patience, bool is_last_time) {
    switch (one.record.status.load()) {
      case ipc::FlowStatus::kFree:
        return Outcome::kFinished;
      case ipc::FlowStatus::kParking:
      case ipc::FlowStatus::kSilenced:
        return let_go(one);
      default:
        break;
    }
    if (can_resume(one)) resumable_.insert(one.slot);
    if (aim_ == Aim::kResume && resumable_.contains(one.slot)) return leave(one);
    if (!rings_fit(one)) return give_up(one, "its rings are gone");
    if (!one.is_orphan() && !shut_gate(one, patience)) {
      if (!is_last_time) return Outcome::kBusy;
      if (aim_ != Aim::kForGood && resumable_.contains(one.slot)) return leave(one);
      one.why = to_string(one.record.constant.tuple) + ": came home around a call that did not end";
    }
    return refill(one);
  }

  // Both ends of a local connection. Nobody is waited for: streams can be frozen.
  std::array<Outcome, 2> bring_pair(std::array<Case, 2>& ends,
                                    const std::array<ipc::FlowId, 2>& ids) {
    LocalCases cases;
    for (std::size_t i = 0; i < 2; ++i)
      cases[i] = {ids[i], &ends[i].record,
                  ends[i].program != nullptr ? &ends[i].program->arena.memory : nullptr};
    const LocalTruth truth = truth_of(cases);
    if (truth == LocalTruth::kSockets) return {release_end(ends[0]), release_end(ends[1])};
    const auto kept = kept_.pairs.find(ends[0].record.place.pair);
    const KeptPair* pair = kept == kept_.pairs.end() ? nullptr : &kept->second;
    if (aim_ == Aim::kResume && truth == LocalTruth::kPair && pair != nullptr &&
        can_go_on(cases, *pair))
      return {leave(ends[0]), leave(ends[1])};
    for (const Case& one : ends)
      if (!one.is_orphan()) ipc::set_mode(*one.slot, ipc::SlotMode::kUploading);
    const auto home = way_home(cases, truth, pair);
    if (!home)
      return {give_up(ends[0], "its memory is gone"), give_up(ends[1], "its memory is gone")};
    return refill_ends(ends, *home);
  }

  // Connections that the engine had stopped at the gate and not yet told of; and those that their
  // programs closed without an engine to hear of it.
  void settle_slots(KeptProgram& program) {
    for_each_slot(program.arena.memory, [&](ipc::SlotId id, ipc::Slot& slot) {
      if (waiting_.contains(&slot) || !is_allocated(slot.app.in_use.load())) return;
      const std::uint32_t status = slot.engine.status.load();
      if ((status & ipc::slot_status::kReleased) != 0) return;
      if ((slot.app.flags.load() & ipc::slot_flag::kClosed) != 0)
        slot.engine.status.store(status | ipc::slot_status::kReleased);
      else if (ipc::mode_of(slot.engine.mode_word.load()) != ipc::SlotMode::kInHost)
        reopen(program, id, slot, chimney::Reason::kEngineDied);
    });
  }

  void wake_all() { wakes_.tell(); }

 private:
  // It stays as it is until an engine comes.
  Outcome leave(const Case& one) {
    waiting_.insert(one.slot);
    if (ipc::mode_of(one.slot->engine.mode_word.load()) != ipc::SlotMode::kOffloaded)
      ipc::set_mode(*one.slot, ipc::SlotMode::kOffloaded);
    return Outcome::kWaits;
  }

  // The socket is whole, though a dump of it may be there.
  Outcome release_end(Case& one) {
    if (one.record.status.load() == ipc::FlowStatus::kFree) return Outcome::kFinished;
    if (one.record.status.load() != ipc::FlowStatus::kParking)
      one.record.status.store(ipc::FlowStatus::kSilenced);
    return let_go(one);
  }

  std::array<Outcome, 2> refill_ends(std::array<Case, 2>& ends, const LocalHome& home) {
    std::array<chimney::Handoff, 2> handoffs{home.ends[0].handoff, home.ends[1].handoff};
    for (std::size_t i = 0; i < 2; ++i)
      if ((ends[i].flags() & ipc::slot_flag::kShutdownWrite) != 0)
        handoffs[i].state.delegated.fin_pending = true;
    const std::array<Result<host::Refilled>, 2> results =
        refill_pair({EndToRefill{ends[0].fd, ends[0].record.memo, handoffs[0], home.resets[0]},
                     EndToRefill{ends[1].fd, ends[1].record.memo, handoffs[1], home.resets[1]}});
    std::array<Outcome, 2> outcomes{};
    for (std::size_t i = 0; i < 2; ++i) {
      Case& one = ends[i];
      if (results[i]) {
        note_return(one.record, positions_of(handoffs[i]), results[i]->mark, results[i]->filtered);
        if (one.slot != nullptr)
          come_home(one.slot->life, results[i]->mark, life_positions(handoffs[i]),
                    told_when_local(handoffs[i], handoffs[1 - i]));
      }
      if (!results[i]) {
        outcomes[i] = give_up(one, results[i].error().message);
      } else if (home.is_gone[i] || one.is_orphan()) {
        set_end(one, home.resets[i]);
        outcomes[i] = Outcome::kFinished;
      } else {
        reopen(one, home.is_sane ? chimney::Reason::kEngineDied : chimney::Reason::kHostile);
        outcomes[i] = Outcome::kHome;
      }
    }
    return outcomes;
  }

  // The engine died inside park() and has taken nothing from the socket yet.
  Outcome let_go(Case& one) {
    if (one.record.status.load() == ipc::FlowStatus::kSilenced)
      if (const auto released = host::release(one.fd, one.record.memo); !released)
        one.why = to_string(one.record.constant.tuple) + ": " + released.error().message;
    (void)steering_.remove(one.record.constant.tuple);
    reopen(one, one.why.empty() ? chimney::Reason::kEngineDied : chimney::Reason::kUnparkFailed);
    return one.why.empty() ? Outcome::kHome : Outcome::kLost;
  }

  void reopen(KeptProgram& program, ipc::SlotId id, ipc::Slot& slot, chimney::Reason reason) {
    slot.engine.reason.store(static_cast<std::uint16_t>(reason));
    open_gate(program.arena.memory, id, ipc::SlotMode::kInHost,
              [&](ipc::WaitSetId waiter) { wakes_.note(program, waiter); });
  }
  void reopen(const Case& one, chimney::Reason reason) {
    if (one.slot != nullptr && !one.is_orphan())
      reopen(*one.program, one.record.slot, *one.slot, reason);
  }

  [[nodiscard]] static bool rings_fit(const Case& one) {
    if (one.program == nullptr) return false;
    const std::size_t arena = one.program->arena.memory.size();
    const auto fits = [arena](std::uint64_t offset, std::uint32_t size) {
      return std::has_single_bit(size) && offset <= arena && size <= arena - offset;
    };
    return fits(one.record.rx_ring, one.record.rx_size) &&
           fits(one.record.tx_ring, one.record.tx_size);
  }

  // The gate stands open towards the rings, and the record tells the whole truth.
  [[nodiscard]] static bool can_resume(const Case& one) {
    StreamRange rx;
    StreamRange tx;
    return one.record.status.load() == ipc::FlowStatus::kOffloaded && rings_fit(one) &&
           one.slot != nullptr && is_open(*one.slot) &&
           ipc::mode_of(one.slot->engine.mode_word.load()) == ipc::SlotMode::kOffloaded &&
           ipc::snapshot_of(one.record).delegated.state != TcpState::kClosed &&
           read_ranges(one.record, one.slot, rx, tx);
  }

  // A dead process never leaves the gate that it died in.
  [[nodiscard]] static bool shut_gate(const Case& one, Duration patience) {
    return close_gate(*one.slot, ipc::SlotMode::kUploading, patience) ||
           is_ready_for(one.program->pidfd.get(), POLLIN);
  }

  Outcome give_up(Case& one, const std::string& why) {
    one.why = to_string(one.record.constant.tuple) + ": " + why;
    host::bury(one.fd);
    (void)steering_.remove(one.record.constant.tuple);
    reopen(one, chimney::Reason::kUnparkFailed);
    return Outcome::kLost;
  }

  // What the engine would have read next in the slot, and what the state alone does not tell.
  static void complete(const Case& one, const StreamRange& tx_range, DelegatedState& state) {
    // The FIN may have left after the last commit.
    const bool is_fin_out = state.snd_max - state.snd_una == tx_range.length() + 1;
    if (is_fin_out && state.state == TcpState::kEstablished) state.state = TcpState::kFinWait1;
    if (is_fin_out && state.state == TcpState::kCloseWait) state.state = TcpState::kLastAck;
    const bool has_closed = one.is_orphan() && (one.flags() & ipc::slot_flag::kAbort) == 0;
    const bool has_shut = has_closed || (one.flags() & ipc::slot_flag::kShutdownWrite) != 0;
    if (has_shut && !has_sent_fin(state.state)) state.fin_pending = true;
    // CLOSED after both FINs is what TIME_WAIT is; without the peer's it is a reset or a timeout,
    // and the application is told of that before it is told of an end.
    constexpr std::uint32_t kTold = ipc::slot_status::kPeerClosed | ipc::slot_status::kError;
    if (state.state == TcpState::kClosed && one.slot != nullptr &&
        (one.slot->engine.status.load() & kTold) == ipc::slot_status::kPeerClosed)
      state.state = TcpState::kTimeWait;
  }

  // A FIN that has left ends the stream: what an application writes behind it is nonsense.
  [[nodiscard]] static bool read_streams(const Case& one, const DelegatedState& state,
                                         StreamRange& rx_range, StreamRange& tx_range) {
    const std::uint64_t tx_end = one.record.tx_end.load();
    const bool is_sane = read_ranges(one.record, one.slot, rx_range, tx_range);
    const bool is_fin_out =
        has_sent_fin(state.state) || state.snd_max - state.snd_una == tx_end - tx_range.begin + 1;
    if (!is_fin_out || tx_range.end == tx_end) return is_sane;
    tx_range.end = tx_end;
    return false;
  }

  Outcome refill(Case& one) {
    ipc::FlowRecord& record = one.record;
    const FourTuple tuple = record.constant.tuple;
    ConnectionState state = ipc::state_of(record, to_ms_ticks(engine::monotonic_now()));
    StreamRange rx_range;
    StreamRange tx_range;
    const bool is_sane = read_streams(one, state.delegated, rx_range, tx_range);
    complete(one, tx_range, state.delegated);
    if (state.delegated.state == TcpState::kClosed && one.is_orphan()) {
      host::bury(one.fd);
      (void)steering_.remove(tuple);
      return Outcome::kFinished;
    }
    record.status.store(ipc::FlowStatus::kUnparking);
    follow_shutdown(one.slot, record.memo);
    (void)steering_.set(tuple, steer::FlowSteering::kReturn, record.shard);
    std::byte* base = one.program->arena.memory.data();
    (void)host::forgive_gaps(tuple);  // whether there are rules is not known here
    const auto unparked =
        host::unpark(one.fd, state, record.memo, {base + record.rx_ring, record.rx_size}, rx_range,
                     {base + record.tx_ring, record.tx_size}, tx_range);
    (void)steering_.remove(tuple);
    if (!unparked) return give_up(one, unparked.error().message);
    note_return(record, positions_of(record), unparked->mark, unparked->filtered);
    if (one.slot != nullptr)
      come_home(one.slot->life, unparked->mark,
                life_positions({0, state, {}, {}, rx_range, tx_range}));
    if (unparked->needs_forged_segment && !forge(state, one.fd, record.account))
      one.why = to_string(tuple) + ": the host could not be told again what the peer had said";
    if (one.is_orphan()) {
      set_end(one, rx_range.length() != 0);
      return Outcome::kFinished;
    }
    reopen(one, is_sane ? chimney::Reason::kEngineDied : chimney::Reason::kHostile);
    return Outcome::kHome;
  }

  // Closing our descriptor, the last, is the application's close: the kernel sends what is left and
  // the FIN, or the reset (RFC 2525 2.17).
  static void set_end(const Case& one, bool has_unread) {
    const bool aborts = has_unread || (one.flags() & ipc::slot_flag::kAbort) != 0;
    const linger how{aborts ? 1 : 0, 0};
    ::setsockopt(one.fd, SOL_SOCKET, SO_LINGER, &how, sizeof how);
  }

  [[nodiscard]] bool forge(const ConnectionState& state, int fd, steer::AccountId account) const {
    std::array<std::byte, 256> frame{};
    const std::size_t length = host::make_forged_segment(state, fd, frame);
    if (!reinjector_ || !reinjector_->give(state.constant.ifindex, std::span(frame).first(length)))
      return false;
    if (state.delegated.state == TcpState::kClosed) host::footprint().resets.fetch_add(1);
    if (ledger_ == nullptr) return true;
    stats::PathStats& path = ledger_->own_path(
        ledger_->path_of(state.constant.ifindex, !state.constant.tuple.local.address.is_v4()));
    path.add(stats::PathMetric::kForgedFrames);
    path.add(stats::PathMetric::kForgedOctets, length - sizeof(wire::EthernetHeader));
    stats::add(ledger_->target_accounts()[account].forged_frames, 1);
    return true;
  }

  void note_return(const ipc::FlowRecord& record, const Positions& at, const host::SocketMark& mark,
                   std::uint32_t filtered) const {
    if (ledger_ == nullptr || record.account == steer::kNobodysAccount) return;
    end_stay(*ledger_, ledger_->account(record.account), at);
    come_home(ledger_->account(record.account), mark,
              steering_.counters(record.account).fenced_segments, filtered);
  }

  Kept& kept_;
  ipc::FlowRecord* records_;
  steer::Steering& steering_;
  const Aim aim_;
  const LedgerMemory* const ledger_;
  std::optional<Reinjector> reinjector_;
  Wakes wakes_;
  std::set<const ipc::Slot*> resumable_;  // before their gates were shut
  std::set<const ipc::Slot*> waiting_;
};

bool is_over(const ipc::FlowRecord& record) {
  return ipc::snapshot_of(record).delegated.state == TcpState::kTimeWait;
}

}  // namespace

RecoveryReport recover(Kept& kept, ipc::FlowRecord* records, steer::Steering& steering, Aim aim,
                       const std::function<void(const std::string&)>& note,
                       const LedgerMemory* ledger) {
  using Outcome = Recovery::Outcome;
  RecoveryReport report;
  steering.end_following();
  Recovery recovery(kept, records, steering, aim, ledger);
  std::unordered_map<ipc::FlowId, UniqueFd> done;
  const auto settle = [&](ipc::FlowId id, const Case& one, Outcome outcome) {
    if (!one.why.empty()) note(one.why);
    if (outcome == Outcome::kWaits || outcome == Outcome::kBusy) return;
    ++(outcome == Outcome::kHome       ? report.home
       : outcome == Outcome::kFinished ? report.finished
                                       : report.lost);
    records[id].status.store(ipc::FlowStatus::kFree);
    done[id] = std::move(kept.sockets.at(id));
    kept.sockets.erase(id);
  };
  const auto bring_pair = [&](ipc::FlowId id) {
    const std::array<ipc::FlowId, 2> ids{id, peer_of(records, id)};
    std::array<Case, 2> ends{recovery.look_up(ids[0], kept.sockets.at(ids[0]).get()),
                             recovery.look_up(ids[1], kept.sockets.at(ids[1]).get())};
    const auto outcomes = recovery.bring_pair(ends, ids);
    for (std::size_t i = 0; i < 2; ++i)
      settle(ids[i], ends[i], outcomes[i]);
  };
  const auto bring = [&](ipc::FlowId id, Duration patience, bool is_last_time) {
    Case one = recovery.look_up(id, kept.sockets.at(id).get());
    const Outcome outcome = recovery.bring(one, patience, is_last_time);
    settle(id, one, outcome);
    return outcome != Outcome::kBusy;
  };
  std::vector<ipc::FlowId> ids;
  for (const auto& [id, socket] : kept.sockets)
    ids.push_back(id);
  // Local connections first: both ends of each at once.
  const auto is_local = [&](ipc::FlowId id) {
    const ipc::FlowId peer = peer_of(records, id);
    return peer != ipc::kNoFlow && kept.sockets.contains(peer);
  };
  for (const ipc::FlowId id : ids) {
    if (!kept.sockets.contains(id) || !is_local(id) || records[id].place.side != 0) continue;
    bring_pair(id);
  }
  std::erase_if(ids, [&](ipc::FlowId id) { return !kept.sockets.contains(id) || is_local(id); });
  // Nobody waits for what is over.
  std::partition(ids.begin(), ids.end(), [&](ipc::FlowId id) { return !is_over(records[id]); });
  std::erase_if(ids, [&](ipc::FlowId id) { return bring(id, kGateLimit, false); });
  const Instant limit = engine::monotonic_now() + kSlowGates;
  for (const ipc::FlowId id : ids)
    bring(id, std::max(limit - engine::monotonic_now(), Duration(0)), true);
  report.waiting = static_cast<std::uint32_t>(kept.sockets.size());
  for (const auto& [number, program] : kept.programs)
    recovery.settle_slots(*program);
  close_sockets(done);
  recovery.wake_all();
  return report;
}

}  // namespace snp::daemon
