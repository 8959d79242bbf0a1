#include "snp/chimney/history.h"

#include <algorithm>
#include <bit>

namespace snp::chimney {
namespace {

constexpr std::uint32_t kEnough = 8;
constexpr std::uint32_t kHopelessPercent = 10;
constexpr std::uint32_t kSmoothing = 4;

constexpr std::uint64_t mask_of(std::uint32_t count) noexcept {
  return (std::uint64_t{1} << count) - 1;
}

// FNV-1a: keys come from programs of this host, who gains nothing by collisions but a shorter
// memory.
std::uint32_t hash_of(const Origin& origin) noexcept {
  std::uint32_t hash = 2166136261u;
  const auto take = [&hash](std::uint8_t byte) { hash = (hash ^ byte) * 16777619u; };
  take(origin.is_listener ? 1 : 0);
  for (const std::uint8_t byte : origin.endpoint.address.bytes)
    take(byte);
  take(static_cast<std::uint8_t>(origin.endpoint.port >> 8));
  take(static_cast<std::uint8_t>(origin.endpoint.port));
  for (const char letter : origin.program)
    take(static_cast<std::uint8_t>(letter));
  return hash;
}

}  // namespace

Origin Origin::listener(const Endpoint& local) noexcept {
  Origin origin;
  origin.is_listener = true;
  origin.endpoint = local;
  return origin;
}

Origin Origin::outgoing(std::string_view program, std::uint16_t remote_port) noexcept {
  Origin origin;
  origin.endpoint.port = remote_port;
  const std::size_t length = std::min(program.size(), origin.program.size() - 1);
  std::copy_n(program.begin(), length, origin.program.begin());
  return origin;
}

std::string to_string(const Origin& origin) {
  if (origin.is_listener) return "listener " + snp::to_string(origin.endpoint);
  return std::string(origin.program.data()) + " to port " + std::to_string(origin.endpoint.port);
}

Prediction predict(const Outcomes& outcomes, std::uint32_t eager_percent) noexcept {
  if (eager_percent == 0 || outcomes.of < kEnough) return Prediction::kUnknown;
  if (outcomes.earned * 100 >= outcomes.of * eager_percent) return Prediction::kPays;
  return outcomes.earned * 100 <= outcomes.of * kHopelessPercent ? Prediction::kDoesNot
                                                                 : Prediction::kUnknown;
}

std::string to_string(const Outcomes& outcomes) {
  return std::to_string(outcomes.earned) + " of the last " + std::to_string(outcomes.of) +
         (outcomes.of == 1 ? " connection" : " connections") + " earned their hand-over";
}

Outcomes History::outcomes_of(const Entry& entry, Instant now) noexcept {
  const Duration silence = std::max(now - entry.last, Duration::zero());
  const auto halvings = static_cast<std::uint32_t>(std::min<std::int64_t>(silence / kHalfLife, 31));
  const std::uint32_t count = std::min(entry.count, kWindow) >> halvings;
  return {static_cast<std::uint32_t>(std::popcount(entry.window & mask_of(count))), count};
}

const History::Entry* History::find(const Origin& origin) const noexcept {
  const std::uint32_t hash = hash_of(origin);
  for (const Entry& entry : sets_[hash % kSets])
    if (entry.count != 0 && entry.hash == hash && entry.origin == origin) return &entry;
  return nullptr;
}

History::Entry& History::find_or_make(const Origin& origin, Instant now) noexcept {
  if (const Entry* known = find(origin); known != nullptr) return const_cast<Entry&>(*known);
  const std::uint32_t hash = hash_of(origin);
  auto& set = sets_[hash % kSets];
  Entry& oldest = *std::min_element(set.begin(), set.end(), [](const Entry& a, const Entry& b) {
    return a.count == 0 || b.count == 0 ? a.count < b.count : a.last < b.last;
  });
  oldest = Entry{};
  oldest.origin = origin;
  oldest.hash = hash;
  oldest.last = now;
  return oldest;
}

void History::add(const Origin& origin, bool has_earned, std::uint32_t message_bytes,
                  Instant now) noexcept {
  Entry& entry = find_or_make(origin, now);
  entry.count = std::min(outcomes_of(entry, now).of + 1, kWindow);
  entry.window = (entry.window << 1 | (has_earned ? 1 : 0)) & mask_of(kWindow);
  entry.last = now;
  if (message_bytes == 0) return;
  const std::int64_t before = entry.message_bytes;
  const std::int64_t sample = message_bytes;
  entry.message_bytes =
      before == 0
          ? message_bytes
          : static_cast<std::uint32_t>(before + (sample - before) / std::int64_t{kSmoothing});
}

Outcomes History::outcomes(const Origin& origin, Instant now) const noexcept {
  const Entry* entry = find(origin);
  return entry == nullptr ? Outcomes{} : outcomes_of(*entry, now);
}

std::uint32_t History::message_bytes(const Origin& origin) const noexcept {
  const Entry* entry = find(origin);
  return entry == nullptr ? 0 : entry->message_bytes;
}

std::vector<History::Row> History::rows(Instant now) const {
  std::vector<Row> rows;
  for (const auto& set : sets_)
    for (const Entry& entry : set)
      if (const Outcomes known = outcomes_of(entry, now); known.of != 0)
        rows.push_back({entry.origin, known, entry.message_bytes});
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.outcomes.of != b.outcomes.of ? a.outcomes.of > b.outcomes.of
                                          : to_string(a.origin) < to_string(b.origin);
  });
  return rows;
}

void History::tidy(Instant now) noexcept {
  for (std::size_t at = 0; at < kSets; ++at)
    for (Entry& entry : sets_[at]) {
      entry.origin.program.back() = 0;
      const bool is_whole = entry.count <= kWindow && entry.last <= now &&
                            entry.hash == hash_of(entry.origin) && entry.hash % kSets == at;
      if (!is_whole) entry = Entry{};
    }
}

}  // namespace snp::chimney
