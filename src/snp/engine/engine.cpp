#include "snp/engine/engine.h"

#include <algorithm>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "snp/base/assert.h"
#include "snp/engine/clock.h"
#include "snp/engine/shard_thread.h"

namespace snp::engine {
namespace {

// An attached process: what the control thread keeps of it.
struct ArenaEntry {
  Arena arena;
  std::vector<std::unique_ptr<ShardArena>> views;  // by shard
  std::uint32_t flows = 0;                         // that use its memory
  std::uint32_t detaching_shards = 0;
  bool is_detached = false;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(ipc::Bulletin& bulletin, ipc::FlowRecord* records)
      : bulletin_(bulletin), records_(records) {}
  EngineImpl(const EngineImpl&) = delete;
  EngineImpl& operator=(const EngineImpl&) = delete;
  ~EngineImpl() override { stop(); }

  Result<> open(const EngineConfig& config, std::span<device::PacketDevice* const> devices);

  void initiate(const chimney::Handoff& handoff) override;
  void terminate(chimney::ConnectionId id, Duration patience) override;
  void update(chimney::ConnectionId id, const CachedState& cached) override;
  void expect(chimney::ConnectionId id, const FourTuple& tuple, std::uint32_t shard) override;
  void recall(chimney::ConnectionId id) override;
  void move_out(chimney::ConnectionId id, std::uint32_t shard) override;
  void move_in(chimney::ConnectionId id, const CachedState& path) override;
  void pass_on(const FourTuple& tuple, std::uint32_t from, std::uint32_t shard) override;
  void release_frames(chimney::ConnectionId id, const FourTuple& tuple,
                      std::span<const std::byte> forged_segment) override;

  Result<Arena*> attach(std::uint32_t number, ipc::SharedMemory memory,
                        std::vector<UniqueFd> bells) override;
  void set_wait_set(Arena& arena, ipc::WaitSetId id, UniqueFd eventfd) override;
  void notify(Arena& arena, ipc::SlotId slot) override;
  bool ring(int eventfd) override { return guards_.back()->ring(eventfd); }
  void detach(Arena& arena) override;

  Result<> tap(std::uint32_t ifindex) override;
  Result<> untap(std::uint32_t ifindex) override;

  [[nodiscard]] int event_fd() const noexcept override { return answers_fd_.get(); }
  void dispatch(chimney::TargetEvents& events) override;
  [[nodiscard]] bool info(chimney::ConnectionId id, tcp::Info& out) const override;
  [[nodiscard]] stats::Snapshot<stats::EngineMetric> stats() const override;
  void set_copies(const netdma::CopierSettings& settings) override;
  [[nodiscard]] stats::NetdmaSnapshot netdma_stats() const override;
  void stop() override;

 private:
  Result<std::vector<DevicePort>> open_ports(std::span<device::PacketDevice* const> devices,
                                             std::uint32_t shard);
  [[nodiscard]] ShardThread& shard_of(chimney::ConnectionId id) {
    return *shards_[records_[id].shard];
  }
  Mail& make_mail(MailKind kind, chimney::ConnectionId id);
  Flow& take_flow(chimney::ConnectionId id);
  void give_back(Flow& flow);
  void deliver(Mail& mail, chimney::TargetEvents& events);
  void remove_if_unused(std::uint32_t number);

