#include "snp/switch/connection.h"

#include <new>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "snp/switch/clock.h"
#include "snp/switch/epoll_instance.h"
#include "snp/switch/local.h"
#include "snp/switch/memory.h"
#include "snp/switch/origins.h"
#include "snp/switch/socket_entry.h"
#include "snp/switch/stream.h"

namespace snp::switch_ {
namespace {

constexpr Duration kKeeperPatience = seconds(10);

Pool<Connection, kMaxFds>& pool() noexcept {
  static constinit Pool<Connection, kMaxFds> p;
  return p;
}

bool has_lost_patience(const Session& session) noexcept {
  return now().time_since_epoch().count() - session.lost_at.load() > kKeeperPatience.count();
}

// The slot belongs to snpd no more: both it and its keeper are gone. The arena stays ours.
void fail_for_good(Connection& c) noexcept {
  auto& engine = c.slot->engine;
  if (engine.pair != ipc::kNoPair) {
    engine.pair = ipc::kNoPair;
    engine.rx_head.store(c.slot->app.rx_tail.load());
    engine.tx_tail.store(c.slot->app.tx_head.load());
  }
  engine.error.store(ECONNRESET);
  engine.status.fetch_or(ipc::slot_status::kError);
  ipc::set_mode(*c.slot, ipc::SlotMode::kOffloaded);
}

// Against a hand-over at the same moment: snpd reads kStayInHost after it has closed the gate, we
// read the mode after we have set the flag, so one of us sees the other.
void wait_until_home(Connection& c) noexcept {
  for (;;) {
    const std::uint32_t word = c.slot->engine.mode_word.load();
    if (ipc::mode_of(word) == ipc::SlotMode::kInHost) return;
    if ((c.slot->engine.status.load() & ipc::slot_status::kError) != 0) return;
    ipc::wait_at_gate(*c.slot, word);
    check_on_snpd(c);
    if (c.session->lost.load() && has_lost_patience(*c.session)) fail_for_good(c);
  }
}

// Another descriptor of the same connection takes the place of `fd` in the slot.
void rename_descriptor(Connection& c, int fd) noexcept {
  if (c.slot->app.fd != fd) return;
  const int end = highest_entry().load();
  for (int other = 0; other < end; ++other) {
    if (other == fd || connection_at(other) != &c) continue;
    c.slot->app.fd = other;
    return;
  }
}

// RFC 9293 has no word for it; the kernel waits in close() as SO_LINGER says.
void linger(Connection& c, const ::linger& how) noexcept {
  const Instant end = now() + seconds(how.l_linger);
  const auto is_sent = [&c] {
    return c.slot->engine.tx_tail.load() == c.slot->app.tx_head.load() ||
           (c.slot->engine.status.load() & ipc::slot_status::kError) != 0;
  };
  // What a local connection has written has arrived.
  const auto is_on_the_way = [&c] {
    return mode(c) == ipc::SlotMode::kOffloaded && c.slot->engine.pair == ipc::kNoPair;
  };
  while (is_on_the_way() && !is_sent() && now() < end) {
    const timespec nap{0, 1'000'000};
    sys(SYS_nanosleep, &nap, nullptr);
  }
}

// False: frozen; back to the gate.
bool close_offloaded(Connection& c, bool abort) noexcept {
  if (is_local(c)) return close_local(c, abort);
  auto& app = c.slot->app;
  const bool unread = app.rx_tail.load() != c.slot->engine.rx_head.load();
  app.flags.fetch_or(ipc::slot_flag::kClosed | (abort || unread ? ipc::slot_flag::kAbort : 0));
  ring_shard(*c.session, *c.slot, c.slot_id);
  return true;
}

// What the kernel has carried.
struct HostCarried {
  std::uint64_t bytes = 0, calls = 0;
};
HostCarried host_carried(const Connection& c) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const auto& f = c.slot->facts;
  return {f.host_bytes_in.load(kRelaxed) + f.host_bytes_out.load(kRelaxed),
          std::uint64_t{f.host_calls_in.load(kRelaxed)} + f.host_calls_out.load(kRelaxed)};
}

// The settings' thresholds, doubled with each time that it has asked.
bool is_worth_it(const HostCarried& carried, const ipc::Bulletin& board,
                 std::uint32_t times) noexcept {
  const std::uint64_t enough_bytes = board.automatic_bytes.load(std::memory_order_relaxed);
  const std::uint64_t enough_calls = board.automatic_calls.load(std::memory_order_relaxed);
  return (enough_bytes != 0 && carried.bytes >= enough_bytes << times) ||
         (enough_calls != 0 && carried.calls >= enough_calls << times);
}

// All that a connection leaves behind that never moved. One that carried nothing was perhaps never
// connected; one for which snpd found another obstacle says nothing about its worth.
void note_life_in_host(const Connection& c) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const HostCarried carried = host_carried(c);
  if (c.origin == 0 || carried.calls == 0 || mode_word(c) != c.first_word) return;
  ipc::OriginRow& row = c.session->origins[c.origin];
  const SlotAnswer answer = answer_in(*c.slot);
  if (answer == SlotAnswer::kNotEarned || !is_worth_it(carried, *c.session->bulletin, 0)) {
    row.short_lived.fetch_add(1, kRelaxed);
  } else if (answer == SlotAnswer::kNone || answer == SlotAnswer::kNotAskedYet ||
             answer == SlotAnswer::kBusy) {
    row.missed_calls.fetch_add(carried.calls, kRelaxed);
    row.missed_bytes.fetch_add(carried.bytes, kRelaxed);
    row.missed.fetch_add(1, kRelaxed);
  }
}

