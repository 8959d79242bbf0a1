#include "snp/daemon/offloader.h"

#include <algorithm>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <spdlog/spdlog.h>

#include "snp/base/assert.h"
#include "snp/daemon/session.h"
#include "snp/engine/clock.h"
#include "snp/ipc/slot_gate.h"

namespace snp::daemon {
namespace {

using chimney::Input;
using chimney::OffloadState;
using chimney::Reason;
using chimney::Step;

constexpr std::uint32_t kMaxUploadsRunning = 8;  // more would only wait for each other, quiet
constexpr std::uint32_t kMaxInitiating = 2;      // likewise: the shard needs the CPU to answer
constexpr int kOffloadsATurn = 8;
constexpr std::uint32_t kAttempts = 8;

// What waits out of order cannot be read, and is not dropped, either: the peer has been told that
// it is here. When Linux sees that it is not it sends it again, but not while other segments come
// and go (its timers for reordering put that off), and a segment per timeout. So an offload waits
// for a moment without, and looks often, for on a path that loses such moments are short.
constexpr Duration kLongestGap = seconds(5);
constexpr std::uint32_t kGapAttempts = 3;  // it is looked every 32 ms then

// Soon at first: over loopback 20 ms are 60 MB that the host must carry.
constexpr Duration wait_before(std::uint32_t attempt) {
  return microseconds(500) * (1 << (2 * attempt));  // 2 ms, 8, 32, ... 8 s
}

std::uint32_t microseconds_since(Instant when) {
  const auto passed = (engine::monotonic_now() - when) / microseconds(1);
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(passed, 0, 0xffffffff));
}

bool is_worth_a_retry(Reason reason) {
  return reason == Reason::kBusy || reason == Reason::kNoNeighbour || reason == Reason::kOutOfOrder;
}

}  // namespace

Result<> reason_as_result(const FourTuple& flow, Reason reason) {
  if (reason == Reason::kOffloaded) return {};
  const chimney::ReasonText& text = chimney::text_of(reason);
  std::string message =
      to_string(flow) + ": " + std::string(text.name) + ": " + std::string(text.sentence);
  if (!text.hint.empty()) message += " " + std::string(text.hint);
  return fail(Errc::kBusy, std::move(message));
}

Offloader::Offloader(Surroundings surroundings)
    : env_(std::move(surroundings)),
      pairs_({env_.loop, env_.keeper,
              [this](const Program& program, std::span<const std::byte> message,
                     std::span<const int> fds) { return tell(program, message, fds); },
              [](const Program& program) {
                return program.session != nullptr && program.session->has_output();
              },
              [this](int eventfd) { return env_.engine.ring(eventfd); },
              [this](std::uint32_t number) {
                const auto found = programs_.find(number);
                return found == programs_.end() ? nullptr : found->second;
              },
              env_.first_pair}),
      local_(pairs_, env_.records, env_.accounts.ledger().totals().local_bytes),
      offloads_(env_.accounts.ledger().totals().offloads),
      uploads_(env_.accounts.ledger().totals().uploads),
      shard_moves_(env_.accounts.ledger().totals().shard_moves) {
  for (ipc::FlowId id = ipc::kFlowRecords; id > 0; --id)
    free_ids_.push_back(id - 1);
  env_.presence.on_change([this] { take_waiting_jobs(); });
}

// False: its switch takes no more, or its session is lost.
bool Offloader::tell(const Program& program, std::span<const std::byte> message,
                     std::span<const int> fds) {
  if (program.session == nullptr || !program.session->send(message, fds)) return false;
  if (program.session->has_output()) env_.loop.change(program.session->fd(), EPOLLIN | EPOLLOUT);
  return true;
}

Flow* Offloader::find(ipc::FlowId id) {
  const auto found = flows_.find(id);
  return found == flows_.end() ? nullptr : found->second.get();
}

// The slot of a flow, as long as it is still that connection's.
ipc::Slot* Offloader::slot_of(const Flow& flow) const {
  if (flow.program->arena == nullptr) return nullptr;
  ipc::Slot& slot = flow.program->slot(flow.slot);
  if (slot.app.in_use.load() != flow.in_use) return nullptr;
  return (slot.engine.status.load() & ipc::slot_status::kReleased) != 0 ? nullptr : &slot;
}