  ipc::Bulletin& bulletin_;
  ipc::FlowRecord* const records_;
  stats::TargetAccount* accounts_ = nullptr;
  Mailbox answers_;
  UniqueFd answers_fd_;
  std::vector<std::unique_ptr<WakeGuard>> guards_;  // of each shard, then the control thread's
  std::unique_ptr<WakeWatch> watch_;
  std::vector<std::unique_ptr<ShardThread>> shards_;
  std::unordered_map<std::uint32_t, std::unique_ptr<ArenaEntry>> arenas_;  // by number
  std::vector<std::unique_ptr<Flow>> slab_;
  std::vector<Flow*> free_flows_;
  mutable std::mutex by_id_mutex_;  // for info() on other threads
  std::unordered_map<chimney::ConnectionId, Flow*> by_id_;
};

Result<std::vector<DevicePort>> EngineImpl::open_ports(
    std::span<device::PacketDevice* const> devices, std::uint32_t shard) {
  std::vector<DevicePort> ports;
  for (device::PacketDevice* device : devices) {
    auto queue = device->open_queue(shard);
    if (!queue) return with_context(std::string(device->name()), queue.error());
    ports.push_back({std::move(*queue), device->caps(), device->ifindex(), false});
  }
  return ports;
}

Result<> EngineImpl::open(const EngineConfig& config,
                          std::span<device::PacketDevice* const> devices) {
  if (config.shards == 0 || config.shards > ipc::kMaxShards)
    return fail(Errc::kInvalid, "the engine runs 1 to " + std::to_string(ipc::kMaxShards) +
                                    " shards, not " + std::to_string(config.shards));
  answers_fd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!answers_fd_.is_open()) return fail_errno("the engine cannot make an eventfd");
  accounts_ = config.accounts;
  ShardConfig shard_config;
  shard_config.held_frames = config.held_frames;
  shard_config.time_wait = config.time_wait;
  if (::getrandom(&shard_config.hash_seed, sizeof shard_config.hash_seed, 0) < 0)
    return fail_errno("the engine cannot get random numbers");
  for (std::uint32_t i = 0; i <= config.shards; ++i)
    guards_.push_back(std::make_unique<WakeGuard>());
  for (std::uint32_t i = 0; i < config.shards; ++i) {
    auto ports = open_ports(devices, i);
    if (!ports) return tl::unexpected(ports.error());
    shard_config.shard = i;
    shard_config.accounts = config.accounts;
    if (config.stats != nullptr) shard_config.stats = &config.stats[i];
    if (config.paths != nullptr) shard_config.paths = &config.paths[2 * devices.size() * i];
    auto shard = std::make_unique<Shard>(shard_config, std::move(*ports), records_, answers_,
                                         *guards_[i], monotonic_now());
    if (config.open_channel) {
      shard->use_copier(std::make_unique<netdma::Copier>(config.open_channel(i),
                                                         netdma::CopierLimits{}, monotonic_now));
      shard->configure_copies(config.copies);
    }
    auto thread =
        ShardThread::open(std::move(shard), bulletin_.shard[i], answers_fd_.get(), config.spin_us);
    if (!thread) return tl::unexpected(thread.error());
    shards_.push_back(std::move(*thread));
  }
  bulletin_.shards.store(config.shards);
  guards_.back()->set_thread(::pthread_self());
  for (std::uint32_t i = 0; i < config.shards; ++i)
    shards_[i]->start(i, i < config.cpus.size() ? config.cpus[i] : -1, *guards_[i]);
  std::vector<WakeGuard*> guards;
  for (const auto& guard : guards_)
    guards.push_back(guard.get());
  watch_ = std::make_unique<WakeWatch>(std::move(guards));
  return {};
}

Mail& EngineImpl::make_mail(MailKind kind, chimney::ConnectionId id) {
  Mail& mail = *new Mail;  // deliver() deletes it when it has come back
  mail.kind = kind;
  mail.id = id;
  return mail;
}

Flow& EngineImpl::take_flow(chimney::ConnectionId id) {
  if (free_flows_.empty()) {
    slab_.push_back(std::make_unique<Flow>());
    free_flows_.push_back(slab_.back().get());
  }
  Flow& flow = *free_flows_.back();
  free_flows_.pop_back();
  for (Mail* mail : {&flow.finished_mail, &flow.upload_mail}) {
    mail->is_part_of_flow = true;
    mail->flow = &flow;
    mail->id = id;
  }
  flow.info.store({});
  const std::lock_guard lock(by_id_mutex_);
  by_id_[id] = &flow;
  return flow;
}

void EngineImpl::give_back(Flow& flow) {
  {
    const std::lock_guard lock(by_id_mutex_);
    by_id_.erase(flow.finished_mail.id);
  }
  const std::uint32_t number = flow.arena->arena().number;
  --arenas_.at(number)->flows;
  free_flows_.push_back(&flow);
  remove_if_unused(number);
}

void EngineImpl::initiate(const chimney::Handoff& handoff) {
  const ipc::FlowRecord& record = records_[handoff.id];
  ArenaEntry& entry = *arenas_.at(record.arena);
  ++entry.flows;
  Mail& mail = make_mail(MailKind::kInitiate, handoff.id);
  mail.flow = &take_flow(handoff.id);
  mail.arena = entry.views[record.shard].get();
  mail.handoff = handoff;
  shard_of(handoff.id).post(mail);
}

void EngineImpl::terminate(chimney::ConnectionId id, Duration patience) {
  Mail& mail = make_mail(MailKind::kTerminate, id);
  mail.patience = patience;
  shard_of(id).post(mail);
}

void EngineImpl::update(chimney::ConnectionId id, const CachedState& cached) {
  Mail& mail = make_mail(MailKind::kUpdate, id);
  mail.handoff.state.cached = cached;
  shard_of(id).post(mail);
}

void EngineImpl::release_frames(chimney::ConnectionId id, const FourTuple& tuple,
                                std::span<const std::byte> forged_segment) {
  Mail& mail = make_mail(MailKind::kReleaseFrames, id);
  mail.handoff.state.constant.tuple = tuple;
  mail.handoff.state.constant.ifindex = records_[id].constant.ifindex;
  mail.account = records_[id].account;
  if (accounts_ != nullptr) mail.recalls = accounts_[mail.account].recalls.load();
  mail.forged_segment.assign(forged_segment.begin(), forged_segment.end());
  shard_of(id).post(mail);
}

void EngineImpl::recall(chimney::ConnectionId id) {
  if (accounts_ != nullptr) accounts_[records_[id].account].recalls.fetch_add(1);
}

void EngineImpl::expect(chimney::ConnectionId id, const FourTuple& tuple, std::uint32_t shard) {
  Mail& mail = make_mail(MailKind::kExpect, id);
  mail.handoff.state.constant.tuple = tuple;
  shards_[shard]->post(mail);
}

void EngineImpl::move_out(chimney::ConnectionId id, std::uint32_t shard) {
  Mail& mail = make_mail(MailKind::kMoveOut, id);
  mail.shard = shard;
  shard_of(id).post(mail);
}

void EngineImpl::move_in(chimney::ConnectionId id, const CachedState& path) {
  Mail& mail = make_mail(MailKind::kMoveIn, id);
  mail.flow = by_id_.at(id);
  const ipc::FlowRecord& record = records_[id];
  mail.arena = arenas_.at(record.arena)->views[record.shard].get();
  mail.handoff.state.cached = path;
  shard_of(id).post(mail);
}

void EngineImpl::pass_on(const FourTuple& tuple, std::uint32_t from, std::uint32_t shard) {
  Mail& mail = make_mail(MailKind::kPassOn, 0);
  mail.handoff.state.constant.tuple = tuple;
  mail.shard = shard;
  shards_[from]->post(mail);
}

Result<Arena*> EngineImpl::attach(std::uint32_t number, ipc::SharedMemory memory,
                                  std::vector<UniqueFd> bells) {
  if (memory.size() < ipc::kRingsOffset)
    return fail(Errc::kInvalid, "an arena is smaller than its own tables");
  if (bells.empty())
    for (std::size_t i = 0; i < shards_.size(); ++i)
      bells.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (bells.size() != shards_.size())
    return fail(Errc::kInvalid, "an arena has bells for another number of shards");
  auto entry = std::make_unique<ArenaEntry>();
  Arena& arena = entry->arena;
  arena.number = number;
  arena.memory = std::move(memory);
  arena.wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
  for (auto& fd : arena.wait_set_fds)
    fd.store(-1, std::memory_order_relaxed);
  arena.bells = std::move(bells);
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    if (!arena.bells[i].is_open()) return fail_errno("cannot make a doorbell");
    if (auto watched = shards_[i]->watch(arena.bells[i].get()); !watched)
      return tl::unexpected(watched.error());
  }
  for (std::uint32_t i = 0; i < shards_.size(); ++i) {
    entry->views.push_back(std::make_unique<ShardArena>(arena, i));
    Mail& mail = make_mail(MailKind::kAttach, 0);
    mail.arena = entry->views.back().get();
    shards_[i]->post(mail);
  }
  arenas_[number] = std::move(entry);
  return &arena;
}