// True: snpd still needs the slot.
bool close_inside(Connection& c, bool abort) noexcept {
  for (;;) {
    const Pass pass(c);
    if (pass.in_host()) {
      c.slot->app.in_use.fetch_add(1);
      return false;
    }
    if (close_offloaded(c, abort)) return true;
  }
}

// The last descriptor goes. Ends the slot's tie to the descriptor before the number can be reused.
void retire(Connection& c, int fd) noexcept {
  bool abort = false;
  if (mode(c) != ipc::SlotMode::kInHost) {
    ::linger how{};
    socklen_t length = sizeof how;
    if (sys(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &how, &length) == 0 && how.l_onoff != 0) {
      abort = how.l_linger == 0;
      if (!abort) linger(c, how);  // of a non-blocking socket, too, as Linux does
    }
  }
  if ((c.slot->app.flags.load() & ipc::slot_flag::kSharedByFork) != 0) {
    request_home(c, Why::kSharedDescriptor);  // a child may go on with it
    wait_until_home(c);
  }
  note_life_in_host(c);
  const bool snpd_needs_it = close_inside(c, abort);
  leave_origin(c.origin);
  give_slot(*c.session, c.slot_id, snpd_needs_it);
  pool().give(&c);
}

}  // namespace

void request_home(Connection& c, Why why) noexcept {
  auto& app = c.slot->app;
  app.request_reason.store(static_cast<std::uint16_t>(why), std::memory_order_relaxed);
  app.flags.fetch_or(ipc::slot_flag::kStayInHost);
  if (mode(c) == ipc::SlotMode::kInHost) return;
  app.request.store(ipc::SlotRequest::kUpload);
  ring_control(*c.session, c.slot_id);
}

void Pass::pass_slowly(Connection& c, SignalHold* signals) noexcept {
  for (;;) {
    const bool is_offloaded = ipc::mode_of(word_) == ipc::SlotMode::kOffloaded;
    if (in_host() || (is_offloaded && load_ends(c, word_))) return;
    ipc::leave(slot_);
    if (is_offloaded) request_home(c, Why::kUnsupportedCall);
    if (signals != nullptr) signals->begin();
    ipc::wait_at_gate(slot_, word_);
    if (signals != nullptr) signals->let_in();
    check_on_snpd(c);
    word_ = ipc::try_enter(slot_);
  }
}

PassAt::PassAt(Connection& c, std::uint32_t word) noexcept : slot_(*c.slot) {
  const bool is_open =
      ipc::try_enter(slot_) == word && ipc::mode_of(word) == ipc::SlotMode::kOffloaded;
  is_inside_ = is_open && load_ends(c, word);
  if (is_inside_) return;
  ipc::leave(slot_);
  if (is_open) request_home(c, Why::kUnsupportedCall);
}

