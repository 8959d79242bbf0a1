#include "snp/switch/origins.h"

#include <algorithm>
#include <cstring>

#include <netinet/in.h>

#include "snp/switch/table.h"
#include "snp/wire/address.h"

namespace snp::switch_ {
namespace {

// A listener's entry in the descriptor table has the number of its origin above the kind.
constexpr int kIdShift = 3;
constexpr std::uint32_t kWays = 8;  // places that an origin may have

struct Key {
  Endpoint endpoint;
  bool is_listener = false;
  friend bool operator==(const Key&, const Key&) = default;
};

// A listener's row is never another's: its descriptor names it for as long as it lives.
struct Origin {
  Key key;
  bool is_known = false;
  std::atomic<Session*> session{nullptr};  // in whose arena the row is up to date
  std::atomic<std::uint32_t> users{0};
};

struct Origins {
  Lock lock;
  std::array<Origin, ipc::kOrigins> of{};  // 0 stays empty: nobody's
};

Origins& origins() noexcept {
  static constinit Origins o{};
  return o;
}

bool to_endpoint(const sockaddr_storage& address, Endpoint& endpoint) noexcept {
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    endpoint.address = IpAddress::v4(0, 0, 0, 0);
    std::memcpy(endpoint.address.bytes.data() + 12, &v4.sin_addr, 4);
    endpoint.port = ntohs(v4.sin_port);
    return true;
  }
  if (address.ss_family != AF_INET6) return false;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof v6);
  std::memcpy(endpoint.address.bytes.data(), &v6.sin6_addr, 16);
  endpoint.port = ntohs(v6.sin6_port);
  return true;
}

std::uint32_t first_place(const Key& key) noexcept {
  std::uint32_t hash = key.endpoint.port * 2654435761u + (key.is_listener ? 1u : 0u);
  for (const std::uint8_t byte : key.endpoint.address.bytes)
    hash = (hash ^ byte) * 16777619u;
  return hash >> 8;
}

ipc::OriginId place_of(std::uint32_t first, std::uint32_t way) noexcept {
  return static_cast<ipc::OriginId>(1 + (first + way) % (ipc::kOrigins - 1));
}

// Pre: locked. 0: every place that it may have is in use.
ipc::OriginId find_or_take(const Key& key) noexcept {
  const std::uint32_t first = first_place(key);
  ipc::OriginId unused = 0;
  for (std::uint32_t way = 0; way < kWays; ++way) {
    const ipc::OriginId id = place_of(first, way);
    const Origin& origin = origins().of[id];
    if (origin.is_known && origin.key == key) return id;
    if (unused == 0 && origin.users.load() == 0) unused = id;
  }
  if (unused == 0) return 0;
  Origin& origin = origins().of[unused];
  origin.key = key;
  origin.is_known = true;
  origin.session.store(nullptr);
  if (key.is_listener) origin.users.store(1);
  return unused;
}

// Pre: locked.
void describe(Session& session, ipc::OriginId id) noexcept {
  Origin& origin = origins().of[id];
  ipc::OriginRow& row = session.origins[id];
  const Endpoint& endpoint = origin.key.endpoint;
  row.address = endpoint.address.bytes;
  row.port = endpoint.port;
  row.is_listener = origin.key.is_listener ? 1 : 0;
  row.short_lived.store(0, std::memory_order_relaxed);
  row.missed.store(0, std::memory_order_relaxed);
  row.missed_calls.store(0, std::memory_order_relaxed);
  row.missed_bytes.store(0, std::memory_order_relaxed);
  row.has_asked.store(0, std::memory_order_relaxed);
  row.generation.fetch_add(1, std::memory_order_release);
  origin.session.store(&session, std::memory_order_release);
}

ipc::OriginId join(Session& session, const Key& key) noexcept {
  const Guard guard(origins().lock);
  const ipc::OriginId id = find_or_take(key);
  if (id == 0) return 0;
  Origin& origin = origins().of[id];
  origin.users.fetch_add(1);
  if (origin.session.load() != &session) describe(session, id);
  return id;
}

}  // namespace

// A listener is asked for its address once; later ones find its row with a few loads.
ipc::OriginId join_listener_origin(Session& session, int listener) noexcept {
  const std::uintptr_t entry = entry_of(listener);
  if (kind_of(entry) != EntryKind::kListener) return 0;
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  Key key;
  key.is_listener = true;
  if (const std::uintptr_t known = entry >> kIdShift; known != 0) {
    Origin& origin = origins().of[known % ipc::kOrigins];
    if (origin.session.load(std::memory_order_acquire) == &session) {
      origin.users.fetch_add(1, std::memory_order_relaxed);
      return static_cast<ipc::OriginId>(known % ipc::kOrigins);
    }
  }
  if (sys(SYS_getsockname, listener, &address, &length) != 0 || !to_endpoint(address, key.endpoint))
    return 0;
  const ipc::OriginId id = join(session, key);
  // Unless the descriptor has become another's meanwhile.
  std::uintptr_t expected = entry;
  if (id != 0)
    fd_table(listener).compare_exchange_strong(
        expected,
        std::uintptr_t{id} << kIdShift | static_cast<std::uintptr_t>(EntryKind::kListener));
  return id;
}

ipc::OriginId join_outgoing_origin(Session& session, const sockaddr* address,
                                   socklen_t length) noexcept {
  sockaddr_storage copy{};
  if (address == nullptr || length < sizeof(sa_family_t)) return 0;
  std::memcpy(&copy, address, std::min<std::size_t>(length, sizeof copy));
  Key key;
  if (!to_endpoint(copy, key.endpoint)) return 0;
  key.endpoint.address = {};
  return join(session, key);
}

void leave_origin(ipc::OriginId id) noexcept {
  if (id != 0) origins().of[id].users.fetch_sub(1);
}

bool is_eager_origin(Session& session, ipc::OriginId id) noexcept {
  if (id == 0) return false;
  ipc::OriginRow& row = session.origins[id];
  const std::uint32_t generation = row.generation.load(std::memory_order_relaxed);
  switch (ipc::advice_in(row.advice.load(std::memory_order_relaxed), generation)) {
    case ipc::OriginAdvice::kEager:
      return true;
    case ipc::OriginAdvice::kNone:
      return row.has_asked.load(std::memory_order_relaxed) == 0 && row.has_asked.exchange(1) == 0;
    default:
      return false;
  }
}

void forget_origins() noexcept {
  origins().lock.reset();
  for (Origin& origin : origins().of) {
    origin.users.store(origin.key.is_listener ? 1 : 0, std::memory_order_relaxed);
    origin.session.store(nullptr, std::memory_order_relaxed);
  }
}

}  // namespace snp::switch_
