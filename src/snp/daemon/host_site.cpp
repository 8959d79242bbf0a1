#include "snp/daemon/host_site.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <spdlog/spdlog.h>

#include "snp/daemon/scaling_settings.h"
#include "snp/rss/backends/card.h"
#include "snp/rss/backends/queue_cpus.h"
#include "snp/rss/backends/rps.h"

namespace snp::daemon {
namespace {

constexpr std::size_t kMovesKept = 16;

std::vector<rss::CpuId> table_of(const rss::IndirectionTable& table) {
  return {table.entries().begin(), table.entries().end()};
}

}  // namespace

HostSite::HostSite(HostSurroundings& env, std::string device, std::uint32_t ifindex)
    : env_(env), device_(std::move(device)), ifindex_(ifindex), configuration_(0) {}

Result<std::vector<rss::CpuId>> HostSite::choose_cpus() const {
  std::vector<rss::Processor> processors = env_.sysfs.processors(env_.sysfs.node_of(device_));
  std::erase_if(processors, [this](const rss::Processor& processor) {
    return is_avoided(env_.settings, processor.cpu);
  });
  return choose_processors(keywords_of(env_.settings), processors);
}

std::vector<rss::CpuId> HostSite::cpus_in_use() const {
  return {set_.begin(), set_.begin() + std::min<std::ptrdiff_t>(in_use_, std::ssize(set_))};
}

// Never more than the card has.
std::uint32_t HostSite::entries() const {
  const std::uint32_t wanted = table_size_of(env_.settings);
  if (choice_.kind != rss::BackendKind::kCard) return wanted;
  return std::min(wanted, std::bit_floor(facts_.card_entries));
}

Result<> HostSite::choose() {
  choice_ = {};
  set_.clear();
  if (!is_scaling_on(env_.settings)) {
    choice_.why = "receive-side scaling is disabled";
    return {};
  }
  auto cpus = choose_cpus();
  if (!cpus) return tl::unexpected(cpus.error());
  set_ = std::move(*cpus);
  facts_ = rss::look_at(device_, ifindex_, rss::ethtool_of(device_), env_.sysfs);
  auto choice = choose_backend(backend_for(env_.settings, device_), facts_, set_.size(),
                               is_shaped(env_.settings));
  if (!choice) return tl::unexpected(choice.error());
  choice_ = std::move(*choice);
  return {};
}

Result<std::unique_ptr<rss::Backend>> HostSite::make_backend() const {
  switch (choice_.kind) {
    case rss::BackendKind::kCard:
      return rss::make_card(
          device_, ifindex_, rss::ethtool_of(device_),
          [this](std::uint32_t queues) { return rss::queue_cpus_of(env_.sysfs, device_, queues); },
          env_.journal);
    case rss::BackendKind::kCpumap:
      return rss::make_cpumap(device_, ifindex_, choice_.mode);
    case rss::BackendKind::kRps:
      return rss::make_rps(device_, ifindex_, env_.sysfs, env_.journal);
    case rss::BackendKind::kNone:
      break;
  }
  return std::unique_ptr<rss::Backend>();
}

// A table over the CPUs in use; none when one CPU is enough, for now.
Result<> HostSite::begin() {
  const std::vector<rss::CpuId> cpus = cpus_in_use();
  if (choice_.kind == rss::BackendKind::kNone || cpus.size() < 2) return {};
  auto backend = make_backend();
  if (!backend) return tl::unexpected(backend.error());
  backend_ = std::move(*backend);
  auto done = retable(cpus, rss::spread(cpus, entries()));
  // A card that has no native XDP can have it in the generic way.
  if (!done && choice_.kind == rss::BackendKind::kCpumap && choice_.mode == rss::XdpMode::kNative &&
      done.error().code == Errc::kUnsupported) {
    choice_.mode = rss::XdpMode::kGeneric;
    auto generic = make_backend();
    if (!generic) return tl::unexpected(generic.error());
    backend_ = std::move(*generic);
    done = retable(cpus, rss::spread(cpus, entries()));
  }
  if (!done) {
    (void)backend_->undo();
    backend_.reset();
  }
  return done;
}

void HostSite::follow() {
  stop();
  error_.clear();
  balancer_.reset();
  other_work_ = rss::OtherWork();
  auto done = choose();
  is_scaled_ = done && choice_.kind != rss::BackendKind::kNone &&
               (choice_.waits_for_load || grows_with_load(profile_of(env_.settings)));
  in_use_ = is_scaled_ ? 1 : static_cast<std::uint32_t>(set_.size());
  if (done) done = begin();
  if (!done) {
    error_ = done.error().message;
    spdlog::warn("receive-side scaling of the host's packets: {}", error_);
  } else if (is_active()) {
    spdlog::info("receive-side scaling of the host's packets: {} by {} over CPUs {}: {}", device_,
                 to_string(choice_.kind), rss::to_cpu_list(cpus_in_use()), choice_.why);
  }
}

Result<> HostSite::retable(const std::vector<rss::CpuId>& cpus,
                           const std::vector<rss::CpuId>& table) {
  auto next = make_configuration(env_.settings, env_.secret, cpus, table);
  if (!next) return tl::unexpected(next.error());
  if (auto done = backend_->apply({next->types(), next->key(), table, cpus.front()}); !done)
    return done;
  configuration_ = std::move(*next);
  baseline();
  return {};
}

// The balancer counts from here on: who counts by queues counts otherwise after a move.
void HostSite::baseline() {
  const auto now = backend_->bucket_packets();
  seen_ = now ? *now : std::vector<std::uint64_t>();
}

Result<> HostSite::apply_moves(const std::vector<rss::BucketMove>& moves,
                               const std::vector<rss::CpuId>& cpus) {
  std::vector<rss::CpuId> table = table_of(configuration_.table());
  for (const rss::BucketMove& move : moves)
    table[move.bucket] = move.to;
  if (auto done = retable(cpus, table); !done) return done;
  note(moves);
  return {};
}

void HostSite::note(const std::vector<rss::BucketMove>& moves) {
  for (const rss::BucketMove& move : moves) {
    ++moved_;
    if (last_moves_.size() == kMovesKept) last_moves_.erase(last_moves_.begin());
    last_moves_.push_back(move.reason);
  }
  if (!moves.empty())
    spdlog::info("receive-side scaling: {}: {} buckets moved, the last: {}", device_, moves.size(),
                 moves.back().reason);
}

void HostSite::follow_cpus() {
  auto cpus = choose_cpus();
  if (!is_active() || !cpus) return follow();
  const std::vector<rss::CpuId> before = cpus_in_use();
  set_ = std::move(*cpus);
  in_use_ = is_scaled_ ? std::min(in_use_, static_cast<std::uint32_t>(set_.size()))
                       : static_cast<std::uint32_t>(set_.size());
  std::vector<rss::CpuId> stay;
  for (const rss::CpuId cpu : before)
    if (std::ranges::find(set_, cpu) != set_.end()) stay.push_back(cpu);
  if (stay.empty() || set_.size() < 2) return follow();
  const auto moves = rss::moves_off(configuration_.table(), stay);
  if (moves.empty()) return;
  if (auto done = apply_moves(moves, stay); !done) give_up(done.error());
}

void HostSite::give_up(const Error& error) {
  error_ = error.message;
  spdlog::warn("receive-side scaling: {}; its packets go as the host sends them", error_);
  if (error.code == Errc::kBusy)
    backend_->release();  // what somebody else has set is right
  else if (auto done = backend_->undo(); !done)
    spdlog::warn("receive-side scaling: {}", done.error().message);
  backend_.reset();
  is_scaled_ = false;
}

void HostSite::check() {
  if (!is_active()) return;
  if (const auto state = backend_->look(); !state) give_up(state.error());
}

void HostSite::scale(const std::map<rss::CpuId, rss::CpuShare>& shares) {
  if (!is_scaled_ || shares.empty()) return;
  std::vector<double> loads;
  if (in_use_ < 2) {
    // Nothing is spread: whichever CPU receives most says whether it is full.
    double fullest = 0;
    for (const auto& [cpu, share] : shares)
      fullest = std::max(fullest, share.softirq);
    loads.push_back(fullest);
  } else {
    for (const rss::CpuId cpu : cpus_in_use())
      if (const auto share = shares.find(cpu); share != shares.end())
        loads.push_back(share->second.busy);
  }
  const auto wanted = scaler_.follow(loads, static_cast<std::uint32_t>(set_.size()));
  if (wanted == in_use_ || (loads.size() != in_use_ && in_use_ >= 2)) return;
  spdlog::info("receive-side scaling: {}: {} CPUs instead of {}, the fullest is {:.0f} % busy",
               device_, wanted, in_use_, 100 * *std::ranges::max_element(loads));
  in_use_ = wanted;
  if (wanted < 2) {
    if (is_active()) (void)backend_->undo();
    backend_.reset();
    return;
  }
  Result<> done;
  if (!is_active()) {
    done = begin();
    if (!done) error_ = done.error().message;
    return;
  }
  const std::vector<rss::CpuId> cpus = cpus_in_use();
  auto moves = rss::moves_off(configuration_.table(), cpus);
  if (moves.empty()) moves = rss::moves_to_newcomers(configuration_.table(), cpus);
  if (done = apply_moves(moves, cpus); !done) give_up(done.error());
}

bool HostSite::wants_balance() const {
  return is_active() && may_balance(env_.settings) && !seen_.empty();
}

rss::BalancerReport HostSite::rebalance(bool is_dry) {
  rss::BalancerReport report;
  if (!is_active()) return report;
  const std::vector<rss::CpuId> cpus = cpus_in_use();
  const auto newcomers = rss::moves_to_newcomers(configuration_.table(), cpus);
  const auto now = backend_->bucket_packets();
  if (now && now->size() == seen_.size() && now->size() == configuration_.table().size()) {
    std::vector<std::uint64_t> since(now->size());
    for (std::size_t i = 0; i < now->size(); ++i)
      since[i] = (*now)[i] >= seen_[i] ? (*now)[i] - seen_[i] : 0;
    const rss::IndirectionTable& table = configuration_.table();
    const std::vector<double> other = other_work_.of(cpus);
    report = is_dry ? balancer_.preview(table, cpus, since, other)
                    : balancer_.rebalance(table, cpus, since, other);
    if (!is_dry) {
      other_work_.count(table, since);
      seen_ = *now;
      elephants_ = report.elephants;
    }
  }
  if (!newcomers.empty()) report.moves = newcomers;  // they come first, the rest by and by
  if (!is_dry && !report.moves.empty())
    if (auto done = apply_moves(report.moves, cpus); !done) give_up(done.error());
  for (rss::BucketMove& move : report.moves)
    move.reason = device_ + ": " + move.reason;
  return report;
}

void HostSite::weigh(const std::map<rss::CpuId, rss::CpuShare>& shares) {
  std::vector<rss::KernelShare> kernel;
  kernel.reserve(shares.size());
  for (const auto& [cpu, share] : shares)
    kernel.push_back({cpu, share.kernel});
  other_work_.measure(kernel);
}

void HostSite::stop() {
  if (!is_active()) return;
  if (auto done = backend_->undo(); !done)
    spdlog::error("receive-side scaling: {}", done.error().message);
  backend_.reset();
}

commands::HostRssRow HostSite::row() {
  commands::HostRssRow row;
  row.device = device_;
  row.backend = std::string(to_string(is_active() ? choice_.kind : rss::BackendKind::kNone));
  row.why = !error_.empty() ? error_ : choice_.why;
  if (is_scaled_ && !is_active()) row.why += "; one CPU is enough now";
  row.has_failed = !error_.empty();
  row.cpu_set = rss::to_cpu_list(set_);
  row.buckets_moved = moved_;
  row.last_moves = last_moves_;
  row.elephants = elephants_;
  if (!is_active()) return row;
  row.is_balancing = wants_balance();
  const auto state = backend_->look();
  if (!state) {
    row.remark = state.error().message;
    return row;
  }
  row.cpus = rss::to_cpu_list(state->cpus);
  row.table = state->table;
  row.queues = state->queues;
  row.remark = state->remark;
  if (auto packets = backend_->bucket_packets()) row.packets = std::move(*packets);
  return row;
}

}  // namespace snp::daemon
