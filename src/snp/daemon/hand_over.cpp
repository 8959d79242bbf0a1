// Drives the lifecycle of a connection: what it asks for is done here, one action after the other.
#include <array>

#include <spdlog/spdlog.h>

#include "snp/daemon/offloader.h"
#include "snp/engine/clock.h"
#include "snp/host/conntrack.h"
#include "snp/host/footprint.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Action;
using chimney::Input;
using chimney::OffloadState;
using chimney::Reason;

constexpr Duration kGateLimit = milliseconds(2);
constexpr Duration kUploadRetry = milliseconds(1);
// A gap that one loss left is filled within a round trip or two. The application waits, too, and
// when many are to come home they must not wait for each other.
constexpr Duration kGapPatience = milliseconds(200);

}  // namespace

void Offloader::drive(Flow& flow, Input input) {
  for (std::optional<Input> next = input; next;) {
    const auto actions = flow.lifecycle.on(*next);
    next.reset();
    for (const Action action : actions) {
      next = carry_out(flow, action);
      if (next) break;  // something came of it; a failed step skips what was to follow
    }
  }
}

// The application closes by itself, between it and the shard: seen when it matters.
void Offloader::notice_close(Flow& flow) {
  if (slot_of(flow) == nullptr) drive(flow, Input::kAppClosed);
}

// Post: after kFree the flow is gone, and nothing is returned.
std::optional<Input> Offloader::carry_out(Flow& flow, Action action) {
  if (flow.is_local) return carry_out_local(flow, action);
  switch (action) {
    case Action::kCloseGate:
      return shut_gate(flow);
    case Action::kOpenGateToHost:
      open_gate_to_host(flow);
      break;
    case Action::kOpenGateToTarget:
      set_slot_mode(flow, ipc::SlotMode::kOffloaded, flow.reason);
      break;
    case Action::kHold:
      return hold(flow);
    case Action::kPark:
      flow.reason = park(flow);
      return flow.reason == Reason::kOffloaded ? Input::kParked : Input::kParkFailed;
    case Action::kInitiate:
      publish(flow);
      ++initiating_;
      env_.engine.initiate(handoff_);
      break;
    case Action::kActivate:
      (void)steer(flow, steer::FlowSteering::kActive);
      break;
    case Action::kTerminate:
      ++uploads_running_;
      env_.engine.terminate(flow.id, upload_queue_.empty() ? kGapPatience : Duration::zero());
      break;
    case Action::kReturn:
      env_.records[flow.id].status.store(ipc::FlowStatus::kUnparking);
      (void)steer(flow, steer::FlowSteering::kReturn);
      break;
    case Action::kUnpark:
      return unpark(flow);
    case Action::kUnsteer:
      (void)env_.steering.remove(flow.tuple);
      flow.steering.reset();
      break;
    case Action::kLetFollow:
      let_follow(flow);
      break;
    case Action::kGiveFrames:
      give_frames(flow);
      break;
    case Action::kBury:
      host::bury(flow.socket.get());
      break;
    case Action::kFree:
      free_flow(flow);
      break;
    case Action::kRetryUpload:
      env_.loop.call_at(engine::monotonic_now() + kUploadRetry,
                        [this, id = flow.id] { upload_queue_.push_back(id); });
      break;
    case Action::kReportStuck:
      report_stuck(flow);
      break;
  }
  return std::nullopt;
}

Input Offloader::shut_gate(Flow& flow) {
  if (flow.lifecycle.state() == OffloadState::kUploading) {
    ipc::Slot* slot = slot_of(flow);
    // A dead process never leaves the gate that it died in.
    const bool is_shut = slot == nullptr ||
                         close_gate(*slot, ipc::SlotMode::kUploading, kGateLimit) ||
                         flow.program->has_ended;
    return is_shut ? Input::kGateClosed : Input::kGateBusy;
  }
  ipc::Slot& slot = flow.program->slot(flow.slot);
  flow.reason = close_gate(slot, ipc::SlotMode::kOffloading, kGateLimit) ? look_again(slot, flow)
                                                                         : Reason::kBusy;
  if (flow.reason == Reason::kOffloaded) flow.reason = take_rings(flow);
  return flow.reason == Reason::kOffloaded ? Input::kGateClosed : Input::kGateBusy;
}