void EngineImpl::set_wait_set(Arena& arena, ipc::WaitSetId id, UniqueFd eventfd) {
  if (id == 0 || id >= ipc::kWaitSets) return;
  std::atomic<int>& fd = arena.wait_set_fds[id];
  const int old = fd.load(std::memory_order_relaxed);
  // A shard may be writing to it right now: the number stays, what it stands for changes.
  if (old >= 0)
    std::ignore = ::dup3(eventfd.get(), old, O_CLOEXEC);
  else
    fd.store(eventfd.release(), std::memory_order_release);
  // The waiter may sleep already, and a wake-up have found no descriptor here.
  guards_.back()->wake(arena, id);
}

void EngineImpl::notify(Arena& arena, ipc::SlotId slot_id) {
  const ShardArena& view = *arenas_.at(arena.number)->views.front();
  for (const auto& word : view.slot(slot_id).app.wait_sets) {
    const ipc::WaitSetId id = word.load(std::memory_order_relaxed);
    if (id == 0 || id >= ipc::kWaitSets) continue;
    ipc::WaitSet& set = view.wait_set(id);
    ipc::mark(set.ready, slot_id);
    if (set.sleeping.load() != 0 && set.sleeping.exchange(0) != 0) guards_.back()->wake(arena, id);
  }
}

