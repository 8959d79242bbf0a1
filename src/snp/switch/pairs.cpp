#include "snp/switch/pairs.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "snp/ipc/control_protocol.h"
#include "snp/ipc/shared_memory.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/switch/clock.h"
#include "snp/switch/fork.h"
#include "snp/switch/memory.h"
#include "snp/switch/real.h"

namespace snp::switch_ {
namespace {

constexpr std::size_t kMaxFdsOfMessage = 8;

Pool<Pair, kMaxPairs>& pool() noexcept {
  static constinit Pool<Pair, kMaxPairs> p;
  return p;
}

struct Message {
  alignas(8) std::byte bytes[128];
  std::size_t length = 0;
  int fds[kMaxFdsOfMessage];
  std::size_t fd_count = 0;

  int take_fd(std::size_t i) noexcept { return i < fd_count ? std::exchange(fds[i], -1) : -1; }
  template <class T>
  bool read(T& out) const noexcept {
    if (length != sizeof out) return false;
    std::memcpy(&out, bytes, sizeof out);
    return true;
  }
};

enum class Got : std::uint8_t { kMessage, kNothing, kEnd };

Got receive(int control, Message& message) noexcept {
  iovec iov{message.bytes, sizeof message.bytes};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof message.fds)];
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  const long n = sys(SYS_recvmsg, control, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n == -EINTR) return receive(control, message);
  if (n < 0) return n == -EAGAIN ? Got::kNothing : Got::kEnd;
  message.length = static_cast<std::size_t>(n);
  message.fd_count = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    message.fd_count =
        std::min((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), std::size_t{kMaxFdsOfMessage});
    std::memcpy(message.fds, CMSG_DATA(c), message.fd_count * sizeof(int));
  }
  return n == 0 ? Got::kEnd : Got::kMessage;
}

