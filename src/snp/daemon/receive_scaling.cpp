#include "snp/daemon/receive_scaling.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "snp/daemon/scaling_settings.h"
#include "snp/rss/processors.h"

namespace snp::daemon {
namespace {

using settings::Setting;

constexpr std::size_t kMovesKept = 16;
constexpr Duration kBetweenScalings = seconds(1);

// As in the packets that arrive: the remote end is the source.
rss::PacketFields incoming(const FourTuple& flow) {
  rss::PacketFields packet;
  packet.source = flow.remote.address;
  packet.destination = flow.local.address;
  packet.transport = rss::Transport::kTcp;
  packet.source_port = flow.remote.port;
  packet.destination_port = flow.local.port;
  return packet;
}

}  // namespace

ReceiveScaling::ReceiveScaling(steer::Steering& steering, const settings::Settings& settings,
                               const rss::HashKey& secret, Loads loads)
    : steering_(steering),
      settings_(settings),
      secret_(secret),
      shards_{0},
      loads_(std::move(loads)),
      configuration_(0) {}

// The shards that the range leaves; when it leaves none, the first: a connection must go somewhere.
std::vector<rss::CpuId> ReceiveScaling::choose_shards() const {
  std::vector<rss::Processor> processors;
  for (std::uint32_t shard = 0; shard < settings_.number(Setting::kShards); ++shard)
    processors.push_back({shard, 0, shard, 0});
  const auto chosen = choose_processors(keywords_of(settings_), processors);
  if (chosen) return *chosen;
  spdlog::warn("receive-side scaling: rss_base_cpu is {}, but there are {} shards: shard 0 has all",
               settings_.number(Setting::kRssBaseCpu), processors.size());
  return {0};
}

Result<> ReceiveScaling::follow() {
  std::vector<rss::CpuId> shards = choose_shards();
  const bool is_scaled = grows_with_load(profile_of(settings_)) && may_balance(settings_);
  rss::Configuration next(shards.front());
  std::vector<rss::CpuId> table = {shards.front()};
  if (is_scaling_on(settings_)) {
    const std::size_t used = is_scaled ? 1 : shards.size();
    table = rss::spread(std::span(shards).first(used), table_size_of(settings_));
    auto enabled = make_configuration(settings_, secret_, shards, table);
    if (!enabled) return tl::unexpected(enabled.error());
    next = std::move(*enabled);
  }
  if (auto done = steering_.distribute({next.types(), next.key(), table, shards.front()}); !done)
    return done;
  shards_ = std::move(shards);
  is_scaled_ = is_scaled;
  in_use_ = is_scaled ? 1 : static_cast<std::uint32_t>(shards_.size());
  scaler_ = rss::Scaler();
  configuration_ = std::move(next);
  balancer_.reset();
  seen_.assign(table.size(), 0);
  return {};
}

std::uint32_t ReceiveScaling::shard_of(const FourTuple& flow) const {
  return configuration_.place(incoming(flow)).cpu;
}

std::optional<std::uint32_t> ReceiveScaling::bucket_of(const FourTuple& flow) const {
  const auto hash = configuration_.place(incoming(flow)).hash;
  if (!hash) return std::nullopt;
  return *hash & (configuration_.table().size() - 1);
}

bool ReceiveScaling::is_balancing() const {
  return may_balance(settings_) && configuration_.table().is_enabled() && shards_.size() > 1;
}

std::vector<rss::CpuId> ReceiveScaling::shards_in_use() const {
  return {shards_.begin(), shards_.begin() + in_use_};
}

// Once a second: shares of less would be noise.
std::optional<rss::BalancerReport> ReceiveScaling::scale(Instant now) {
  if (!is_scaled_ || now - scaled_ < kBetweenScalings) return std::nullopt;
  scaled_ = now;
  const auto shares = loads_(now);
  std::vector<double> loads;
  for (const rss::CpuId shard : shards_in_use())
    if (const auto share = shares.find(shard); share != shares.end())
      loads.push_back(share->second);
  if (loads.size() != in_use_) return std::nullopt;
  const auto wanted = scaler_.follow(loads, static_cast<std::uint32_t>(shards_.size()));
  if (wanted == in_use_) return std::nullopt;
  spdlog::info("receive-side scaling: {} shards instead of {}, the fullest is {:.0f} % busy",
               wanted, in_use_, 100 * *std::ranges::max_element(loads));
  in_use_ = wanted;
  rss::BalancerReport report;
  report.moves = moves_off(configuration_.table(), shards_in_use());
  if (report.moves.empty())
    report.moves = moves_to_newcomers(configuration_.table(), shards_in_use());
  return report;
}

rss::BalancerReport ReceiveScaling::balance(bool is_dry, Instant now) {
  if (!configuration_.table().is_enabled()) return {};
  if (!is_dry)
    if (auto report = scale(now)) return *report;
  const std::vector<std::uint64_t> packets = steering_.bucket_packets();
  std::vector<std::uint64_t> since(packets.size());
  for (std::size_t i = 0; i < packets.size(); ++i)
    since[i] = packets[i] - seen_[i];
  if (is_dry) return balancer_.preview(configuration_.table(), shards_in_use(), since);
  seen_ = packets;
  return balancer_.rebalance(configuration_.table(), shards_in_use(), since);
}

void ReceiveScaling::move(const rss::BucketMove& move) {
  std::array<rss::Move, 1> one = {rss::Move{move.bucket, move.to, rss::MoveStatus::kSuccess}};
  if (configuration_.table().move(move.from, one) != rss::MoveStatus::kSuccess) {
    spdlog::error("receive-side scaling: bucket {} cannot go to shard {}: {}", move.bucket, move.to,
                  to_string(one[0].status));
    return;
  }
  steering_.move_bucket(move.bucket, move.to);
  ++moved_;
  spdlog::info("receive-side scaling: {}", move.reason);
  if (moves_.size() == kMovesKept) moves_.erase(moves_.begin());
  moves_.push_back(move.reason);
}

void ReceiveScaling::fill(commands::RssReport& report) const {
  report.is_enabled = configuration_.table().is_enabled();
  report.profile = settings_.text(Setting::kRssProfile);
  report.is_balancing = is_balancing();
  report.types = configuration_.types();
  const auto& said = settings_.list(Setting::kRssKey);
  report.key = said.empty() ? "random" : said.front() == "symmetric" ? "symmetric" : "set";
  report.table.assign(configuration_.table().entries().begin(),
                      configuration_.table().entries().end());
  if (report.is_enabled) report.packets = steering_.bucket_packets();
  report.default_shard = configuration_.table().default_cpu();
  report.buckets_moved = moved_;
  report.last_moves = moves_;
}

}  // namespace snp::daemon