void Offloader::set_slot_mode(const Flow& flow, ipc::SlotMode mode, Reason reason) {
  ipc::Slot* slot = slot_of(flow);
  if (slot == nullptr) return;
  slot->engine.reason.store(static_cast<std::uint16_t>(reason));
  if (mode == ipc::SlotMode::kInHost) {  // whoever carries it next may know no limits
    slot->buffers.rx_limit.store(0);
    slot->buffers.tx_limit.store(0);
  }
  ipc::set_mode(*slot, mode);
  env_.engine.notify(*flow.program->arena, flow.slot);
}

void Offloader::answer(Flow& flow, const Result<>& result) {
  std::vector<Done> waiting;
  waiting.swap(flow.waiting);
  for (const Done& done : waiting)
    done(result);
}

void Offloader::account(HandOverTotals& direction, Flow& flow, std::uint64_t queued_bytes) {
  const std::uint32_t us = microseconds_since(flow.quiet_since);
  ++direction.done;
  direction.quiet.add(us);
  direction.queued_bytes += queued_bytes;
  if (slot_of(flow) == nullptr) return;
  SlotNote& note = flow.program->note(flow.slot);
  ++note.hand_overs;
  note.quiet_us = us;
}

void Offloader::note_way_home(const Flow& flow) {
  if (flow.concerned_since)
    env_.accounts.ledger().totals().ways_home.add(microseconds_since(*flow.concerned_since));
}

bool Offloader::may_try_again(Reason reason) {
  return reason == Reason::kEngineDied || reason == Reason::kOffloaded || is_worth_a_retry(reason);
}

// --- asked for ---

void Offloader::offload(Program& program, ipc::SlotId slot, Done done) {
  if (program.has_ended) return;
  SlotNote& note = program.note(slot);
  if (Flow* flow = find(note.flow); flow != nullptr) {
    if (!done) return;
    if (flow->lifecycle.state() == OffloadState::kOffloaded) return done({});
    if (flow->lifecycle.state() == OffloadState::kOffloading)
      return flow->waiting.push_back(std::move(done));
    return done(reason_as_result(flow->tuple, Reason::kBusy));
  }
  if (note.is_queued && !done) return;
  note.is_queued = true;
  note.attempts = 0;
  note.gap_since = {};
  programs_[program.number] = &program;
  offload_queue_.push_back({program.number, slot, note.in_use, std::move(done)});
}

void Offloader::upload(Flow& flow, Reason reason, Done done, std::string detail) {
  if (done) flow.waiting.push_back(std::move(done));
  if (flow.is_upload_wanted) return;
  flow.is_upload_wanted = true;  // until it is home or the engine has said that it must stay
  flow.upload_reason = reason;
  flow.upload_detail = std::move(detail);
  flow.concerned_since.reset();
  ++flow.program->hand_overs_on;
  upload_queue_.push_back(flow.id);
}

bool Offloader::work() {
  local_.dispatch(*this);
  const auto may_offload = [this] {
    return initiating_ < kMaxInitiating && !offload_queue_.empty();
  };
  for (int i = 0; i < kOffloadsATurn && may_offload(); ++i) {
    OffloadJob job = std::move(offload_queue_.front());
    offload_queue_.pop_front();
    run_offload(std::move(job));
  }
  for (std::size_t n = upload_queue_.size(); n > 0 && uploads_running_ < kMaxUploadsRunning; --n) {
    const ipc::FlowId id = upload_queue_.front();
    upload_queue_.pop_front();
    Flow* flow = find(id);
    // The id may name another connection by now.
    if (flow == nullptr || !flow->is_upload_wanted ||
        flow->lifecycle.state() == OffloadState::kUploading)
      continue;
    if (flow->lifecycle.state() == OffloadState::kOffloading || flow->moving_to)
      upload_queue_.push_back(id);
    else
      run_upload(*flow);
  }
  return may_offload();
}