void check_on_snpd(Connection& c) noexcept {
  Session& session = *c.session;
  if (session.fork_epoch != fork_epoch()) return;  // the control socket is the parent's to watch
  if (!is_lost(session)) return;
  const std::uint32_t word = mode_word(c);
  if (ipc::mode_of(word) == ipc::SlotMode::kInHost) return;
  if (ipc::mode_of(word) == ipc::SlotMode::kOffloaded && c.slot->engine.pair != ipc::kNoPair) {
    look_at_peer(c, word);  // goes on without snpd as long as the other side lives
    return;
  }
  if (has_lost_patience(session)) fail_for_good(c);
}

Connection* track(int fd, bool is_nonblocking) noexcept {
  if (static_cast<unsigned>(fd) >= kMaxFds) return nullptr;
  Session* session = attach();
  if (session == nullptr) return nullptr;
  const ipc::SlotId id = take_slot(*session);
  if (id == ipc::kNoSlot) return nullptr;
  Connection* memory = pool().take();
  if (memory == nullptr) {
    give_slot(*session, id, false);
    return nullptr;
  }
  auto* c = new (memory) Connection;
  c->session = session;
  c->slot = &session->slots[id];
  c->slot_id = id;
  c->is_nonblocking.store(is_nonblocking, std::memory_order_relaxed);
  c->window_told = ipc::kFirstPosition;
  c->descriptors.store(1, std::memory_order_relaxed);
  c->slot->app.fd = fd;
  c->in_use = c->slot->app.in_use.fetch_add(1) + 1;
  c->first_word = c->slot->engine.mode_word.load(std::memory_order_relaxed);
  c->epoch.store(fork_epoch(), std::memory_order_release);
  set_entry(fd, reinterpret_cast<std::uintptr_t>(c));
  return c;
}

void set_origin(Connection& c, ipc::OriginId origin) noexcept {
  c.origin = origin;
  c.slot->app.origin.store(origin, std::memory_order_relaxed);
}

namespace {

// Who may be offloaded later; whoever was and came home stays there, unless it only made room.
bool may_ask_again(SlotAnswer answer) noexcept {
  return answer == SlotAnswer::kNotAskedYet || answer == SlotAnswer::kTargetFull ||
         answer == SlotAnswer::kArenaFull || answer == SlotAnswer::kNotEarned ||
         answer == SlotAnswer::kIdle;
}

constexpr std::uint8_t kMostTimes = 24;

bool may_be_eager(const Connection& c, const ipc::Bulletin& board) noexcept {
  return board.chimney.load(std::memory_order_relaxed) == ipc::ChimneyMode::kEnabled ||
         board.has_eager_rules.load(std::memory_order_relaxed) != 0 ||
         is_eager_origin(*c.session, c.origin);
}

}  // namespace

// snpd decides. It is asked when the connection has proved worth it, once more each time that it
// has carried twice as much, and before that once if the mode, a rule or the history of its origin
// may want it at once.
void consider_offload(Connection& c) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const ipc::Bulletin& board = *c.session->bulletin;
  if (board.chimney.load(kRelaxed) == ipc::ChimneyMode::kDisabled) return;
  const bool has_asked_early = c.has_asked_early.load(kRelaxed);
  const std::uint8_t times = c.times_asked.load(kRelaxed);
  if (is_worth_it(host_carried(c), board, times)) {
    const bool was_asked = has_asked_early || times != 0;
    const SlotAnswer answer = answer_in(*c.slot);
    if (was_asked && answer == SlotAnswer::kNone) return;
    if (times == kMostTimes || (was_asked && !may_ask_again(answer))) {
      c.has_asked.store(true, kRelaxed);
      return;
    }
    c.times_asked.store(static_cast<std::uint8_t>(times + 1), kRelaxed);
  } else {
    if (times != 0 || has_asked_early || !may_be_eager(c, board)) return;
    c.has_asked_early.store(true, kRelaxed);
  }
  if (c.session->lost.load(kRelaxed)) return;
  if ((c.slot->app.flags.load() & ipc::slot_flag::kStayInHost) != 0) return;
  c.slot->app.request.store(ipc::SlotRequest::kOffload);
  ring_control(*c.session, c.slot_id);
}

