// What the offloader writes down about each connection, and the sums that commands show.
#include <algorithm>

#include <sys/socket.h>

#include "snp/daemon/offloader.h"

namespace snp::daemon {

ConnectionAccount* Offloader::account_of(const Flow& flow) const {
  return flow.account == steer::kNobodysAccount ? nullptr : &env_.accounts[flow.account];
}

void Offloader::open_account(Flow& flow) {
  const std::uint32_t path =
      env_.accounts.ledger().path_of(flow.path.ifindex, !flow.tuple.local.address.is_v4());
  const auto is_used = [this](const ConnectionAccount& account) {
    const auto program = programs_.find(account.program);
    return program != programs_.end() && program->second->arena != nullptr &&
           program->second->slot(account.slot).app.in_use.load() == account.in_use;
  };
  flow.account = env_.accounts.open({flow.program->number, flow.slot, flow.in_use}, path, is_used);
}

void Offloader::note_return(const Flow& flow, const chimney::Handoff& handoff,
                            const LifePositions& told, const host::SocketMark& mark,
                            std::uint32_t filtered) {
  if (ipc::Slot* slot = slot_of(flow); slot != nullptr)
    come_home(slot->life, mark, life_positions(handoff), told);
  ConnectionAccount* account = account_of(flow);
  if (account == nullptr) return;
  daemon::end_stay(env_.accounts.ledger(), *account, positions_of(handoff));
  come_home(*account, mark, env_.accounts.fenced(flow.account), filtered);
}

// The socket may have been emptied and filled again meanwhile.
void Offloader::note_failed_park(const Flow& flow) {
  ConnectionAccount* account = account_of(flow);
  if (account == nullptr || !account->is_away) return;
  daemon::end_stay(env_.accounts.ledger(), *account, {account->first_in, account->first_out});
  const auto mark = host::mark_of(flow.socket.get());
  if (!mark) return;
  come_home(*account, *mark, env_.accounts.fenced(flow.account), 0);
  if (ipc::Slot* slot = slot_of(flow); slot != nullptr) store(slot->life.start, mark->tcp);
}

// Pre: both are dumped and settled. In positions of the pair, which begin with what the reader's
// socket holds; behind it stands what the writer's holds, of which the end was never sent.
void Offloader::note_local_start(const Flow& flow, const Flow& peer) {
  LifePositions at = life_positions(handoff_of(flow.parked));
  const std::uint64_t unsent = flow.parked.tx_range.end - at.sent;
  const std::uint64_t in_flight = at.sent - at.acked;
  const std::uint64_t written =
      ipc::kFirstPosition + peer.handoff.rx_range.length() + flow.handoff.tx_range.length();
  at.received = ipc::kFirstPosition + flow.handoff.rx_range.length();
  at.sent = written - unsent;
  at.acked = at.sent - in_flight;
  leave_host(flow.program->slot(flow.slot).life, flow.in_use, flow.parked.mark, 0, at);
  if (ConnectionAccount* account = account_of(flow); account != nullptr)
    leave_host(*account, flow.parked.mark, env_.accounts.fenced(flow.account),
               {at.received, at.sent}, flow.id, true);
}

// --- sums ---

AccountView Offloader::ledger_of(const SlotUse& use,
                                 const std::optional<host::SocketMark>& mark) const {
  return env_.accounts.view(env_.accounts.find(use), mark, std::nullopt);
}

AccountView Offloader::ledger_of(const Flow& flow,
                                 const std::optional<host::SocketMark>& mark) const {
  if (flow.is_local) return env_.accounts.view(flow.account, mark, local_.positions(flow.id));
  return env_.accounts.view(flow.account, mark, positions_of(env_.records[flow.id]));
}

void Offloader::fill(stats::LedgerSources& sources) const {
  const LedgerMemory& ledger = env_.accounts.ledger();
  for (std::uint32_t path = 0; path < ledger.paths(); ++path)
    sources.paths[path % stats::kFamilies].merge(ledger.path_sum(path));
  env_.accounts.for_each_open(
      [&](std::uint32_t path, stats::PathMetric metric, std::uint64_t value) {
        sources.paths[path % stats::kFamilies].merge(metric, value);
      });
  sources.own_resets = ledger.totals().footprint.resets.load();
  sources.own_repeats = ledger.totals().footprint.repeats.load();
  for (const auto& [id, flow] : flows_) {
    const ipc::FlowStatus status = env_.records[id].status.load();
    if (status == ipc::FlowStatus::kOffloaded || status == ipc::FlowStatus::kLocal)
      ++sources.parked;
    if (status == ipc::FlowStatus::kLocal) ++sources.local_ends;
  }
}

void Offloader::fill(std::vector<commands::DeviceLedger>& devices) const {
  const LedgerMemory& ledger = env_.accounts.ledger();
  for (commands::DeviceLedger& device : devices)
    for (const bool is_v6 : {false, true})
      device.paths[is_v6 ? 1 : 0] = ledger.path_sum(ledger.path_of(device.ifindex, is_v6));
  env_.accounts.for_each_open(
      [&](std::uint32_t path, stats::PathMetric metric, std::uint64_t value) {
        for (commands::DeviceLedger& device : devices)
          if (path / stats::kFamilies == ledger.path_of(device.ifindex, false) / stats::kFamilies)
            device.paths[path % stats::kFamilies].merge(metric, value);
      });
}

void Offloader::fill(std::vector<commands::DeviceRow>& devices) const {
  for (const auto& [id, flow] : flows_) {
    const ConnectionAccount* account = account_of(*flow);
    if (flow->is_local || account == nullptr || !account->is_away) continue;
    const Positions at = positions_of(env_.records[id]);
    for (commands::DeviceRow& device : devices) {
      if (device.ifindex != flow->path.ifindex) continue;
      ++device.offloaded;
      device.bytes_in += at.in - std::min(at.in, account->first_in);
      device.bytes_out += at.out - std::min(at.out, account->first_out);
    }
  }
  const LedgerMemory& ledger = env_.accounts.ledger();
  for (commands::DeviceRow& device : devices) {
    const auto served = ledger.devices();
    if (std::ranges::find(served, device.ifindex) == served.end()) continue;
    for (const bool is_v6 : {false, true}) {
      const auto path = ledger.path_sum(ledger.path_of(device.ifindex, is_v6));
      device.bytes_in += path[stats::PathMetric::kStreamIn];
      device.bytes_out += path[stats::PathMetric::kStreamOut];
      device.frames_in += stats::target_part(path, stats::Mib::kInDelivers);
      device.errors_in += stats::target_part(path, stats::Mib::kInErrs);
      device.segments_out += stats::target_part(path, stats::Mib::kOutSegs);
      device.retransmits += stats::target_part(path, stats::Mib::kRetransSegs);
    }
  }
}

void Offloader::fill(commands::StatsReport& report) const {
  const LocalTarget::Counters local = local_.counters();
  report.local = {local.connections, local.bytes, local.bytes};
  report.target.connections = static_cast<std::uint64_t>(std::count_if(
      flows_.begin(), flows_.end(), [](const auto& entry) { return !entry.second->is_local; }));
  const LedgerMemory& ledger = env_.accounts.ledger();
  stats::PathCounters paths;
  for (std::uint32_t path = 0; path < ledger.paths(); ++path)
    paths.merge(ledger.path_sum(path));
  report.target.bytes_in = paths[stats::PathMetric::kStreamIn];
  report.target.bytes_out = paths[stats::PathMetric::kStreamOut];
  for (const auto& [id, flow] : flows_) {
    const ConnectionAccount* account = account_of(*flow);
    if (flow->is_local || account == nullptr || !account->is_away) continue;
    const Positions at = positions_of(env_.records[id]);
    report.target.bytes_in += at.in - std::min(at.in, account->first_in);
    report.target.bytes_out += at.out - std::min(at.out, account->first_out);
  }
  const auto fill_direction = [](const HandOverTotals& from, commands::HandOverStats& to) {
    to = {from.done,
          from.failed,
          from.quiet.quantile_us(0.5),
          from.quiet.quantile_us(0.99),
          from.quiet.max_us(),
          from.queued_bytes};
  };
  fill_direction(offloads_, report.offload);
  fill_direction(uploads_, report.upload);
  const TimeHistogram& ways_home = ledger.totals().ways_home;
  report.way_home = {ways_home.total(), ways_home.quantile_us(0.5), ways_home.quantile_us(0.99),
                     ways_home.max_us()};
  const auto add = [&](const stats::MetricInfo& metric, std::uint64_t value) {
    report.engine.push_back({std::string(metric.name), value});
  };
  paths.for_each(add);
  ledger.engine_sum().for_each(add);
  const auto& declined = ledger.totals().declined;
  for (std::size_t code = 0; code < declined.size(); ++code)
    if (declined[code] != 0)
      report.declined.push_back({static_cast<chimney::Reason>(code), declined[code]});
}

}  // namespace snp::daemon