void Offloader::run_offload(OffloadJob job) {
  const auto found = programs_.find(job.program);
  decline_detail_.clear();
  const auto finish = [&](const FourTuple& tuple, Reason reason) { decline(job, tuple, reason); };
  if (found == programs_.end() || found->second->has_ended) return finish({}, Reason::kState);
  Program& program = *found->second;
  SlotNote& note = program.note(job.slot);
  if (note.in_use != job.in_use || !is_allocated(job.in_use)) return finish({}, Reason::kState);
  if (Flow* flow = find(note.flow); flow != nullptr) {
    if (!job.done) return;
    if (flow->lifecycle.state() == OffloadState::kOffloaded) return job.done({});
    return flow->waiting.push_back(std::move(job.done));
  }
  const Instant cpu_before = engine::thread_cpu_now();
  const std::optional<Reason> started = start_offload(program, job.slot, job.done);
  if (Flow* flow = find(note.flow); flow != nullptr)
    flow->cpu_us =
        static_cast<std::uint32_t>((engine::thread_cpu_now() - cpu_before) / microseconds(1));
  if (!started && asked_ != 0)
    return asked_jobs_[std::exchange(asked_, 0)].push_back(std::move(job));
  if (!started) return waiting_jobs_.push_back(std::move(job));
  const Reason reason = *started;
  if (reason == Reason::kOffloaded) return;
  program.slot(job.slot).engine.reason.store(static_cast<std::uint16_t>(reason));
  const bool is_waiting = reason == Reason::kOutOfOrder && waits_for_gap(note);
  if (is_waiting) note.attempts = std::min(note.attempts, kGapAttempts - 1);
  const bool may_succeed = is_worth_a_retry(reason) || make_room(program, reason);
  if (may_succeed && ++note.attempts < kAttempts)
    return retry_later(std::move(job), wait_before(note.attempts));
  note.is_queued = false;
  spdlog::debug("{}: stays in the host: {}", note.tuple ? to_string(*note.tuple) : "connection",
                chimney::text_of(reason).name);
  finish(note.tuple.value_or(FourTuple{}), reason);
}

void Offloader::decline(const OffloadJob& job, const FourTuple& tuple, Reason reason) {
  ++offloads_.failed;
  ++env_.accounts.ledger().totals().declined[static_cast<std::size_t>(reason)];
  if (job.done) job.done(reason_as_result(tuple, reason));
  const auto program = programs_.find(job.program);
  if (!env_.events.has_listeners() || program == programs_.end()) return;
  Flow flow;
  flow.program = program->second;
  flow.tuple = tuple;
  flow.reason = reason;
  flow.upload_detail = decline_detail_;
  tell_listeners("declined", flow);
}

void Offloader::on_settled(QuestionId id) {
  const auto found = asked_jobs_.find(id);
  if (found == asked_jobs_.end()) return;
  for (OffloadJob& job : found->second)
    offload_queue_.push_back(std::move(job));
  asked_jobs_.erase(found);
}

bool Offloader::is_live(const SlotUse& use) {
  const auto found = programs_.find(use.program);
  return found != programs_.end() && !found->second->has_ended &&
         found->second->note(use.slot).in_use == use.in_use;
}

bool Offloader::waits_for_gap(SlotNote& note) {
  const Instant now = engine::monotonic_now();
  if (note.gap_since == Instant{}) note.gap_since = now;
  return now < note.gap_since + kLongestGap;
}

void Offloader::retry_later(OffloadJob job, Duration wait) {
  auto shared = std::make_shared<OffloadJob>(std::move(job));
  env_.loop.call_at(engine::monotonic_now() + wait,
                    [this, shared] { offload_queue_.push_back(std::move(*shared)); });
}

void Offloader::take_waiting_jobs() {
  for (OffloadJob& job : waiting_jobs_)
    offload_queue_.push_back(std::move(job));
  waiting_jobs_.clear();
}

void Offloader::run_upload(Flow& flow) {
  if (flow.is_local) return run_local_upload(flow);
  flow.quiet_since = engine::monotonic_now();
  notice_close(flow);
  flow.reason = Reason::kOffloaded;  // for as long as it is not home
  drive(flow, Input::kUploadRequested);
}

// --- answers of the engine ---

void Offloader::initiated(chimney::ConnectionId id) {
  Flow* flow = find(id);
  if (flow != nullptr && flow->has_left_shard) return arrived(*flow);
  --initiating_;
  if (flow == nullptr || flow->lifecycle.step() != Step::kInitiating) return;
  if (flow->is_local)
    free_rings(*flow);  // of the arena: the pair has the bytes
  else
    notice_close(*flow);
  drive(*flow, Input::kInitiated);
  account(offloads_, *flow, 0);
  begin_stay(*flow);
  tell_listeners("offloaded", *flow);
  if (slot_of(*flow) != nullptr) flow->program->note(flow->slot).is_queued = false;
  answer(*flow, {});
  settle_shard(*flow);  // the table may have changed meanwhile
  hand_over_ended(*flow->program);
}