void EngineImpl::detach(Arena& arena) {
  ArenaEntry& entry = *arenas_.at(arena.number);
  entry.is_detached = true;
  entry.detaching_shards = static_cast<std::uint32_t>(shards_.size());
  for (std::uint32_t i = 0; i < shards_.size(); ++i) {
    shards_[i]->unwatch(arena.bells[i].get());
    Mail& mail = make_mail(MailKind::kDetach, 0);
    mail.arena = entry.views[i].get();
    shards_[i]->post(mail);
  }
}

void EngineImpl::remove_if_unused(std::uint32_t number) {
  const auto found = arenas_.find(number);
  ArenaEntry& entry = *found->second;
  if (!entry.is_detached || entry.detaching_shards != 0 || entry.flows != 0) return;
  for (const auto& fd : entry.arena.wait_set_fds)
    if (const int number_of_fd = fd.load(std::memory_order_relaxed); number_of_fd >= 0)
      ::close(number_of_fd);
  arenas_.erase(found);
}

device::PacketQueue& queue_of(const ShardThread& shard, std::uint32_t ifindex) {
  const auto ports = shard.shard().ports();
  const auto found = std::find_if(ports.begin(), ports.end(),
                                  [&](const DevicePort& port) { return port.ifindex == ifindex; });
  SNP_ASSERT(found != ports.end());
  return *found->queue;
}

Result<> EngineImpl::tap(std::uint32_t ifindex) {
  for (const auto& shard : shards_) {
    if (auto tapped = queue_of(*shard, ifindex).tap(); !tapped) {
      (void)untap(ifindex);
      return tapped;
    }
  }
  return {};
}

