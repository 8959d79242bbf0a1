#include "snp/switch/epoll_lanes.h"

#include <sched.h>
#include <sys/epoll.h>

#include "snp/switch/memory.h"
#include "snp/switch/sys.h"

namespace snp::switch_ {
namespace {

constexpr std::size_t kBytesEach = sizeof(std::atomic<ipc::Lane*>);

}  // namespace

bool EpollLanes::open() noexcept {
  shared_ = static_cast<std::atomic<ipc::Lane*>*>(map_pages(kMost * (kBytesEach + sizeof(Held))));
  held_ = reinterpret_cast<Held*>(shared_ + kMost);
  return shared_ != nullptr;
}

void EpollLanes::close(int epoll_fd) noexcept {
  while (count_.load() != 0)
    give(count_.load() - 1, epoll_fd);
}

ipc::LaneId EpollLanes::lane_to(Session& session, Pair& pair, int epoll_fd, void* data) noexcept {
  const std::uint32_t count = count_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < count; ++i)
    if (held_[i].pair == &pair) return held_[i].id;
  if (count == kMost) return 0;
  const ipc::LaneId id = take_lane(session, pair, 0);
  if (id == 0) return 0;
  ipc::drain(own_lane(pair, id).ready, [](ipc::PairIndex) {});  // an earlier waiter's
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = data;
  if (sys(SYS_epoll_ctl, epoll_fd, EPOLL_CTL_ADD, lane_bell(pair, id), &event) != 0) {
    give_lane(session, pair, id);
    return 0;
  }
  held_[count] = {&session, &pair, id};
  shared_[count].store(&own_lane(pair, id));
  count_.store(count + 1, std::memory_order_release);
  arm();  // threads may sleep already
  return id;
}

// The last one takes its place. Who looks meanwhile without the lock sees one of them twice, or
// misses one that it would find at its next look, which the eventfd brings about.
void EpollLanes::give(std::uint32_t at, int epoll_fd) noexcept {
  const Held held = held_[at];
  epoll_event unused{};
  sys(SYS_epoll_ctl, epoll_fd, EPOLL_CTL_DEL, lane_bell(*held.pair, held.id), &unused);
  shared_[at].load()->sleeping.store(0);
  const std::uint32_t last = count_.load() - 1;
  held_[at] = held_[last];
  shared_[at].store(shared_[last].load());
  count_.store(last);
  give_lane(*held.session, *held.pair, held.id);
}

void EpollLanes::drop_gone(const Session& session, int epoll_fd) noexcept {
  const std::uint32_t changes = session.pair_changes.load();
  if (changes == changes_seen_) return;
  changes_seen_ = changes;
  for (std::uint32_t i = count_.load(); i-- != 0;)
    if (held_[i].pair->is_gone) give(i, epoll_fd);
}

void EpollLanes::arm() noexcept {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  if (count == 0) return;
  const auto here = static_cast<std::uint32_t>(::sched_getcpu());
  for (std::uint32_t i = 0; i < count; ++i) {
    ipc::Lane& lane = *shared_[i].load(std::memory_order_relaxed);
    lane.cpu.store(here, std::memory_order_relaxed);
    lane.sleeping.store(1, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

bool EpollLanes::has_mute() const noexcept {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i)
    if (shared_[i].load(std::memory_order_relaxed)->sleeping.load() == 0) return true;
  return false;
}

void EpollLanes::disarm() noexcept {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i)
    shared_[i].load(std::memory_order_relaxed)->sleeping.store(0, std::memory_order_relaxed);
}

}  // namespace snp::switch_
