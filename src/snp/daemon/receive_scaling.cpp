#include "snp/daemon/receive_scaling.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <sys/random.h>

#include <spdlog/spdlog.h>

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

rss::HashTypes types_of(const std::string& choice, rss::HashTypes ip, rss::HashTypes tcp,
                        rss::HashTypes udp) {
  const auto has = [&](std::string_view part) { return choice.find(part) != std::string::npos; };
  if (choice == "none") return 0;
  return (has("ip") ? ip : 0) | (has("tcp") ? tcp : 0) | (has("udp") ? udp : 0);
}

rss::HashTypes types_of(const settings::Settings& settings) {
  return types_of(settings.text(Setting::kRssIpv4), rss::kIpv4, rss::kTcpIpv4, rss::kUdpIpv4) |
         types_of(settings.text(Setting::kRssIpv6), rss::kIpv6, rss::kTcpIpv6, rss::kUdpIpv6);
}

rss::Profile profile_of(const settings::Settings& settings) {
  for (int i = 1; i <= 6; ++i)
    if (const auto profile = static_cast<rss::Profile>(i);
        to_string(profile) == settings.text(Setting::kRssProfile))
      return profile;
  return rss::Profile::kNumaScalingStatic;
}

std::uint32_t table_size(const settings::Settings& settings) {
  const std::string& text = settings.text(Setting::kRssTableSize);
  std::uint32_t size = 1;
  std::from_chars(text.data(), text.data() + text.size(), size);
  return size;
}

}  // namespace

Result<rss::HashKey> make_secret_key() {
  rss::HashKey key{};
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
    return fail_errno("cannot get random numbers for the hash key");
  return key;
}

ReceiveScaling::ReceiveScaling(steer::Steering& steering, const settings::Settings& settings,
                               const rss::HashKey& secret)
    : steering_(steering), settings_(settings), secret_(secret), shards_{0}, configuration_(0) {}

rss::HashKey ReceiveScaling::key() const {
  const auto& said = settings_.list(Setting::kRssKey);
  if (said.empty()) return secret_;
  if (const auto key = rss::parse_key(said.front())) return *key;
  // Symmetric. One bit at least on either side: a key of equal bits tells little.
  const auto seed = static_cast<std::uint16_t>(secret_[0] << 8 | secret_[1]);
  return rss::make_symmetric_key(static_cast<std::uint16_t>((seed | 0x4001) & ~0x0180));
}

// The shards that the range leaves; when it leaves none, the first: a connection must go somewhere.
std::vector<rss::CpuId> ReceiveScaling::choose_shards() const {
  std::vector<rss::Processor> processors;
  for (std::uint32_t shard = 0; shard < settings_.number(Setting::kShards); ++shard)
    processors.push_back({shard, 0, shard, 0});
  rss::ProcessorKeywords keywords;
  keywords.profile = profile_of(settings_);
  const auto base = static_cast<rss::CpuId>(settings_.number(Setting::kRssBaseCpu));
  keywords.base = rss::processor_number(base);
  keywords.max_processors = static_cast<std::uint32_t>(settings_.number(Setting::kRssMaxCpus));
  const auto chosen = choose_processors(keywords, processors);
  if (chosen) return *chosen;
  spdlog::warn("receive-side scaling: rss_base_cpu is {}, but there are {} shards: shard 0 has all",
               base, processors.size());
  return {0};
}

Result<> ReceiveScaling::follow() {
  const bool is_on = settings_.text(Setting::kRss) == "enabled" && types_of(settings_) != 0;
  std::vector<rss::CpuId> shards = choose_shards();
  rss::Configuration next(shards.front());
  std::vector<rss::CpuId> table = {shards.front()};
  if (is_on) {
    table = rss::spread(shards, table_size(settings_));
    (void)next.table().set_processors(shards, static_cast<std::uint32_t>(shards.size()));
    const rss::HashKey hash_key = key();
    rss::Parameters parameters;
    parameters.hash_information = types_of(settings_) | rss::kHashFunctionToeplitz;
    parameters.table = table;
    parameters.key = hash_key;
    parameters.default_processor = shards.front();
    if (auto done = next.apply(parameters); !done) return done;
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
  const std::string& said = settings_.text(Setting::kRssBalancing);
  const bool is_wanted =
      said == "enabled" || (said == "profile" && is_dynamic(profile_of(settings_)));
  return is_wanted && configuration_.table().is_enabled() && shards_.size() > 1;
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