Result<> EngineImpl::untap(std::uint32_t ifindex) {
  for (const auto& shard : shards_) {
    const auto fd = queue_of(*shard, ifindex).prepare_untap();
    if (!fd) return tl::unexpected(fd.error());
    if (*fd < 0) continue;
    if (auto watched = shard->watch_queue(*fd); !watched) return watched;
  }
  const auto is_done = std::make_shared<std::latch>(static_cast<std::ptrdiff_t>(shards_.size()));
  for (const auto& shard : shards_) {
    Mail& mail = make_mail(MailKind::kUntap, 0);
    mail.handoff.state.constant.ifindex = ifindex;
    mail.is_done = is_done;
    shard->post(mail);
  }
  is_done->wait();
  for (const auto& shard : shards_)
    queue_of(*shard, ifindex).finish_untap();
  return {};
}

void EngineImpl::dispatch(chimney::TargetEvents& events) {
  std::uint64_t rung = 0;
  std::ignore = ::read(answers_fd_.get(), &rung, sizeof rung);
  for (MailNode* node = answers_.take_all(); node != nullptr;) {
    auto& mail = static_cast<Mail&>(*node);
    node = node->next;
    deliver(mail, events);
  }
}

void EngineImpl::deliver(Mail& mail, chimney::TargetEvents& events) {
  std::unique_ptr<Mail> owned(mail.is_part_of_flow ? nullptr : &mail);
  switch (mail.kind) {
    case MailKind::kExpected:
      return events.expected(mail.id);
    case MailKind::kMovedOut:
      return events.moved_out(mail.id);
    case MailKind::kPassedFrame:
      mail.kind = MailKind::kFrame;
      shards_[mail.shard]->post(*owned.release());
      return;
    case MailKind::kInitiated:
      return events.initiated(mail.id);
    case MailKind::kTerminated:
      give_back(*mail.flow);
      return events.terminated(mail.id, mail.handoff);
    case MailKind::kRefused:
      return events.refused(mail.id, mail.handoff.state.delegated.state);
    case MailKind::kUploadRequested:
      return events.upload_requested(mail.id, mail.reason);
    case MailKind::kFinished: {
      const chimney::ConnectionId id = mail.id;
      give_back(*mail.flow);
      return events.finished(id);
    }
    case MailKind::kDetached: {
      const std::uint32_t number = mail.arena->arena().number;
      --arenas_.at(number)->detaching_shards;
      return remove_if_unused(number);
    }
    default:
      return;
  }
}

bool EngineImpl::info(chimney::ConnectionId id, tcp::Info& out) const {
  const std::lock_guard lock(by_id_mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  out = found->second->info.load();
  return true;
}

stats::Snapshot<stats::EngineMetric> EngineImpl::stats() const {
  stats::Snapshot<stats::EngineMetric> sum;
  for (const auto& shard : shards_)
    sum.merge(shard->shard().stats().snapshot());
  return sum;
}

void EngineImpl::set_copies(const netdma::CopierSettings& settings) {
  for (const auto& shard : shards_) {
    Mail& mail = make_mail(MailKind::kCopies, 0);
    mail.copies = settings;
    shard->post(mail);
  }
}

stats::NetdmaSnapshot EngineImpl::netdma_stats() const {
  stats::NetdmaSnapshot sum;
  for (const auto& shard : shards_)
    if (const netdma::Copier* copier = shard->shard().copier(); copier != nullptr)
      sum.merge(copier->stats().snapshot());
  return sum;
}

void EngineImpl::stop() {
  for (auto& shard : shards_)
    shard->stop();
  // What nobody will answer or take any more.
  const auto drop = [](Mailbox& box) {
    for (MailNode* node = box.take_all(); node != nullptr;) {
      const auto& mail = static_cast<Mail&>(*node);
      node = node->next;
      if (!mail.is_part_of_flow) delete &mail;
    }
  };
  for (auto& shard : shards_)
    drop(shard->inbox());
  drop(answers_);
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(const EngineConfig& config,
                                              std::span<device::PacketDevice* const> devices,
                                              ipc::Bulletin& bulletin, ipc::FlowRecord* records) {
  auto engine = std::make_unique<EngineImpl>(bulletin, records);
  if (auto opened = engine->open(config, devices); !opened) return tl::unexpected(opened.error());
  return engine;
}

}  // namespace snp::engine
