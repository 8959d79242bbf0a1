// Registrations: who is in the real set, who is not, and what follows from a change of mode.
#include "snp/switch/epoll_instance.h"

#include <array>
#include <new>

#include <sys/eventfd.h>

#include "snp/switch/epoll_registry.h"
#include "snp/switch/local.h"
#include "snp/switch/stream.h"

namespace snp::switch_ {

EpollRegistry& epoll_registry() noexcept {
  static constinit EpollRegistry registry{};
  return registry;
}

namespace {

constexpr std::size_t kWaiterCounts = 256;
struct alignas(64) WaiterCount {
  std::atomic<std::uint32_t> count{0};
};
std::array<WaiterCount, kWaiterCounts>& waiter_counts() noexcept {
  static constinit std::array<WaiterCount, kWaiterCounts> counts{};
  return counts;
}

}  // namespace

std::atomic<std::uint32_t>& kernel_waiters(int epoll_fd) noexcept {
  return waiter_counts()[static_cast<unsigned>(epoll_fd) % kWaiterCounts].count;
}

EpollInstance* EpollInstance::make(int epoll_fd, Session& session) noexcept {
  EpollRegistry& registry = epoll_registry();
  const Guard guard(registry.lock);
  if (EpollInstance* there = epoll_in(entry_of(epoll_fd)); there != nullptr) return there;
  EpollInstance* memory = registry.instances.take();
  if (memory == nullptr) return nullptr;
  auto* instance = new (memory) EpollInstance;
  // Known before the first of its events can come: who sleeps in the set already looks it up then.
  if (instance->open(epoll_fd, session) &&
      set_entry(epoll_fd, reinterpret_cast<std::uintptr_t>(instance) |
                              static_cast<std::uintptr_t>(EntryKind::kEpoll))) {
    if (instance->enter_set()) return instance;
    clear_entry(epoll_fd);
  }
  instance->close();
  registry.instances.give(instance);
  return nullptr;
}

bool EpollInstance::open(int epoll_fd, Session& session) noexcept {
  epoll_fd_ = epoll_fd;
  epoch_ = fork_epoch();
  descriptors_.store(1);
  by_slot_ = static_cast<EpollEntry**>(map_pages(sizeof(void*) * ipc::kSlots));
  eventfd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (by_slot_ == nullptr || eventfd_ < 0 || !lanes_.open()) return false;
  set_entry(eventfd_, EntryKind::kInternal);
  return join(session);
}

// Sleepers of the time before come out, each wakes the next (wait_after()).
bool EpollInstance::enter_set() noexcept {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = this;
  if (sys(SYS_epoll_ctl, epoll_fd_, EPOLL_CTL_ADD, eventfd_, &event) != 0) return false;
  watch_control();
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the entry is set, see wait_in_kernel()
  if (kernel_waiters(epoll_fd_).load() != 0) {
    uncounted_.fetch_or(kEarly);
    ring_without_sleeper();
    write_bell(eventfd_);
  }
  return true;
}

// The hang-up of the session's control socket ends a sleep.
void EpollInstance::watch_control() noexcept {
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLET;
  event.data.ptr = reinterpret_cast<std::byte*>(this) + kControlMark;
  sys(SYS_epoll_ctl, epoll_fd_, EPOLL_CTL_ADD, session_->control, &event);
}

// A wait set of this session.
bool EpollInstance::join(Session& session) noexcept {
  static constinit ipc::WaitSet nobody_marks{};
  id_ = take_wait_set(session, eventfd_);
  if (id_ == 0 && !session.lost.load()) return false;
  session_ = &session;
  wait_set_ = id_ != 0 ? &session.wait_sets[id_] : &nobody_marks;
  return true;
}

void EpollInstance::close() noexcept {
  if (id_ != 0 && epoch_ == fork_epoch()) give_wait_set(*session_, id_);
  lanes_.close(epoll_fd_);
  if (by_slot_ != nullptr) ::munmap(by_slot_, sizeof(void*) * ipc::kSlots);
  if (eventfd_ >= 0) {
    clear_entry(eventfd_);
    sys(SYS_close, eventfd_);
  }
  by_slot_ = nullptr;
  eventfd_ = -1;
}

// snpd was lost and another serves us. What belongs to the old session comes home by the keeper and
// stays there.
void EpollInstance::change_session(Session& session) noexcept {
  for_each_entry([this](EpollEntry& e) {
    settle_in_host(*e.connection, Why::kUnsupportedCall);
    follow_mode(e, ipc::SlotMode::kInHost);
    by_slot_[e.connection->slot_id] = nullptr;
  });
  lanes_.close(epoll_fd_);
  if (id_ != 0) give_wait_set(*session_, id_);
  join(session);
  watch_control();
}

// Pre: locked, this instance or the registry: who changes registrations holds both.
EpollEntry* EpollInstance::find(int fd, const Connection& c) noexcept {
  for (EpollEntry* e = by_slot_[c.slot_id]; e != nullptr; e = e->same_slot_next)
    if (e->connection == &c && e->fd == fd) return e;
  return nullptr;
}

// False: it has no registration here. The most frequent operation, and with one lock.
bool EpollInstance::modify(int fd, Connection& c, const epoll_event& event, long& result) noexcept {
  const Guard guard(lock_);
  EpollEntry* entry = find(fd, c);
  if (entry != nullptr) result = modify(*entry, event);
  return entry != nullptr;
}

long EpollInstance::control(int operation, int fd, Connection& c, epoll_event* event) noexcept {
  if (epoch_ != fork_epoch()) become_foreign();
  if (long result = 0; operation == EPOLL_CTL_MOD && modify(fd, c, *event, result)) return result;
  const Guard guard(epoll_registry().lock);
  EpollEntry* entry = find(fd, c);
  const bool can_join = c.epoch.load() != kSettled && !is_foreign_;
  if (operation == EPOLL_CTL_ADD && entry == nullptr && can_join) {
    if (c.session != session_) {
      const Guard inner(lock_);
      change_session(*c.session);
    }
    return add(fd, c, *event);
  }
  if (entry == nullptr) return sys(SYS_epoll_ctl, epoll_fd_, operation, fd, event);
  if (operation == EPOLL_CTL_ADD) return -EEXIST;
  const Guard inner(lock_);
  if (operation != EPOLL_CTL_DEL) return -EINVAL;
  remove(*entry);
  return 0;
}

long EpollInstance::add(int fd, Connection& c, const epoll_event& event) noexcept {
  EpollEntry* memory = epoll_registry().entries.take();
  if (memory == nullptr) return -ENOMEM;
  if (!watch(c, id_)) {
    epoll_registry().entries.give(memory);
    settle_in_host(c, Why::kTooManyWaiters);
    return sys(SYS_epoll_ctl, epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  }
  const Guard inner(lock_);
  const auto serial = static_cast<std::uint16_t>(memory->serial + 1);
  auto* entry = new (memory) EpollEntry;
  entry->serial = serial;
  entry->owner = this;
  entry->connection = &c;
  entry->fd = fd;
  entry->events = event.events;
  entry->data = event.data;
  entry->is_fresh = true;
  // The wait set was named before the mode is read: a change from now on marks us.
  const long result =
      mode(c) == ipc::SlotMode::kOffloaded ? 0 : put_in_kernel(*entry, EPOLL_CTL_ADD);
  if (result != 0) {
    unwatch(c, id_, Keep::kNo);
    entry->owner = nullptr;
    epoll_registry().entries.give(entry);
    return result;
  }
  entry->same_connection_next = c.entries;
  c.entries = entry;
  entry->same_slot_next = by_slot_[c.slot_id];
  by_slot_[c.slot_id] = entry;
  if (entry->in_kernel) return 0;
  offloaded_.fetch_add(1);
  list(*entry);
  wake_sleeper();
  return 0;
}

long EpollInstance::modify(EpollEntry& entry, const epoll_event& event) noexcept {
  const std::uint32_t before = entry.events;
  const epoll_data_t data_before = entry.data;
  entry.events = event.events;
  entry.data = event.data;
  if (entry.in_kernel) {
    const long result = put_in_kernel(entry, EPOLL_CTL_MOD);
    if (result == 0) {
      entry.is_fired = entry.lost_event = false;
    } else {
      entry.events = before;
      entry.data = data_before;
    }
    return result;
  }
  entry.is_fired = false;
  entry.is_fresh = true;
  list(entry);
  wake_sleeper();
  return 0;
}

void EpollInstance::remove(EpollEntry& entry, InKernel how) noexcept {
  Connection& c = *entry.connection;
  if (!entry.in_kernel)
    offloaded_.fetch_sub(1);
  else if (how == InKernel::kTakeOut)
    take_from_kernel(entry);
  unlist(entry);
  unwatch(c, id_, Keep::kNo);
  if (entry.lane != 0) unwatch_lane(c, entry.word, entry.lane, Keep::kNo);
  for (EpollEntry** at = &by_slot_[c.slot_id]; *at != nullptr; at = &(*at)->same_slot_next)
    if (*at == &entry) {
      *at = entry.same_slot_next;
      break;
    }
  for (EpollEntry** at = &c.entries; *at != nullptr; at = &(*at)->same_connection_next)
    if (*at == &entry) {
      *at = entry.same_connection_next;
      break;
    }
  entry.owner = nullptr;
  epoll_registry().entries.give(&entry);
}

long EpollInstance::put_in_kernel(EpollEntry& entry, int operation) noexcept {
  epoll_event event{};
  event.events = entry.events;
  event.data.u64 = tag_of(entry);
  entry.kernel_word = mode_word(*entry.connection);
  const long result = sys(SYS_epoll_ctl, epoll_fd_, operation, entry.fd, &event);
  if (result == 0) entry.in_kernel = true;
  return result;
}

void EpollInstance::take_from_kernel(EpollEntry& entry) noexcept {
  epoll_event unused{};
  sys(SYS_epoll_ctl, epoll_fd_, EPOLL_CTL_DEL, entry.fd, &unused);
  entry.in_kernel = false;
}

// Pre: the gate is open. A registration that EPOLLONESHOT has silenced comes back with its MOD.
void EpollInstance::follow_mode(EpollEntry& entry, ipc::SlotMode mode) noexcept {
  if (mode == ipc::SlotMode::kOffloaded) {
    if (!entry.in_kernel) return;
    take_from_kernel(entry);
    offloaded_.fetch_add(1);
    entry.is_fresh = true;
    return;
  }
  if (!entry.in_kernel && !entry.is_fired) {
    const long result = put_in_kernel(entry, EPOLL_CTL_ADD);
    entry.in_kernel = result == 0 || result == -EEXIST;  // a child was faster
    if (entry.in_kernel) offloaded_.fetch_sub(1);
  } else if (entry.in_kernel && entry.lost_event) {
    put_in_kernel(entry, EPOLL_CTL_MOD);  // looks again, so that an edge is told once more
  }
  entry.lost_event = false;
}

// Once for each time that the connection is offloaded: a local one learns whom to tell. Pre:
// locked. False: it moves, or must go home; a mark follows.
bool EpollInstance::attach(EpollEntry& entry, std::uint32_t word) noexcept {
  Connection& c = *entry.connection;
  const PassAt pass(c, word);
  if (!pass.is_inside()) return false;
  entry.lane = 0;
  if (is_local(c)) {
    const ipc::LaneId id = lanes_.lane_to(*c.session, *c.ends.pair, epoll_fd_,
                                          reinterpret_cast<std::byte*>(this) + kLaneMark);
    if (id != 0 && watch_lane(c, id)) {
      entry.lane = id;
    } else if (c.session->lost.load()) {
      must_look_ = true;
    } else {
      request_home(c, Why::kTooManyWaiters);
      return false;
    }
  }
  entry.word = word;
  entry.is_fresh = true;
  return true;
}

void EpollInstance::list(EpollEntry& entry) noexcept {
  if (entry.is_listed) return;
  entry.is_listed = true;
  entry.listed_next = nullptr;
  entry.listed_before = listed_last_;
  (listed_last_ != nullptr ? listed_last_->listed_next : listed_first_) = &entry;
  listed_last_ = &entry;
  listed_count_.fetch_add(1, std::memory_order_relaxed);
}

void EpollInstance::unlist(EpollEntry& entry) noexcept {
  if (!entry.is_listed) return;
  entry.is_listed = false;
  (entry.listed_before != nullptr ? entry.listed_before->listed_next : listed_first_) =
      entry.listed_next;
  (entry.listed_next != nullptr ? entry.listed_next->listed_before : listed_last_) =
      entry.listed_before;
  listed_count_.fetch_sub(1, std::memory_order_relaxed);
}

// A child after fork uses its parent's instance: its connections go home. The kernel set is one for
// both, and so are the addresses of registrations: whoever comes first puts them back.
void EpollInstance::become_foreign() noexcept {
  const Guard guard(lock_);
  if (epoch_ == fork_epoch()) return;
  for_each_entry([this](EpollEntry& e) {
    disown(*e.connection);
    put_in_kernel(e, EPOLL_CTL_ADD);
    e.in_kernel = true;
  });
  epoch_ = fork_epoch();
  is_foreign_ = true;
}

void forget_registrations(Connection& c, int fd) noexcept {
  if (c.entries == nullptr) return;
  const Guard guard(epoll_registry().lock);
  const bool is_last = c.descriptors.load() == 1;
  // The kernel forgets a socket when its last descriptor goes, if nobody else can hold one.
  constexpr std::uint32_t kPassedOn = ipc::slot_flag::kSharedByFork | ipc::slot_flag::kStayInHost;
  const bool goes = is_last && (c.slot->app.flags.load() & kPassedOn) == 0;
  const auto how =
      goes ? EpollInstance::InKernel::kGoesByItself : EpollInstance::InKernel::kTakeOut;
  for (EpollEntry *e = c.entries, *next = nullptr; e != nullptr; e = next) {
    next = e->same_connection_next;
    if (!is_last && e->fd != fd) continue;
    EpollInstance& owner = *e->owner;
    const Guard inner(owner.lock_);
    owner.remove(*e, how);
  }
}

void release_epoll_descriptor(EpollInstance& instance, int fd) noexcept {
  if (instance.descriptors_.fetch_sub(1) > 1) {
    const int end = highest_entry().load();
    for (int other = 0; other < end && instance.epoll_fd_ == fd; ++other)
      if (other != fd && epoll_in(entry_of(other)) == &instance) instance.epoll_fd_ = other;
    return;
  }
  EpollRegistry& registry = epoll_registry();
  const Guard guard(registry.lock);
  const bool is_ours = instance.epoch_ == fork_epoch() && !instance.is_foreign_;
  if (is_ours) {
    const Guard inner(instance.lock_);
    instance.for_each_entry([&instance](EpollEntry& e) { instance.remove(e); });
  }
  if (is_ours) instance.close();
  registry.instances.give(&instance);
}

void adopt_epoll_duplicate(EpollInstance& instance) noexcept {
  instance.descriptors_.fetch_add(1);
}

void reset_epoll_locks() noexcept {
  for (WaiterCount& waiters : waiter_counts())
    waiters.count.store(0);  // the parent's threads
  EpollRegistry& registry = epoll_registry();
  registry.lock.reset();
  registry.instances.reset_lock();
  registry.instances.for_each([](EpollInstance& instance) { instance.lock_.reset(); });
}

}  // namespace snp::switch_
