// What commands ask of snpd: the part of Control behind commands::Service that looks at
// connections.
#include <algorithm>
#include <memory>

#include <unistd.h>

#include "snp/daemon/control.h"
#include "snp/engine/clock.h"
#include "snp/host/tcp_sockets.h"

namespace snp::daemon {
namespace {

using chimney::Reason;

Failure no_such_flow(const FourTuple& flow) {
  return fail(Errc::kNotFound, "no attached program has a connection " + snp::to_string(flow) +
                                   "; 'snp connections' lists them, 'snp run' attaches a program");
}

void fill_parts(commands::ConnectionRow& row, const AccountView& view) {
  const auto part = [](const host::Carried& from) {
    return commands::CarriedPart{from.segments_in, from.segments_out, from.retransmits,
                                 from.bytes_in, from.bytes_out};
  };
  row.host_part = part(view.host);
  row.target_part = part(view.target);
}

}  // namespace

std::optional<Control::Found> Control::find_slot(const FourTuple& flow) {
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    for (const ipc::SlotId slot : open_slots(program->arena->memory))
      if (program->tuple_of(slot) == flow) return Found{program.get(), slot};
  }
  return std::nullopt;
}

void Control::fill_engine_part(commands::ConnectionRow& row, ipc::FlowId id) const {
  const Flow* flow = parts_.offloader.find(id);
  if (flow == nullptr) return;
  if (const auto local = parts_.offloader.local_view(*flow)) {
    row.target = "local";
    row.bytes_in += local->traffic.in;
    row.bytes_out += local->traffic.out;
    if (local->peer == nullptr) return;
    row.peer_pid = static_cast<std::uint32_t>(local->peer->pid);
    row.peer_program = local->peer->name;
    return;
  }
  row.target = "engine";
  row.shard = flow->shard;
  tcp::Info info;
  if (!parts_.engine.info(id, info)) return;
  row.tcp_state = snp::to_string(info.state);
  row.srtt_us = info.srtt_us;
  row.retransmits = info.total_retransmits;
}

commands::ConnectionRow Control::make_row(Program& program, ipc::SlotId slot_id,
                                          const SlotNote& note, const Marks& marks) {
  const ipc::Slot& slot = program.slot(slot_id);
  commands::ConnectionRow row;
  row.flow = *note.tuple;
  row.pid = static_cast<std::uint32_t>(program.pid);
  row.fd = __atomic_load_n(&slot.app.fd, __ATOMIC_RELAXED);
  row.program = program.name;
  const Flow* flow = parts_.offloader.find(note.flow);
  row.offload_state = chimney::to_string(flow != nullptr ? flow->lifecycle.state()
                                                         : chimney::OffloadState::kInHost);
  row.reason = static_cast<Reason>(slot.engine.reason.load());
  // A fresh slot is all zero, and nobody has decided anything yet.
  if (row.reason == Reason::kOffloaded && note.flow == ipc::kNoFlow)
    row.reason = Reason::kNotAskedYet;
  if (flow == nullptr) {
    auto explained = parts_.offloader.reason_now(program, slot_id, row.flow, row.reason);
    row.reason = explained.reason;
    row.reason_detail = std::move(explained.detail);
  }
  row.bytes_in = slot.facts.host_bytes_in.load() + (slot.app.rx_tail.load() - ipc::kFirstPosition);
  row.bytes_out =
      slot.facts.host_bytes_out.load() + (slot.app.tx_head.load() - ipc::kFirstPosition);
  row.bytes_in += note.local_in;
  row.bytes_out += note.local_out;
  if (flow != nullptr) row.reason_detail = flow->stay.history;
  row.hand_overs = note.hand_overs;
  row.quiet_us = note.quiet_us;
  fill_engine_part(row, note.flow);
  const auto mark = marks.find(row.flow);
  const auto now = mark == marks.end() ? std::nullopt : std::optional(mark->second);
  fill_parts(row, flow != nullptr
                      ? parts_.offloader.ledger_of(*flow, now)
                      : parts_.offloader.ledger_of({program.number, slot_id, note.in_use}, now));
  return row;
}

// A connection that its program has closed; the engine finishes it.
commands::ConnectionRow Control::make_orphan_row(const Flow& flow) const {
  commands::ConnectionRow row;
  row.flow = flow.tuple;
  row.program = flow.program->name;
  row.offload_state = chimney::to_string(flow.lifecycle.state());
  row.reason = Reason::kOffloaded;
  const AccountView ledger = parts_.offloader.ledger_of(flow, std::nullopt);
  fill_parts(row, ledger);
  row.bytes_in = ledger.target.bytes_in;
  row.bytes_out = ledger.target.bytes_out;
  fill_engine_part(row, flow.id);
  return row;
}

