// Receive-side scaling of the host's packets on one device: which backend, over which CPUs, with
// which table, and what the balancer does there. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snp/commands/service.h"
#include "snp/rss/backends/backend.h"
#include "snp/rss/backends/choice.h"
#include "snp/rss/backends/cpu_times.h"
#include "snp/rss/backends/journal.h"
#include "snp/rss/backends/sysfs.h"
#include "snp/rss/balancer.h"
#include "snp/rss/configuration.h"
#include "snp/rss/membership.h"
#include "snp/rss/other_work.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

// What all sites share; outlives them.
struct HostSurroundings {
  const settings::Settings& settings;
  rss::HashKey secret;
  rss::Sysfs sysfs;
  rss::Journal journal;
};

class HostSite {
 public:
  HostSite(HostSurroundings& env, std::string device, std::uint32_t ifindex);

  // Takes over what the settings say, from the start. What cannot be done is explained and leaves
  // the device as it was without us.
  void follow();
  // CPUs have come or gone: what has left gives its buckets away at once, what has come waits for
  // the next rebalance.
  void follow_cpus();
  // The backend is still there, and nobody else has changed it; gives up otherwise.
  void check();
  // As many CPUs as sustain the load, where that is wanted.
  void scale(const std::map<rss::CpuId, rss::CpuShare>& shares);
  rss::BalancerReport rebalance(bool is_dry);
  // How busy the CPUs were during the rounds since the last call.
  void weigh(const std::map<rss::CpuId, rss::CpuShare>& shares);
  // As it was before us.
  void stop();

  [[nodiscard]] bool is_active() const noexcept { return backend_ != nullptr; }
  [[nodiscard]] bool wants_scaling() const noexcept { return is_scaled_; }
  [[nodiscard]] bool wants_balance() const;
  [[nodiscard]] commands::HostRssRow row();
  // CPUs of the set, best first.
  [[nodiscard]] const std::vector<rss::CpuId>& cpus() const noexcept { return set_; }

 private:
  [[nodiscard]] Result<std::vector<rss::CpuId>> choose_cpus() const;
  [[nodiscard]] std::vector<rss::CpuId> cpus_in_use() const;
  [[nodiscard]] std::uint32_t entries() const;
  Result<> choose();
  Result<> begin();
  [[nodiscard]] Result<std::unique_ptr<rss::Backend>> make_backend() const;
  Result<> retable(const std::vector<rss::CpuId>& cpus, const std::vector<rss::CpuId>& table);
  Result<> apply_moves(const std::vector<rss::BucketMove>& moves,
                       const std::vector<rss::CpuId>& cpus);
  void give_up(const Error& error);
  void baseline();
  void note(const std::vector<rss::BucketMove>& moves);

  HostSurroundings& env_;
  std::string device_;
  std::uint32_t ifindex_;
  rss::DeviceFacts facts_;
  rss::Choice choice_;
  std::string error_;  // why it is not as wanted; may be empty
  std::unique_ptr<rss::Backend> backend_;
  std::vector<rss::CpuId> set_;       // that may be used
  std::uint32_t in_use_ = 0;          // of them, from the first one on
  bool is_scaled_ = false;            // in_use_ follows the load
  rss::Configuration configuration_;  // as applied
  rss::Balancer balancer_;
  rss::OtherWork other_work_;
  rss::Scaler scaler_;
  std::vector<std::uint64_t> seen_;  // packets of each bucket at the last round
  std::vector<std::uint32_t> elephants_;
  std::vector<std::string> last_moves_;
  std::uint64_t moved_ = 0;
};

}  // namespace snp::daemon
