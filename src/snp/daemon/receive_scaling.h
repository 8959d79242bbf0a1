// Receive-side scaling of the engine: which shard an incoming packet's hash gives, one model for
// steering and for us. The shards stand in for the CPUs of the original (reference 5.1). Control
// thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "snp/base/time.h"
#include "snp/commands/service.h"
#include "snp/rss/balancer.h"
#include "snp/rss/configuration.h"
#include "snp/rss/membership.h"
#include "snp/settings/settings.h"
#include "snp/steer/steering.h"

namespace snp::daemon {

class ReceiveScaling {
 public:
  // Share of time, 0 to 1, that each shard ran since the last call.
  using Loads = std::function<std::map<std::uint32_t, double>(Instant now)>;

  // `settings`: followed when told. `secret`: the key unless a setting says another.
  ReceiveScaling(steer::Steering& steering, const settings::Settings& settings,
                 const rss::HashKey& secret, Loads loads);

  // Takes over what the settings say. Pre: no flow is steered by hash. On failure everything is as
  // it was.
  Result<> follow();

  [[nodiscard]] std::uint32_t shard_of(const FourTuple& flow) const;
  // Nothing: its packets get no hash.
  [[nodiscard]] std::optional<std::uint32_t> bucket_of(const FourTuple& flow) const;
  [[nodiscard]] bool is_balancing() const;

  // What the balancer would do after the packets since its last round; `is_dry`: it forgets that it
  // was asked. With the profile conservative also what a shard more, or one less, would move.
  rss::BalancerReport balance(bool is_dry, Instant now);
  // Another shard for a bucket, for us and for steering.
  void move(const rss::BucketMove& move);

  void fill(commands::RssReport& report) const;

 private:
  [[nodiscard]] std::vector<rss::CpuId> choose_shards() const;
  [[nodiscard]] std::vector<rss::CpuId> shards_in_use() const;
  std::optional<rss::BalancerReport> scale(Instant now);

  steer::Steering& steering_;
  const settings::Settings& settings_;
  const rss::HashKey secret_;
  std::vector<rss::CpuId> shards_;
  std::uint32_t in_use_ = 1;  // of them; fewer than all while they sustain the load
  bool is_scaled_ = false;
  rss::Scaler scaler_;
  Loads loads_;
  Instant scaled_;
  rss::Configuration configuration_;
  rss::Balancer balancer_;
  std::vector<std::uint64_t> seen_;  // packets of each bucket at the last round
  std::vector<std::string> moves_;   // the latest, and why
  std::uint64_t moved_ = 0;
};

}  // namespace snp::daemon
