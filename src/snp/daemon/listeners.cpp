// What the offloader tells those who listen, and asks those who may refuse: see event_desk.h.
#include <algorithm>
#include <array>

#include "snp/daemon/offloader.h"

namespace snp::daemon {
namespace {

using chimney::Reason;

// Who has decided it.
std::string_view by_whom(const Flow& flow) {
  constexpr std::array kOfPrograms = {Reason::kByApplication, Reason::kUnsupportedCall,
                                      Reason::kSharedDescriptor};
  constexpr std::array kOfPolicy = {
      Reason::kNotAskedYet,  Reason::kChimneyDisabled, Reason::kDeviceDisabled,
      Reason::kDisabledPort, Reason::kPortNotEnabled,  Reason::kApplicationTable,
      Reason::kPortTable,    Reason::kPolicy,          Reason::kFirewall,
      Reason::kNat,          Reason::kIpsec,           Reason::kForwarding,
      Reason::kBridge,       Reason::kDeviceProgram,   Reason::kCapture,
      Reason::kUnwatched};
  const auto is_one_of = [&](const auto& reasons) {
    return std::find(reasons.begin(), reasons.end(), flow.reason) != reasons.end();
  };
  if (flow.reason == Reason::kOffloaded) return flow.is_commanded ? "administrator" : "policy";
  if (flow.reason == Reason::kByCommand) return "administrator";
  if (flow.reason == Reason::kVetoed) return "client";
  if (is_one_of(kOfPrograms)) return "program";
  return is_one_of(kOfPolicy) ? "policy" : "snpd";
}

ConnectionEvent event_of(std::string_view kind, const Flow& flow) {
  ConnectionEvent event;
  event.kind = kind;
  event.flow = flow.tuple;
  event.pid = static_cast<std::uint32_t>(flow.program->pid);
  event.program = flow.program->name;
  event.target = flow.is_local || flow.path.is_loopback ? "local" : "engine";
  event.reason = flow.reason;
  event.detail = flow.upload_detail;
  event.by = by_whom(flow);
  return event;
}

}  // namespace

void Offloader::tell_listeners(std::string_view kind, const Flow& flow) {
  if (!env_.events.has_listeners()) return;
  ConnectionEvent event = event_of(kind, flow);
  // Of what was declined no slot is known.
  if ((kind == "offloaded" || kind == "uploaded") && slot_of(flow) != nullptr)
    event.quiet_us = flow.program->note(flow.slot).quiet_us;
  env_.events.publish(event);
}

EventDesk::Permission Offloader::ask_clients(const Flow& flow) {
  SlotNote& note = flow.program->note(flow.slot);
  return env_.events.ask(note.question, {flow.program->number, flow.slot, note.in_use},
                         event_of("question", flow));
}

}  // namespace snp::daemon
