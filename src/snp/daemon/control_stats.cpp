// The ledger as commands show it: the kernel's counters, what the target has counted, and which of
// the kernel's are ours.
#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/host/host_counters.h"

namespace snp::daemon {

commands::StatsReport Control::stats() {
  commands::StatsReport report;
  parts_.offloader.fill(report);
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    for (const ipc::SlotId id : open_slots(program->arena->memory)) {
      const ipc::Slot& slot = program->slot(id);
      if (ipc::mode_of(slot.engine.mode_word.load()) == ipc::SlotMode::kInHost)
        ++report.host.connections;
      report.host.bytes_in += slot.facts.host_bytes_in.load();
      report.host.bytes_out += slot.facts.host_bytes_out.load();
    }
  }
  fill_ledger(report);
  return report;
}

void Control::fill_ledger(commands::StatsReport& report) const {
  if (const auto host = host::read_host_counters())
    report.ledger.host = *host;
  else
    spdlog::warn("{}", host.error().message);
  parts_.offloader.fill(report.ledger);
  const auto links = host::read_link_counters();
  const auto served = parts_.inheritance.ledger->devices();
  for (std::size_t i = 0; i < served.size(); ++i) {
    commands::DeviceLedger device;
    device.ifindex = served[i];
    device.name = parts_.inheritance.devices[i].name;
    if (const auto link = links.find(device.name); link != links.end())
      device.link = {link->second.frames_in, link->second.bytes_in, link->second.frames_out,
                     link->second.bytes_out};
    device.host_ip6 = host::read_ip6_counters(device.name);
    report.devices.push_back(std::move(device));
  }
  parts_.offloader.fill(report.devices);
}

}  // namespace snp::daemon
