// Connections follow the table: from shard to shard, between two packets. A connection is *bound*
// to its shard while that is not where its hash says; it goes by the hash as soon as both agree.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "snp/daemon/offloader.h"
#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using chimney::OffloadState;
using steer::FlowSteering;

constexpr Duration kGateLimit = milliseconds(2);
constexpr Duration kMoveRetry = milliseconds(5);

}  // namespace

Result<> Offloader::steer(Flow& flow, FlowSteering state) {
  flow.steering = state;
  const auto set = [&] {
    return env_.steering.set(flow.tuple, state, flow.is_bound ? flow.shard : steer::kByHash,
                             flow.account);
  };
  const auto done = set();
  if (done || done.error().code != Errc::kFull) return done;
  followers_.end();
  return set();
}

void Offloader::bind(Flow& flow) {
  if (flow.is_bound) return;
  flow.is_bound = true;
  if (flow.steering) (void)steer(flow, *flow.steering);
}

void Offloader::settle_shard(Flow& flow) {
  if (flow.is_local || flow.treatment.shard || flow.moving_to) return;
  const std::uint32_t wanted = env_.scaling.shard_of(flow.tuple);
  if (wanted == flow.shard) {
    if (!flow.is_bound) return;
    flow.is_bound = false;
    if (flow.steering) (void)steer(flow, *flow.steering);
    return;
  }
  const bool is_movable = flow.lifecycle.state() == OffloadState::kOffloaded &&
                          !flow.is_upload_wanted && slot_of(flow) != nullptr;
  if (!is_movable) return;  // what is on its way settles when it has arrived
  flow.moving_to = wanted;
  ++flow.program->hand_overs_on;
  env_.engine.expect(flow.id, flow.tuple, wanted);
}

void Offloader::settle_shards() {
  for (const auto& [id, flow] : flows_)
    settle_shard(*flow);
}

Result<> Offloader::follow_scaling() {
  for (const auto& [id, flow] : flows_)
    bind(*flow);
  auto followed = env_.scaling.follow();
  settle_shards();
  return followed;
}

rss::BalancerReport Offloader::rebalance(bool is_dry) {
  rss::BalancerReport report = env_.scaling.balance(is_dry, engine::monotonic_now());
  if (!is_dry) note_elephants(report);
  if (is_dry || report.moves.empty()) return report;
  for (const auto& [id, flow] : flows_) {
    const auto bucket = env_.scaling.bucket_of(flow->tuple);
    const auto is_concerned = [&](const rss::BucketMove& move) { return bucket == move.bucket; };
    if (std::ranges::any_of(report.moves, is_concerned)) bind(*flow);
  }
  for (const rss::BucketMove& move : report.moves)
    env_.scaling.move(move);
  settle_shards();
  return report;
}

// The new shard holds from now on what it does not know; the old one, what is in its queue.
void Offloader::expected(chimney::ConnectionId id) {
  Flow* flow = find(id);
  if (flow == nullptr || !flow->moving_to) return;
  notice_close(*flow);
  ipc::Slot* slot = slot_of(*flow);
  if (slot == nullptr || flow->is_upload_wanted) return end_move(*flow);
  // Closed for as long as nobody has it: a doorbell is for the shard that the slot names.
  flow->quiet_since = engine::monotonic_now();
  if (!close_gate(*slot, ipc::SlotMode::kUploading, kGateLimit)) {
    open_gate_to_shard(*flow);
    end_move(*flow);
    env_.loop.call_at(engine::monotonic_now() + kMoveRetry, [this, id] {
      if (Flow* again = find(id)) settle_shard(*again);
    });
    return;
  }
  (void)env_.steering.set(flow->tuple, *flow->steering, *flow->moving_to);
  flow->has_left_shard = true;
  env_.engine.move_out(id, *flow->moving_to);
}

void Offloader::moved_out(chimney::ConnectionId id) {
  Flow* flow = find(id);
  if (flow == nullptr || !flow->moving_to) return;
  flow->shard = *flow->moving_to;
  env_.records[id].shard = flow->shard;
  flow->program->slot(flow->slot).engine.shard.store(static_cast<std::uint8_t>(flow->shard));
  CachedState path;
  path.local_mac = flow->path.local_mac;
  path.next_hop_mac = flow->path.next_hop_mac;
  path.path_mtu = flow->path.mtu;
  env_.engine.move_in(id, path);
}

// It is at home in the new shard.
void Offloader::arrived(Flow& flow) {
  open_gate_to_shard(flow);
  const auto quiet_us =
      static_cast<std::uint32_t>((engine::monotonic_now() - flow.quiet_since) / microseconds(1));
  ++shard_moves_.done;
  shard_moves_.quiet.add(quiet_us);
  spdlog::debug("{}: on shard {} now, quiet for {} us", to_string(flow.tuple), flow.shard,
                quiet_us);
  flow.moving_to.reset();
  flow.has_left_shard = false;
  settle_shard(flow);  // the table may have changed again
  hand_over_ended(*flow.program);
}

// Only the old shard can finish it: there it stays.
void Offloader::cannot_move(Flow& flow) {
  ++shard_moves_.failed;
  (void)steer(flow, *flow.steering);
  env_.engine.pass_on(flow.tuple, *flow.moving_to, flow.shard);
  open_gate_to_shard(flow);
  end_move(flow);
}

void Offloader::open_gate_to_shard(const Flow& flow) {
  if (slot_of(flow) != nullptr)
    return set_slot_mode(flow, ipc::SlotMode::kOffloaded, chimney::Reason::kOffloaded);
  if (flow.program->arena == nullptr) return;
  // Another connection's by now, which waits at the gate that we closed.
  ipc::Slot& slot = flow.program->slot(flow.slot);
  if (slot.app.in_use.load() != flow.in_use) ipc::set_mode(slot, ipc::SlotMode::kInHost);
}

void Offloader::end_move(Flow& flow) {
  flow.moving_to.reset();
  flow.has_left_shard = false;
  hand_over_ended(*flow.program);
}

// One flow that makes a bucket heavy cannot be split: said once, by name.
void Offloader::note_elephants(const rss::BalancerReport& report) {
  std::vector<std::string> elephants;
  for (const std::uint32_t bucket : report.elephants) {
    std::string text = "bucket " + std::to_string(bucket) + ": ";
    std::size_t count = 0;
    for (const auto& [id, flow] : flows_)
      if (!flow->is_local && env_.scaling.bucket_of(flow->tuple) == bucket && ++count <= 4)
        text += (count == 1 ? "" : ", ") + to_string(flow->tuple);
    if (count > 4) text += " and " + std::to_string(count - 4) + " more";
    if (count != 0) elephants.push_back(std::move(text));
  }
  for (const std::string& elephant : elephants)
    if (std::ranges::find(elephants_, elephant) == elephants_.end())
      spdlog::info("receive-side scaling: heavy and indivisible: {}", elephant);
  elephants_ = std::move(elephants);
}

void Offloader::fill(commands::RssReport& report) const {
  env_.scaling.fill(report);
  report.connections.resize(
      static_cast<std::size_t>(env_.settings.number(settings::Setting::kShards)));
  for (const auto& [id, flow] : flows_)
    if (!flow->is_local && flow->shard < report.connections.size())
      ++report.connections[flow->shard];
  report.connections_moved = shard_moves_.done;
  report.connections_stayed = shard_moves_.failed;
  report.quiet_p99_us = shard_moves_.quiet.quantile_us(0.99);
  report.elephants = elephants_;
}

}  // namespace snp::daemon