void Offloader::terminated(chimney::ConnectionId id, const chimney::Handoff& handoff) {
  Flow* flow = find(id);
  if (flow == nullptr || flow->lifecycle.step() != Step::kTerminating) return;
  --uploads_running_;
  if (flow->is_local) {
    flow->reason = flow->upload_reason;
    flow->handoff = handoff;
    return drive(*flow, Input::kTerminated);
  }
  Program& program = *flow->program;
  notice_close(*flow);
  flow->reason = flow->upload_reason;
  handoff_ = handoff;
  drive(*flow, Input::kTerminated);
  hand_over_ended(program);
}

// FIN has passed both ways, or the connection is dead: nothing is left to bring home.
void Offloader::refused(chimney::ConnectionId id, TcpState state) {
  Flow* flow = find(id);
  if (flow != nullptr && flow->has_left_shard) return cannot_move(*flow);
  if (flow == nullptr || flow->lifecycle.step() != Step::kTerminating) return;
  --uploads_running_;
  spdlog::debug("{}: stays with the engine in {}", to_string(flow->tuple), to_string(state));
  notice_close(*flow);
  flow->reason = Reason::kState;
  drive(*flow, Input::kRefused);
  hand_over_ended(*flow->program);
}

void Offloader::upload_requested(chimney::ConnectionId id, Reason reason) {
  Flow* flow = find(id);
  // Of a local pair both ends are on their way already.
  if (flow != nullptr && flow->lifecycle.state() != OffloadState::kUploading)
    upload(*flow, reason, {});
}

void Offloader::finished(chimney::ConnectionId id) {
  Flow* flow = find(id);
  if (flow == nullptr) return;
  Program& program = *flow->program;
  const bool was_upload_wanted = flow->is_upload_wanted;
  const bool was_moving = flow->moving_to.has_value();
  if (flow->lifecycle.step() == Step::kTerminating) --uploads_running_;
  flow->reason = Reason::kState;
  tell_listeners("closed", *flow);
  drive(*flow, Input::kAppClosed);  // it has left, whatever its slot says
  drive(*flow, Input::kFinished);
  if (was_upload_wanted) hand_over_ended(program);
  if (was_moving) hand_over_ended(program);
  detach_if_due(program);
}

// Post: the flow is deleted. The socket's own fate is the caller's.
void Offloader::drop_flow(Flow& flow) {
  end_stay(flow);
  ipc::FlowRecord& record = env_.records[flow.id];
  Program& program = *flow.program;
  if (ConnectionAccount* account = account_of(flow); account != nullptr) {
    daemon::end_stay(env_.accounts.ledger(), *account, positions_of(record));
    env_.accounts.fold(flow.account);
  }
  if (record.status.load() != ipc::FlowStatus::kFree) {  // it had got as far as rings
    free_rings(flow);
    record.status.store(ipc::FlowStatus::kFree);
    env_.keeper.tell(KeeperNews::kForget, flow.id);
  }
  cookies_.erase(flow.cookie);
  if (program.arena != nullptr)
    if (SlotNote& note = program.note(flow.slot); note.flow == flow.id) note.flow = ipc::kNoFlow;
  free_ids_.push_back(flow.id);
  --program.flows;
  if (flow.steering == steer::FlowSteering::kFollow)
    followers_.add(flow.tuple, flow.shard);
  else if (!flow.is_local)
    env_.presence.let_go();
  flows_.erase(flow.id);
}

void Offloader::free_rings(const Flow& flow) {
  ipc::FlowRecord& record = env_.records[flow.id];
  for (auto [offset, size] : {std::pair(record.rx_ring, std::exchange(record.rx_size, 0)),
                              std::pair(record.tx_ring, std::exchange(record.tx_size, 0))})
    if (size != 0) free_ring(*flow.program, offset, size);
}

void Offloader::free_ring(Program& program, std::uint64_t offset, std::uint32_t size) {
  program.rings.free(offset);
  if (program.arena == nullptr) return;
  ::fallocate(program.arena->memory.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(offset), static_cast<off_t>(size));
}

