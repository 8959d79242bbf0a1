#include "snp/daemon/followers.h"

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

// A shard gives within microseconds, if it gets a CPU. Shorter than it remembers the connection
// (engine::ShardConfig::release_time), for what is not next goes by the shard as long.
constexpr Duration kFollowTime = milliseconds(500);

}  // namespace

void Followers::add(const FourTuple& tuple, std::uint32_t shard) {
  const std::uint64_t number = ++added_;
  latest_[tuple] = {number, shard};
  loop_.call_at(engine::monotonic_now() + kFollowTime, [this, tuple, number] {
    presence_.let_go();
    const auto found = latest_.find(tuple);
    if (found == latest_.end() || found->second.number != number) return;
    latest_.erase(found);
    (void)steering_.remove(tuple);
  });
}

std::optional<std::uint32_t> Followers::fetch(const FourTuple& tuple) {
  const auto found = latest_.find(tuple);
  if (found == latest_.end()) return std::nullopt;
  const std::uint32_t shard = found->second.shard;
  latest_.erase(found);
  return shard;
}

void Followers::end() {
  for (const auto& [tuple, follower] : latest_)
    (void)steering_.remove(tuple);
  latest_.clear();
}

}  // namespace snp::daemon