void Offloader::open_gate_to_host(const Flow& flow) {
  if (env_.records[flow.id].status.load() != ipc::FlowStatus::kFree)
    return set_slot_mode(flow, ipc::SlotMode::kInHost, flow.reason);
  // Also when the slot is another connection's by now: it waits at the gate that we closed.
  ipc::Slot& slot = flow.program->slot(flow.slot);
  slot.engine.reason.store(static_cast<std::uint16_t>(flow.reason));
  ipc::set_mode(slot, ipc::SlotMode::kInHost);
  env_.engine.notify(*flow.program->arena, flow.slot);
}

// Conntrack has an entry only where there are rules.
void Offloader::forgive_gaps(const Flow& flow) {
  if (env_.coexistence.is_empty()) return;
  if (const auto done = host::forgive_gaps(flow.tuple); !done)
    spdlog::warn("{}: conntrack may call its packets invalid: {}", to_string(flow.tuple),
                 done.error().message);
}

Input Offloader::unpark(Flow& flow) {
  forgive_gaps(flow);
  ConnectionState& state = handoff_.state;
  const ipc::Slot* slot = slot_of(flow);
  if (slot != nullptr && !has_sent_fin(state.delegated.state) &&
      (slot->app.flags.load() & ipc::slot_flag::kShutdownWrite) != 0)
    state.delegated.fin_pending = true;
  if (slot != nullptr) {
    SlotNote& note = flow.program->note(flow.slot);
    const Instant now = engine::monotonic_now();
    note.path.learn(state, now);
    note.path.learn_search(state);
    note.running_timeout.learn(state.delegated, now);
  }
  follow_shutdown(slot, env_.records[flow.id].memo);
  const auto home = host::unpark(flow.socket.get(), state, env_.records[flow.id].memo, handoff_.rx,
                                 handoff_.rx_range, handoff_.tx, handoff_.tx_range);
  flow.is_home = home.has_value();
  needs_forged_segment_ = home && home->needs_forged_segment;
  if (home) {
    note_return(flow, handoff_, life_positions(handoff_), home->mark, home->filtered);
    return Input::kUnparked;
  }
  flow.reason = Reason::kUnparkFailed;
  ++uploads_.failed;
  spdlog::error("{}: cannot bring it home: {}", to_string(flow.tuple), home.error().message);
  return Input::kUnparkFailed;
}

// What the shard has kept came before what comes now. After a failed park it is not known what the
// host wants next; all goes by the shard then, until the first frame has come that way. When
// stopping there may be no shard in a moment.
void Offloader::let_follow(Flow& flow) {
  std::optional<SeqNum> next;
  if (flow.is_home) next = handoff_.state.delegated.rcv_nxt;
  const bool may_follow = !is_stopping_ && flow.account != steer::kNobodysAccount && flow.steering;
  if (may_follow &&
      env_.steering.let_follow(flow.tuple, flow.is_bound ? flow.shard : steer::kByHash,
                               flow.account, next)) {
    flow.steering = steer::FlowSteering::kFollow;
    return;
  }
  (void)env_.steering.remove(flow.tuple);
  flow.steering.reset();
}

void Offloader::give_frames(const Flow& flow) {
  std::array<std::byte, 256> forged{};
  std::size_t length = 0;
  if (flow.is_home && needs_forged_segment_)
    length = host::make_forged_segment(handoff_.state, flow.socket.get(), forged);
  // It is a reset then, and the kernel counts one that the engine has counted.
  if (length != 0 && handoff_.state.delegated.state == TcpState::kClosed)
    host::footprint().resets.fetch_add(1);
  env_.engine.release_frames(flow.id, flow.tuple, std::span(forged).first(length));
}

void Offloader::report_stuck(Flow& flow) {
  ++uploads_.failed;
  flow.is_upload_wanted = false;
  answer(flow, reason_as_result(flow.tuple, Reason::kState));
}

void Offloader::free_flow(Flow& flow) {
  const chimney::Handoff& handoff = flow.is_local ? flow.handoff : handoff_;
  if (flow.is_home) account(uploads_, flow, handoff.rx_range.length() + handoff.tx_range.length());
  if (flow.is_home) note_way_home(flow);
  if (flow.is_home) tell_listeners("uploaded", flow);
  if (flow.reason == Reason::kUnparkFailed) tell_listeners("failed", flow);
  answer(flow, flow.is_home ? Result<>{} : reason_as_result(flow.tuple, flow.reason));
  freed_for_ = flow.reason;
  drop_flow(flow);
}

}  // namespace snp::daemon