// --- ends ---

void Offloader::end_program(Program& program, bool is_dead, std::function<void()> gone) {
  program.has_ended = true;
  programs_[program.number] = &program;
  gone_[program.number] = std::move(gone);
  for (const auto& [id, flow] : flows_) {
    if (flow->program != &program) continue;
    const ipc::Slot* slot = slot_of(*flow);
    if (slot == nullptr) continue;
    const std::uint32_t flags = slot->app.flags.load();
    const bool is_shared = (flags & ipc::slot_flag::kSharedByFork) != 0;
    if ((flags & ipc::slot_flag::kClosed) == 0 && (is_shared || !is_dead))
      upload(*flow, Reason::kSharedDescriptor, {});
    else
      drive(*flow, Input::kAppDied);
    if (flow->is_local && flow->lifecycle.is_orphan()) local_.on_died(id);
  }
  detach_if_due(program);
}

void Offloader::hand_over_ended(Program& program) {
  SNP_ASSERT(program.hand_overs_on > 0);
  --program.hand_overs_on;
  detach_if_due(program);
}

void Offloader::detach_if_due(Program& program) {
  if (!program.has_ended || program.hand_overs_on > 0) return;
  if (program.arena != nullptr) {
    engine::Arena& arena = *program.arena;
    program.arena = nullptr;
    env_.engine.detach(arena);
  }
  if (program.flows > 0) return;
  // Later: whoever called may still hold the program.
  env_.loop.call_soon([this, number = program.number] {
    const auto found = gone_.find(number);
    if (found == gone_.end()) return;
    const std::function<void()> gone = std::move(found->second);
    gone_.erase(found);
    if (const auto ended = programs_.find(number); ended != programs_.end())
      pairs_.end_program(*ended->second);
    programs_.erase(number);
    env_.keeper.tell(KeeperNews::kProgramGone, number);
    gone();
  });
}

bool Offloader::is_only_over() const {
  return std::all_of(flows_.begin(), flows_.end(), [this](const auto& entry) {
    if (local_.knows(entry.first)) return local_.is_reset(entry.first);
    const TcpState state = ipc::snapshot_of(env_.records[entry.first]).delegated.state;
    return state == TcpState::kTimeWait || state == TcpState::kClosed;
  });
}

void Offloader::bury_rest() {
  for (const auto& [id, flow] : flows_) {
    host::bury(flow->socket.get());
    (void)env_.steering.remove(flow->tuple);
    env_.records[id].status.store(ipc::FlowStatus::kFree);
    env_.keeper.tell(KeeperNews::kForget, id);
  }
}

// --- the host's network changes ---

void Offloader::recheck_paths() {
  for (const auto& [id, flow] : flows_) {
    if (flow->lifecycle.state() != OffloadState::kOffloaded || flow->is_upload_wanted) continue;
    if (flow->is_local) continue;  // whatever the way would be, both ends are here
    const auto path = env_.network.find_path(flow->tuple, flow->bound_ifindex);
    if (!path && path.error().code == Errc::kBusy) continue;
    if (!path || path->ifindex != flow->path.ifindex) {
      upload(*flow, Reason::kPathChanged, {});
      continue;
    }
    const host::Path before = flow->path;
    flow->path = *path;
    if (before.local_mac == path->local_mac && before.next_hop_mac == path->next_hop_mac &&
        before.mtu == path->mtu)
      continue;
    CachedState cached = env_.records[id].cached;
    cached.local_mac = path->local_mac;
    cached.next_hop_mac = path->next_hop_mac;
    cached.path_mtu = path->mtu;
    env_.engine.update(id, cached);
  }
}

void Offloader::confirm_neighbours() {
  std::set<std::pair<std::uint32_t, IpAddress>> confirmed;
  for (const auto& [id, flow] : flows_) {
    if (flow->is_local) continue;
    const ipc::FlowSnapshot& snapshot = ipc::snapshot_of(env_.records[id]);
    const std::uint64_t progress = snapshot.una_pos + snapshot.rcv_pos;
    if (std::exchange(flow->progress, progress) == progress) continue;
    if (confirmed.emplace(flow->path.ifindex, flow->path.next_hop).second)
      env_.network.confirm_neighbour(flow->path.ifindex, flow->path.next_hop);
  }
}

}  // namespace snp::daemon
