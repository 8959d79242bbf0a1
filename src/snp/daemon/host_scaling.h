// Receive-side scaling of the host's packets: one site for each device that is served, followed by
// settings, CPUs that come and go, and the load. Control thread only.
//
// It begins with putting back what a process that was killed has left, and ends with putting back
// everything: the journal is empty then.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snp/commands/service.h"
#include "snp/daemon/event_loop.h"
#include "snp/daemon/host_site.h"
#include "snp/rss/backends/cpu_watch.h"

namespace snp::daemon {

class HostScaling {
 public:
  struct Device {
    std::string name;
    std::uint32_t ifindex = 0;
  };
  // `loop` and `settings` outlive it.
  HostScaling(EventLoop& loop, const settings::Settings& settings, const rss::HashKey& secret,
              const std::vector<Device>& devices);
  HostScaling(const HostScaling&) = delete;
  HostScaling& operator=(const HostScaling&) = delete;
  ~HostScaling() { stop(); }

  void start();
  // After a change of settings that say how packets are spread.
  void follow();
  // After any other: what is due from now on.
  void plan();
  rss::BalancerReport rebalance(bool is_dry);
  void stop();
  // One row a device.
  [[nodiscard]] std::vector<commands::HostRssRow> rows();

 private:
  void look_for_cpus();
  void turn();
  void balance();

  EventLoop& loop_;
  HostSurroundings env_;
  std::vector<std::unique_ptr<HostSite>> sites_;
  std::optional<rss::CpuWatch> watch_;
  std::vector<rss::CpuId> online_;
  rss::CpuTimes times_;
  rss::CpuTimes times_of_rounds_;
  std::uint32_t rounds_ = 0;                                       // of the balancers
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // for what is due later
  bool is_turn_due_ = false;
  bool is_balance_due_ = false;
};

// Puts back what an engine that is gone had changed on devices of this network namespace.
void restore_host_scaling();

}  // namespace snp::daemon
