// What mode automatic makes of offloaded connections: what they carried goes into what is learned,
// and who stands idle goes home when another one needs the room.
#include <algorithm>

#include "snp/daemon/offloader.h"
#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using chimney::OffloadState;
using chimney::Reason;
using chimney::TargetKind;
using settings::Setting;

// After an offload stays are looked at often, so that the next connection of a listener profits.
constexpr Duration kNew = seconds(4);

}  // namespace

// Pre: judged, not yet offloaded.
void Offloader::prepare_stay(Flow& flow, const chimney::Verdict& verdict, bool is_wanted) {
  Program& program = *flow.program;
  const ipc::Slot& slot = program.slot(flow.slot);
  flow.stay.origin_id = slot.app.origin.load();
  flow.stay.origin = env_.learning.origin_of(program, flow.slot);
  flow.stay.before = {
      std::uint64_t{slot.facts.host_calls_in.load()} + slot.facts.host_calls_out.load(),
      slot.facts.host_bytes_in.load() + slot.facts.host_bytes_out.load()};
  flow.stay.history = verdict.detail;
  flow.is_kept = is_wanted || verdict.step == chimney::PolicyStep::kRules;
}

void Offloader::begin_stay(Flow& flow) {
  flow.stay.kind = flow.is_local ? TargetKind::kLocal : TargetKind::kEngine;
  if (slot_of(flow) != nullptr)
    flow.stay.host_rtt_us = flow.program->note(flow.slot).path.srtt_us();
  flow.is_staying = true;
  flow.active_at = engine::monotonic_now();
  is_new_until_ = flow.active_at + kNew;
  const auto quiet = (flow.active_at - flow.quiet_since) / microseconds(1);
  env_.learning.paid(flow.stay.kind,
                     static_cast<std::uint32_t>(std::clamp<std::int64_t>(quiet, 0, 1'000'000)),
                     flow.cpu_us);
}

std::uint64_t Offloader::carried_bytes(const Flow& flow) const {
  if (flow.is_local) {
    const auto traffic = local_.traffic(flow.id);
    return traffic ? traffic->in + traffic->out : flow.stay.bytes;
  }
  const ConnectionAccount* account = account_of(flow);
  if (account == nullptr || !account->is_away) return flow.stay.bytes;
  const Positions at = positions_of(env_.records[flow.id]);
  return at.in - std::min(at.in, account->first_in) + at.out - std::min(at.out, account->first_out);
}

void Offloader::look_at_stay(Flow& flow) {
  const std::uint64_t bytes = carried_bytes(flow);
  if (bytes != flow.stay.bytes) flow.active_at = engine::monotonic_now();
  tcp::Info info;
  const bool is_measured =
      !flow.is_local && !flow.stay.is_compared && env_.engine.info(flow.id, info);
  env_.learning.look(flow.stay, bytes, is_measured ? info.srtt_us : 0, *flow.program);
}

void Offloader::look_at_stays() {
  looked_at_ = engine::monotonic_now();
  for (const auto& [id, flow] : flows_) {
    if (!flow->is_staying) continue;
    look_at_stay(*flow);
    if (is_orphan(*flow)) end_stay(*flow);  // it may stay in TIME_WAIT for long
  }
}

// Once; the earliest of: the program has closed it, it goes home, it is over.
void Offloader::end_stay(Flow& flow) {
  if (!std::exchange(flow.is_staying, false)) return;
  flow.stay.bytes = carried_bytes(flow);
  env_.learning.end(flow.stay, *flow.program);
}

// Pre: looked at. For the local target both ends decide.
bool Offloader::may_make_room(const Flow& flow, Instant latest) {
  const auto may = [&](const Flow& end) {
    return end.is_staying && !end.is_kept && !end.is_upload_wanted && !end.moving_to &&
           end.lifecycle.state() == OffloadState::kOffloaded && end.active_at <= latest;
  };
  if (!flow.is_local) return may(flow);
  const Flow* peer = find(local_.peer_of(flow.id));
  return may(flow) && peer != nullptr && may(*peer);
}

// True: the connection that stood idle longest goes home, and there will be room. It is worth to be
// asked again then.
bool Offloader::make_room(const Program& program, Reason reason) {
  const Duration idle = seconds(env_.settings.number(Setting::kAutomaticIdleS));
  const bool is_arena = reason == Reason::kArenaFull;
  if (env_.policy.policy().mode != chimney::Mode::kAutomatic || idle == Duration::zero() ||
      (reason != Reason::kTargetFull && !is_arena))
    return false;
  look_at_stays();
  const Instant latest = looked_at_ - idle;
  Flow* longest = nullptr;
  for (const auto& [id, flow] : flows_) {
    if ((is_arena && flow->program != &program) || !may_make_room(*flow, latest)) continue;
    if (longest == nullptr || flow->active_at < longest->active_at) longest = flow.get();
  }
  if (longest == nullptr) return false;
  upload(*longest, Reason::kIdle, {});
  return true;
}

}  // namespace snp::daemon