void* map_at(void* where, std::size_t size, int fd) noexcept {
  const int flags = (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_NORESERVE |
                    (where != nullptr ? MAP_FIXED : 0);
  void* memory = ::mmap(where, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// A Pair that is not in use, of the size wanted if there is one: then the addresses serve again.
// One of another size keeps its addresses for the next of that size.
Pair* take_memory(Session& session, std::uint64_t size) noexcept {
  for (Pair** at = &session.free_pairs; *at != nullptr; at = &(*at)->next_free) {
    Pair* pair = *at;
    if (pair->size != size) continue;
    *at = pair->next_free;
    return pair;
  }
  Pair* memory = pool().take();
  if (memory == nullptr) return nullptr;
  auto* pair = new (memory) Pair;
  pair->slots = static_cast<std::atomic<std::uint32_t>*>(
      map_pages(sizeof(std::atomic<std::uint32_t>) * ipc::kSlots));
  pair->base = static_cast<std::byte*>(map_at(nullptr, size, -1));
  pair->size = size;
  if (pair->slots != nullptr && pair->base != nullptr) return pair;
  if (pair->slots != nullptr) ::munmap(pair->slots, sizeof(*pair->slots) * ipc::kSlots);
  if (pair->base != nullptr) ::munmap(pair->base, size);
  pool().give(pair);
  return nullptr;
}

// Pre: pairs_lock.
void add_pair(Session& session, Message& message) noexcept {
  ipc::PairMessage announced;
  const UniqueFd memory(message.take_fd(0));
  UniqueFd process(message.take_fd(1));
  if (!message.read(announced) || announced.pair == ipc::kNoPair || announced.side > 1) return;
  if (announced.size < ipc::kPairRingsOffset || !memory.is_open() || !process.is_open()) return;
  if (!ipc::check_sealed(memory.get(), announced.size)) return;
  Pair* pair = take_memory(session, announced.size);
  if (pair == nullptr) return;
  const bool mapped = map_at(pair->base, announced.size, memory.get()) != nullptr;
  const auto& header = *reinterpret_cast<const ipc::PairHeader*>(pair->base);
  const bool good = mapped && header.magic == ipc::kPairMagic &&
                    header.version == ipc::kPairVersion && header.number == announced.pair &&
                    header.size == announced.size;
  if (!good) {
    if (mapped) map_at(pair->base, pair->size, -1);
    pair->next_free = std::exchange(session.free_pairs, pair);
    return;
  }
  pair->side = announced.side;
  pair->process = keep_internal(process.release());
  pair->is_gone.store(false);
  pair->is_mute.store(false);
  pair->is_dead.store(false);
  pair->looked.store(0);
  pair->is_dismantled = false;
  pair->number.store(announced.pair);
  pair->next = std::exchange(session.pairs, pair);
}

Pair* look_up(Session& session, ipc::PairNumber number, std::uint32_t side) noexcept {
  for (Pair* pair = session.pairs; pair != nullptr; pair = pair->next)
    if (pair->number.load(std::memory_order_relaxed) == number && pair->side == side) return pair;
  return nullptr;
}

void add_peer_lane(Session& session, Message& message) noexcept {
  ipc::LaneMessage announced;
  const int fd = message.take_fd(0);
  Pair* pair = message.read(announced) && announced.side <= 1
                   ? look_up(session, announced.pair, 1 - announced.side)
                   : nullptr;
  if (pair == nullptr || announced.lane == 0 || announced.lane >= ipc::kLanes || pair->is_gone) {
    if (fd >= 0) sys(SYS_close, fd);
    return;
  }
  const int bell = fd >= 0 ? keep_internal(fd) + 1 : kNoBell;
  const int before = pair->peer_bells[announced.lane].exchange(bell);
  if (before > 0) close_internal(before - 1);
}

void note_gone(Session& session, const Message& message) noexcept {
  ipc::PairGone gone;
  if (!message.read(gone)) return;
  for (std::uint32_t side = 0; side < 2; ++side) {
    Pair* pair = look_up(session, gone.pair, side);
    if (pair == nullptr || pair->is_gone.exchange(true)) continue;
    session.gone_pairs.fetch_add(1);
    session.pair_changes.fetch_add(1);
  }
}

void close_bell(int bell) noexcept {
  if (bell > 0) close_internal(bell - 1);
}

// Can a call of ours still be inside the memory? The mode first, then the users: who entered the
// gate later has seen the other mode (ipc/slot_gate.h).
bool is_inside(const Session& session, const Pair& pair) noexcept {
  const std::uint32_t end = pair.slots_end.load();
  for (std::uint32_t i = 0; i < end; ++i) {
    const std::uint32_t id = pair.slots[i].load();
    if (id == 0) continue;
    const ipc::Slot& slot = session.slots[id - 1];
    const bool is_ours = ipc::mode_of(slot.engine.mode_word.load()) != ipc::SlotMode::kInHost &&
                         (slot.engine.status.load() & ipc::slot_status::kReleased) == 0 &&
                         slot.engine.pair == pair.number.load() &&
                         slot.engine.pair_side == pair.side;
    if (is_ours || slot.app.users.load() != 0) return true;
  }
  return false;
}

// The memory goes, its addresses stay: who still holds one (a waiter its lane, a look at readiness
// from outside the gate) meets empty pages that belong to nobody.
bool dismantle(Session& session, Pair& pair) noexcept {
  if (!pair.is_dismantled) {
    if (is_inside(session, pair) || map_at(pair.base, pair.size, -1) == nullptr) return false;
    pair.is_dismantled = true;
    for (auto& bell : pair.peer_bells)
      close_bell(bell.exchange(0));
    close_internal(std::exchange(pair.process, -1));
    const std::uint32_t end = pair.slots_end.exchange(0);
    for (std::uint32_t i = 0; i < end; ++i)
      pair.slots[i].store(0);
  }
  const Guard guard(pair.lock);
  for (std::size_t id = 0; id < pair.bells.size(); ++id)
    if ((pair.used_lanes[id / 64] >> (id % 64) & 1) == 0)
      close_bell(std::exchange(pair.bells[id], 0));
  const auto& used = pair.used_lanes;
  if (std::any_of(used.begin(), used.end(), [](std::uint64_t word) { return word != 0; }))
    return false;
  // What a late waiter may have touched is given back.
  return map_at(pair.base, pair.size, -1) != nullptr;
}

// Pre: pairs_lock.
void dismantle_gone(Session& session) noexcept {
  for (Pair** at = &session.pairs; *at != nullptr;) {
    Pair* pair = *at;
    if (!pair->is_gone || !dismantle(session, *pair)) {
      at = &pair->next;
      continue;
    }
    *at = pair->next;
    pair->number.store(ipc::kNoPair);
    pair->next_free = std::exchange(session.free_pairs, pair);
    session.gone_pairs.fetch_sub(1);
  }
}

bool announce_lane(const Session& session, const Pair& pair, ipc::LaneId id, int bell) noexcept {
  ipc::LaneMessage message;
  message.pair = pair.number.load();
  message.side = pair.side;
  message.lane = id;
  return send_with_fd(session.control, &message, sizeof message, bell);
}

bool take_bit(Pair& pair, ipc::LaneId id) noexcept {
  std::uint64_t& word = pair.used_lanes[id / 64];
  const std::uint64_t bit = 1ull << (id % 64);
  if ((word & bit) != 0) return false;
  word |= bit;
  return true;
}

ipc::LaneId take_any(Pair& pair, ipc::LaneId wanted) noexcept {
  if (wanted != 0 && take_bit(pair, wanted)) return wanted;
  for (ipc::LaneId id = 1; id < ipc::kLanes; ++id)
    if (take_bit(pair, id)) return id;
  return 0;
}

}  // namespace

void read_control(Session& session) noexcept {
  if (session.fork_epoch != fork_epoch()) return;
  const Guard guard(session.pairs_lock);
  Message message;
  Got got = Got::kNothing;
  while ((got = receive(session.control, message)) == Got::kMessage) {
    ipc::MessageHeader header;
    std::memcpy(&header, message.bytes, sizeof header);
    if (message.length >= sizeof header && header.magic == ipc::kProtocolMagic) {
      if (header.kind == ipc::MessageKind::kPair) add_pair(session, message);
      if (header.kind == ipc::MessageKind::kLane) add_peer_lane(session, message);
      if (header.kind == ipc::MessageKind::kPairGone) note_gone(session, message);
    }
    for (std::size_t i = 0; i < message.fd_count; ++i)
      if (message.fds[i] >= 0) sys(SYS_close, message.fds[i]);
  }
  if (got == Got::kEnd) mark_lost(session);
  if (session.gone_pairs.load() != 0) dismantle_gone(session);
}

Pair* find_pair(Session& session, ipc::PairNumber number, std::uint32_t side) noexcept {
  for (int i = 0; i < 2; ++i) {
    {
      const Guard guard(session.pairs_lock);
      if (Pair* pair = look_up(session, number, side); pair != nullptr) return pair;
    }
    if (i == 0) read_control(session);
  }
  return nullptr;
}

ipc::LaneId take_lane(Session& session, Pair& pair, ipc::LaneId wanted) noexcept {
  const Guard guard(pair.lock);
  const ipc::LaneId id = take_any(pair, wanted);
  if (id == 0 || pair.bells[id] > 0) return id;
  const int bell = session.lost.load() || pair.is_gone
                       ? -1
                       : keep_internal(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (bell >= 0 && announce_lane(session, pair, id, bell)) {
    pair.bells[id] = bell + 1;
    return id;
  }
  if (bell >= 0) is_lost(session);
  close_internal(bell);
  pair.used_lanes[id / 64] &= ~(1ull << (id % 64));
  return 0;
}

void give_lane(Session& session, Pair& pair, ipc::LaneId id) noexcept {
  {
    const Guard guard(pair.lock);
    pair.used_lanes[id / 64] &= ~(1ull << (id % 64));
  }
  if (pair.is_gone) read_control(session);
}

int lane_bell(Pair& pair, ipc::LaneId id) noexcept {
  const Guard guard(pair.lock);
  return pair.bells[id] - 1;
}

bool is_peer_dead(Pair& pair) noexcept {
  constexpr Duration kFresh = milliseconds(15);
  const Instant::rep t = coarse_now().time_since_epoch().count();
  if (!pair.is_dead.load() && t - pair.looked.load() >= kFresh.count()) {
    pair.looked.store(t);
    pollfd poll{pair.process, POLLIN, 0};
    const timespec at_once{};
    pair.is_dead.store(sys(SYS_ppoll, &poll, 1, &at_once, nullptr, 0) > 0 && poll.revents != 0);
  }
  return pair.is_dead.load();
}

void reset_pair_locks() noexcept {
  pool().reset_lock();
  pool().for_each([](Pair& pair) { pair.lock.reset(); });
}

}  // namespace snp::switch_
