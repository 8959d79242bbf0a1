// What policy says of a connection: facts are gathered here, chimney/policy.h decides.
#include <algorithm>
#include <array>

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "snp/daemon/offloader.h"
#include "snp/engine/clock.h"
#include "snp/host/parking.h"

namespace snp::daemon {
namespace {

using chimney::Facts;
using chimney::Reason;
using chimney::TargetKind;
using chimney::Verdict;
using settings::Setting;

constexpr Duration kIdentityAge = milliseconds(100);  // many connections of one process in a row

std::string name_of(std::uint32_t ifindex) {
  std::array<char, IF_NAMESIZE> name{};
  return ifindex != 0 && ::if_indextoname(ifindex, name.data()) != nullptr ? name.data() : "";
}

std::string device_of(const host::Path& path) {
  return path.is_loopback ? "lo" : name_of(path.ifindex);
}

void add_counts(Facts& facts, const ipc::SlotFacts& counted) {
  facts.bytes = counted.host_bytes_in.load() + counted.host_bytes_out.load();
  facts.calls = std::uint64_t{counted.host_calls_in.load()} + counted.host_calls_out.load();
}

TargetKind target_of(bool is_local) {
  return is_local ? TargetKind::kLocal : TargetKind::kEngine;
}

std::uint32_t round_trip_of(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_rtt : 0;
}

}  // namespace

bool Offloader::has_room() const {
  const auto most = std::min<std::size_t>(
      env_.max_connections,
      static_cast<std::size_t>(env_.settings.number(Setting::kMaxConnections)));
  return !free_ids_.empty() && flows_.size() < most;
}

Facts Offloader::facts_of(Program& program, const FourTuple& flow) const {
  Facts facts;
  facts.flow = flow;
  facts.program_name = program.name;
  if (!env_.policy.policy().asks_for_programs()) return facts;
  const Instant now = engine::monotonic_now();
  if (now - program.identity_read > kIdentityAge) {
    program.identity = read_identity(program.pid);
    program.identity_read = now;
  }
  facts.program_path = program.identity.path;
  facts.uid = program.identity.uid;
  facts.cgroup = program.identity.cgroup;
  return facts;
}

// Where it goes, if that matters to somebody.
void Offloader::add_interface(Facts& facts, const Flow& flow) const {
  if (env_.policy.policy().asks_for_interfaces()) facts.interface = device_of(flow.path);
}

// What of the host must see its packets.
void Offloader::add_feature(Facts& facts, const Flow& flow) const {
  if (env_.coexistence.is_empty()) return;
  host::FlowView view{flow.tuple, device_of(flow.path), flow.path.is_loopback};
  if (auto found = env_.coexistence.find(std::move(view))) {
    facts.incompatible = found->reason;
    facts.feature = std::move(found->what);
  }
}

Verdict Offloader::judge(Program& program, ipc::SlotId slot_id, Flow& flow, bool is_wanted) {
  host::SocketSurvey survey;
  const Reason moves = examine(program, slot_id, flow, survey);
  Facts facts = facts_of(program, flow.tuple);
  facts.cannot_move = moves == Reason::kOffloaded ? find_way(flow) : moves;
  // A client asks before its server has accepted: this end is known when the other one asks.
  if (flow.path.is_loopback) peers_.learn(flow.tuple, program, slot_id);
  add_counts(facts, program.slot(slot_id).facts);
  facts.is_wanted = is_wanted;
  facts.has_room = has_room();
  facts.veto = env_.events.refusal(program.note(slot_id).question);
  add_interface(facts, flow);
  add_feature(facts, flow);
  env_.learning.add_worth(facts, env_.learning.origin_of(program, slot_id),
                          target_of(flow.path.is_loopback), round_trip_of(flow.socket.get()));
  env_.learning.advise(program, program.slot(slot_id).app.origin.load());
  return chimney::decide(env_.policy.policy(), facts);
}

// Why the other end of a local connection cannot move. It may have been asked for, and declined,
// when this end was told that there is nobody, or that somebody is busy.
std::optional<Reason> Offloader::obstacle_of_peer(const FourTuple& tuple) {
  PeerIndex::Place place;
  if (peers_.find(mirrored(tuple), place) != PeerIndex::Answer::kFound) return std::nullopt;
  const ipc::Slot& slot = place.program->slot(place.slot);
  if (const auto asked = reason_to_stay(slot)) return asked;
  const auto reason = static_cast<Reason>(slot.engine.reason.load());
  constexpr Reason kNoObstacles[] = {Reason::kOffloaded,  Reason::kNotAskedYet, Reason::kLoopback,
                                     Reason::kBusy,       Reason::kPeerMoves,   Reason::kNotEarned,
                                     Reason::kTargetFull, Reason::kArenaFull,   Reason::kIdle};
  if (std::find(std::begin(kNoObstacles), std::end(kNoObstacles), reason) != std::end(kNoObstacles))
    return std::nullopt;
  return reason;
}

Offloader::Explanation Offloader::reason_now(Program& program, ipc::SlotId slot_id,
                                             const FourTuple& tuple, Reason recorded) {
  constexpr Reason kOfPolicy[] = {
      Reason::kNotAskedYet,  Reason::kChimneyDisabled, Reason::kDeviceDisabled,
      Reason::kDisabledPort, Reason::kPortNotEnabled,  Reason::kApplicationTable,
      Reason::kPortTable,    Reason::kPolicy,          Reason::kFirewall,
      Reason::kNat,          Reason::kIpsec,           Reason::kForwarding,
      Reason::kBridge,       Reason::kDeviceProgram,   Reason::kCapture,
      Reason::kUnwatched,    Reason::kNotEarned,       Reason::kVetoed};
  if (recorded == Reason::kNotAskedYet)
    if (const auto asked = reason_to_stay(program.slot(slot_id))) return {*asked, {}};
  if (recorded == Reason::kLoopback || recorded == Reason::kBusy)
    if (const auto obstacle = obstacle_of_peer(tuple))
      return {Reason::kPeerMoves, "its reason is " + std::string(chimney::text_of(*obstacle).name)};
  if (std::find(std::begin(kOfPolicy), std::end(kOfPolicy), recorded) == std::end(kOfPolicy))
    return {recorded, {}};
  Flow flow;
  flow.tuple = tuple;
  if (env_.policy.policy().asks_for_interfaces() || !env_.coexistence.is_empty())
    (void)find_way(flow);
  Facts facts = facts_of(program, tuple);
  add_counts(facts, program.slot(slot_id).facts);
  facts.veto = env_.events.refusal(program.note(slot_id).question);
  add_interface(facts, flow);
  add_feature(facts, flow);
  const bool seems_local = tuple.local.address == tuple.remote.address;
  env_.learning.add_worth(facts, env_.learning.origin_of(program, slot_id), target_of(seems_local),
                          program.note(slot_id).path.srtt_us());
  Verdict verdict = chimney::decide(env_.policy.policy(), facts);
  return {verdict.is_yes() ? Reason::kNotAskedYet : verdict.reason, std::move(verdict.detail)};
}

Verdict Offloader::judge(const Flow& flow) const {
  Facts facts = facts_of(*flow.program, flow.tuple);
  facts.is_wanted = true;
  facts.history = flow.stay.history;
  if (slot_of(flow) != nullptr)
    facts.veto = env_.events.refusal(flow.program->note(flow.slot).question);
  add_interface(facts, flow);
  add_feature(facts, flow);
  return chimney::decide(env_.policy.policy(), facts);
}

// In the order of examine() and find_way(). Nobody has the other end of a local connection yet, and
// a program attaches with its first connection: whether it will be attached is not known.
Offloader::Foreseen Offloader::foresee(Flow& flow) {
  const Reason way = find_way(flow);
  const bool is_alone = flow.path.is_loopback && way != Reason::kOffloaded;
  if (way != Reason::kOffloaded && way != Reason::kNoNeighbour && !is_alone) return {way, {}};
  if (const Reason own = host::foresee_address(flow.tuple); own != Reason::kOffloaded)
    return {own, {}};
  if (!is_alone) return {Reason::kOffloaded, {}};  // a neighbour is looked for later
  if (const Reason other = host::foresee_address(mirrored(flow.tuple)); other != Reason::kOffloaded)
    return {Reason::kPeerMoves, "its reason is " + std::string(chimney::text_of(other).name)};
  return {Reason::kOffloaded, "if the program at the other end is attached, too"};
}

Verdict Offloader::judge(const commands::PolicyQuestion& question) {
  Flow flow;
  flow.tuple = question.flow;
  Facts facts;
  facts.flow = question.flow;
  facts.program_path = question.program;
  facts.program_name = question.program.substr(question.program.rfind('/') + 1);
  facts.uid = question.uid;
  facts.cgroup = question.cgroup;
  Foreseen foreseen = foresee(flow);
  facts.cannot_move = foreseen.reason;
  facts.has_room = has_room();
  facts.veto = env_.events.refusal(0);
  add_interface(facts, flow);
  add_feature(facts, flow);
  env_.learning.add_worth(facts, env_.learning.guess_origin(flow.tuple, facts.program_name),
                          target_of(flow.path.is_loopback), 0);
  Verdict verdict = chimney::decide(env_.policy.policy(), facts);
  if (verdict.detail.empty() && (verdict.is_yes() || verdict.reason == foreseen.reason))
    verdict.detail = std::move(foreseen.detail);
  return verdict;
}

void Offloader::recheck_policy(std::optional<Instant> noticed) {
  for (const auto& [id, flow] : flows_) {
    if (flow->is_upload_wanted || is_orphan(*flow)) continue;
    Verdict verdict = judge(*flow);
    if (verdict.is_yes()) continue;
    upload(*flow, verdict.reason, {}, std::move(verdict.detail));
    if (verdict.step == chimney::PolicyStep::kCoexistence) flow->concerned_since = noticed;
  }
}

}  // namespace snp::daemon
