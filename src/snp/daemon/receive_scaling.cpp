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
                               const rss::HashKey& secret)
    : steering_(steering), settings_(settings), secret_(secret), shards_{0}, configuration_(0) {}

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
  rss::Configuration next(shards.front());
  std::vector<rss::CpuId> table = {shards.front()};
  if (is_scaling_on(settings_)) {
    table = rss::spread(shards, table_size_of(settings_));
    auto enabled = make_configuration(settings_, secret_, shards, table);
    if (!enabled) return tl::unexpected(enabled.error());
    next = std::move(*enabled);
  }
  if (auto done = steering_.distribute({next.types(), next.key(), table, shards.front()}); !done)
    return done;
  shards_ = std::move(shards);
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

rss::BalancerReport ReceiveScaling::balance(bool is_dry) {
  if (!configuration_.table().is_enabled()) return {};
  const std::vector<std::uint64_t> now = steering_.bucket_packets();
  std::vector<std::uint64_t> since(now.size());
  for (std::size_t i = 0; i < now.size(); ++i)
    since[i] = now[i] - seen_[i];
  if (is_dry) return balancer_.preview(configuration_.table(), shards_, since);
  seen_ = now;
  return balancer_.rebalance(configuration_.table(), shards_, since);
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
