#include "snp/daemon/host_scaling.h"

#include <algorithm>

#include <sys/epoll.h>

#include <spdlog/spdlog.h>

#include "snp/daemon/scaling_settings.h"
#include "snp/engine/clock.h"
#include "snp/rss/backends/restore.h"

namespace snp::daemon {
namespace {

constexpr Duration kTurn = seconds(1);
constexpr Duration kBalanceInterval = milliseconds(200);
constexpr std::uint32_t kRoundsOfAWindow = 5;  // the kernel counts time in steps of 10 ms

void warn(const std::string& line) {
  spdlog::warn("receive-side scaling: {}", line);
}

}  // namespace

void restore_host_scaling() {
  rss::Journal journal(rss::Journal::default_path());
  restore_devices(journal, rss::Sysfs(), warn);
}

HostScaling::HostScaling(EventLoop& loop, const settings::Settings& settings,
                         const rss::HashKey& secret, const std::vector<Device>& devices)
    : loop_(loop),
      env_{settings, secret, rss::Sysfs(), rss::Journal(rss::Journal::default_path())} {
  for (const Device& device : devices)
    sites_.push_back(std::make_unique<HostSite>(env_, device.name, device.ifindex));
}

void HostScaling::start() {
  restore_devices(env_.journal, env_.sysfs, warn);
  online_ = env_.sysfs.online_cpus();
  if (auto watch = rss::CpuWatch::open()) {
    watch_ = std::move(*watch);
    const auto heard = [this](std::uint32_t) {
      if (watch_->drain()) look_for_cpus();
    };
    if (auto done = loop_.add(watch_->fd(), EPOLLIN, heard); !done) watch_.reset();
  }
  follow();
}

void HostScaling::follow() {
  for (const auto& site : sites_)
    site->follow();
  plan();
}

void HostScaling::look_for_cpus() {
  const std::vector<rss::CpuId> now = env_.sysfs.online_cpus();
  if (now == online_) return;
  spdlog::info("receive-side scaling: CPUs {} are online now, not {}", rss::to_cpu_list(now),
               rss::to_cpu_list(online_));
  online_ = now;
  for (const auto& site : sites_)
    site->follow_cpus();
  plan();
}

// Nothing is due when there is nothing to look after: an idle snpd sleeps.
void HostScaling::plan() {
  const auto is_alive = std::weak_ptr<bool>(is_alive_);
  const auto later = [&](Duration delay, void (HostScaling::*what)()) {
    loop_.call_at(engine::monotonic_now() + delay, [this, is_alive, what] {
      if (!is_alive.expired()) (this->*what)();
    });
  };
  const auto any = [this](auto test) { return std::ranges::any_of(sites_, test); };
  if (!is_turn_due_ &&
      any([](const auto& site) { return site->is_active() || site->wants_scaling(); })) {
    is_turn_due_ = true;
    later(kTurn, &HostScaling::turn);
  }
  if (!is_balance_due_ && any([](const auto& site) { return site->wants_balance(); })) {
    is_balance_due_ = true;
    later(kBalanceInterval, &HostScaling::balance);
  }
}

void HostScaling::turn() {
  is_turn_due_ = false;
  look_for_cpus();
  const bool is_scaled =
      std::ranges::any_of(sites_, [](const auto& site) { return site->wants_scaling(); });
  const auto shares = is_scaled ? times_.sample() : std::map<rss::CpuId, rss::CpuShare>();
  for (const auto& site : sites_) {
    site->check();
    site->scale(shares);
  }
  plan();
}

void HostScaling::balance() {
  is_balance_due_ = false;
  const bool is_window_over = ++rounds_ % kRoundsOfAWindow == 0;
  const auto shares =
      is_window_over ? times_of_rounds_.sample() : std::map<rss::CpuId, rss::CpuShare>();
  for (const auto& site : sites_) {
    if (!site->wants_balance()) continue;
    (void)site->rebalance(false);
    if (is_window_over) site->weigh(shares);
  }
  plan();
}

rss::BalancerReport HostScaling::rebalance(bool is_dry) {
  rss::BalancerReport all;
  for (const auto& site : sites_) {
    rss::BalancerReport one = site->rebalance(is_dry);
    all.imbalance_before = std::max(all.imbalance_before, one.imbalance_before);
    all.imbalance_after = std::max(all.imbalance_after, one.imbalance_after);
    std::ranges::move(one.moves, std::back_inserter(all.moves));
  }
  return all;
}

void HostScaling::stop() {
  if (watch_) loop_.remove(watch_->fd());
  watch_.reset();
  is_alive_.reset();
  for (const auto& site : sites_)
    site->stop();
}

std::vector<commands::HostRssRow> HostScaling::rows() {
  std::vector<commands::HostRssRow> rows;
  for (const auto& site : sites_)
    rows.push_back(site->row());
  return rows;
}

}  // namespace snp::daemon