void on_established(Connection& c) noexcept {
  consider_offload(c);
}

void settle_in_host(Connection& c, Why why) noexcept {
  request_home(c, why);
  wait_until_home(c);
  if (mode(c) == ipc::SlotMode::kInHost) c.epoch.store(kSettled);
}

void disown(Connection& c) noexcept {
  if (c.epoch.load(std::memory_order_relaxed) == kSettled) return;
  // A child after fork touches what its parent's switch routes. The parent may have closed its own
  // descriptor since: then it brought the connection home first and the slot is another's.
  if (c.slot->app.in_use.load() == c.in_use) {
    request_home(c, Why::kSharedDescriptor);
    wait_until_home(c);
  }
  c.epoch.store(kSettled);
}

void release_descriptor(int fd) noexcept {
  const std::uintptr_t entry = entry_of(fd);
  if (entry == 0) return;
  if (EpollInstance* instance = epoll_in(entry); instance != nullptr) {
    clear_entry(fd);
    release_epoll_descriptor(*instance, fd);
    return;
  }
  Connection* c = connection_in(entry);
  clear_entry(fd);
  if (c == nullptr) return;
  if (c->session->fork_epoch != fork_epoch()) return;  // the parent's business
  forget_registrations(*c, fd);
  if (c->descriptors.fetch_sub(1) > 1) {
    rename_descriptor(*c, fd);
    return;
  }
  retire(*c, fd);
}

void adopt_duplicate(int original, int fd) noexcept {
  const std::uintptr_t entry = entry_of(original);
  if (entry == 0) return;
  if (kind_of(entry) == EntryKind::kInternal) return;
  if (Connection* c = connection_in(entry); c != nullptr) {
    if (set_entry(fd, entry)) {
      c->descriptors.fetch_add(1);
    } else {
      settle_in_host(*c, Why::kUnsupportedCall);  // a descriptor beyond the table
    }
    return;
  }
  if (EpollInstance* instance = epoll_in(entry); instance != nullptr) {
    if (set_entry(fd, entry)) adopt_epoll_duplicate(*instance);
    return;
  }
  const std::uintptr_t shared = without_flags(entry);
  if (shared != entry) set_entry(original, shared);
  set_entry(fd, shared);
}

bool watch(Connection& c, ipc::WaitSetId id) noexcept {
  if (id == 0) return c.session->lost.load();
  const Guard guard(c.watch_lock);
  auto& ids = c.slot->app.wait_sets;
  int place = -1;
  for (int i = 0; i < static_cast<int>(ids.size()); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const ipc::WaitSetId there = ids[at].load(std::memory_order_relaxed);
    if (there == id) {
      ++c.watch_users[at];
      return true;
    }
    if (there == 0 || (place < 0 && c.watch_users[at] == 0)) place = i;
  }
  if (place < 0) return false;
  const auto at = static_cast<std::size_t>(place);
  c.watch_users[at] = 1;
  ids[at].store(id);
  return true;
}

void unwatch(Connection& c, ipc::WaitSetId id, Keep keep) noexcept {
  if (id == 0) return;
  const Guard guard(c.watch_lock);
  auto& ids = c.slot->app.wait_sets;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].load(std::memory_order_relaxed) != id || c.watch_users[i] == 0) continue;
    if (--c.watch_users[i] == 0 && keep == Keep::kNo) ids[i].store(0);
    return;
  }
}

void mark_all_shared() noexcept {
  pool().for_each([](Connection& c) {
    if (c.descriptors.load(std::memory_order_relaxed) == 0) return;
    if (c.epoch.load(std::memory_order_relaxed) != fork_epoch()) return;
    c.slot->app.flags.fetch_or(ipc::slot_flag::kSharedByFork);
  });
}

void reset_connection_locks() noexcept {
  pool().reset_lock();
}

}  // namespace snp::switch_