std::vector<commands::ConnectionRow> Control::connections() {
  std::vector<commands::ConnectionRow> rows;
  std::set<ipc::FlowId> shown;
  const Marks marks = host::list_socket_marks();
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    for (const ipc::SlotId slot : open_slots(program->arena->memory)) {
      if (!program->tuple_of(slot)) continue;
      const SlotNote& note = program->note(slot);
      if (!note.tuple) continue;
      rows.push_back(make_row(*program, slot, note, marks));
      shown.insert(note.flow);
    }
  }
  for (const auto& [id, flow] : parts_.offloader.flows())
    if (!shown.contains(id)) rows.push_back(make_orphan_row(*flow));
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.flow < b.flow; });
  return rows;
}

void Control::offload(const FourTuple& flow, Done done) {
  const auto found = find_slot(flow);
  if (!found) return done(no_such_flow(flow));
  parts_.offloader.offload(*found->program, found->slot, std::move(done));
}

void Control::upload(const FourTuple& tuple, Done done) {
  for (const auto& [id, flow] : parts_.offloader.flows())
    if (flow->tuple == tuple)
      return parts_.offloader.upload(*flow, Reason::kByCommand, std::move(done));
  // Nothing to do: it is where it is wanted.
  if (find_slot(tuple)) return done({});
  done(no_such_flow(tuple));
}

void Control::upload_all(std::function<void(Result<std::uint32_t>)> done) {
  struct Progress {
    std::uint32_t left = 1;  // ours, until all are asked for
    std::uint32_t home = 0;
    std::optional<Error> failure;
    std::function<void(Result<std::uint32_t>)> done;
    void one_less() {
      if (--left > 0) return;
      if (failure) return done(tl::unexpected(*failure));
      done(home);
    }
  };
  auto progress = std::make_shared<Progress>();
  progress->done = std::move(done);
  for (const auto& [id, flow] : parts_.offloader.flows()) {
    if (parts_.offloader.is_orphan(*flow)) continue;
    ++progress->left;
    parts_.offloader.upload(*flow, Reason::kByCommand, [progress](const Result<>& result) {
      if (result)
        ++progress->home;
      else
        progress->failure = result.error();
      progress->one_less();
    });
  }
  progress->one_less();
}

commands::LearnedReport Control::learned() {
  parts_.offloader.look_at_stays();
  for (const auto& [number, program] : programs_)
    if (!program->has_ended) parts_.learning.refresh(*program);
  return parts_.learning.report();
}

commands::RssReport Control::rss() {
  commands::RssReport report;
  parts_.offloader.fill(report);
  report.host = parts_.host_scaling.rows();
  return report;
}

commands::RssBalance Control::rebalance(bool is_dry) {
  const rss::BalancerReport report = parts_.offloader.rebalance(is_dry);
  commands::RssBalance balance{report.imbalance_before, report.imbalance_after, {}, {}};
  const rss::BalancerReport host = parts_.host_scaling.rebalance(is_dry);
  balance.imbalance_before = std::max(balance.imbalance_before, host.imbalance_before);
  balance.imbalance_after = std::max(balance.imbalance_after, host.imbalance_after);
  for (const rss::BalancerReport* part : {&report, &host})
    for (const rss::BucketMove& move : part->moves)
      balance.moves.push_back(move.reason);
  balance.heavy_buckets = report.elephants;
  return balance;
}

commands::StatusReport Control::status() {
  commands::StatusReport report;
  report.pid = static_cast<std::uint32_t>(::getpid());
  report.keeper_pid = static_cast<std::uint32_t>(parts_.inheritance.keeper_pid);
  report.uptime_s = static_cast<std::uint64_t>((engine::monotonic_now() - started_) / seconds(1));
  report.chimney = parts_.settings.text(settings::Setting::kChimney);
  report.shards = shards();
  for (const DeviceChoice& device : parts_.inheritance.devices)
    report.devices.push_back(device.name);
  report.device_switches = parts_.settings.list(settings::Setting::kChimneyDevices);
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    ++report.programs;
    report.connections += static_cast<std::uint32_t>(open_slots(program->arena->memory).size());
  }
  report.offloaded = static_cast<std::uint32_t>(parts_.offloader.flow_count());
  report.max_connections = parts_.inheritance.max_connections;
  report.features = parts_.coexistence.rows();
  report.clients = parts_.events.rows();
  report.engine_restarts = parts_.inheritance.restarts;
  return report;
}

}  // namespace snp::daemon
