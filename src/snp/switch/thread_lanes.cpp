#include <sys/uio.h>

#include "snp/ipc/pair_stream.h"
#include "snp/switch/local.h"
#include "snp/switch/memory.h"
#include "snp/switch/pairs.h"
#include "snp/switch/wait.h"

namespace snp::switch_ {
namespace {

// A thread prefers the lane that it had last: its name may still stand where it waits again.
ipc::LaneId& favourite_lane() noexcept {
  static thread_local constinit ipc::LaneId id = 0;
  return id;
}

}  // namespace

ThreadLanes::ThreadLanes(std::size_t most) noexcept : most_(most) {
  if (most <= kSmall) return;
  held_ = static_cast<Held*>(map_pages(most * (sizeof(Held) + sizeof(Named))));
  if (held_ == nullptr) {
    held_ = small_held_;
    most_ = kSmall;
    return;
  }
  named_ = reinterpret_cast<Named*>(held_ + most);
}

ThreadLanes::~ThreadLanes() {
  for (std::size_t i = 0; i < held_count_; ++i)
    own_lane(*held_[i].pair, held_[i].id).sleeping.store(0, std::memory_order_relaxed);
  for (std::size_t i = 0; i < named_count_; ++i)
    unwatch_lane(*named_[i].connection, named_[i].word, named_[i].id, Keep::kYes);
  for (std::size_t i = 0; i < held_count_; ++i)
    give_lane(*held_[i].session, *held_[i].pair, held_[i].id);
  if (held_ != small_held_) ::munmap(held_, most_ * (sizeof(Held) + sizeof(Named)));
}

ipc::LaneId ThreadLanes::lane_of(Session& session, Pair& pair) noexcept {
  for (std::size_t i = 0; i < held_count_; ++i)
    if (held_[i].pair == &pair) return held_[i].id;
  const ipc::LaneId id = take_lane(session, pair, favourite_lane());
  if (id == 0) return 0;
  favourite_lane() = id;
  held_[held_count_++] = {&session, &pair, id, lane_bell(pair, id)};
  own_lane(pair, id).cpu.store(static_cast<std::uint32_t>(::sched_getcpu()),
                               std::memory_order_relaxed);
  return id;
}

bool ThreadLanes::add(Connection& c) noexcept {
  const std::uint32_t word = mode_word(c);
  if (ipc::mode_of(word) != ipc::SlotMode::kOffloaded) return true;
  const PassAt pass(c, word);
  if (!pass.is_inside() || !is_local(c)) return true;
  if (named_count_ == most_) return false;
  const ipc::LaneId id = lane_of(*c.session, *c.ends.pair);
  if (id == 0 || !watch_lane(c, id)) {
    const bool is_lost = c.session->lost.load();
    must_look_ |= is_lost;
    return is_lost;
  }
  named_[named_count_++] = {&c, word, id};
  must_look_ |= c.ends.pair->is_mute.load() && c.session->lost.load();
  own_lane(*c.ends.pair, id).sleeping.store(1);
  return true;
}

void ThreadLanes::note_mute() const noexcept {
  for (std::size_t i = 0; i < held_count_; ++i)
    if (own_lane(*held_[i].pair, held_[i].id).sleeping.load() == 0)
      held_[i].pair->is_mute.store(true);
}

std::span<pollfd> ThreadLanes::fill(std::span<pollfd> polls) const noexcept {
  const std::size_t n = std::min(held_count_, polls.size());
  for (std::size_t i = 0; i < n; ++i)
    polls[i] = {held_[i].bell, POLLIN, 0};
  return polls.first(n);
}

// The other side could have made the eventfd block.
bool ThreadLanes::consume(std::span<const pollfd> polls) noexcept {
  bool any = false;
  for (const pollfd& p : polls) {
    if (p.revents == 0) continue;
    std::uint64_t count = 0;
    const iovec whole{&count, sizeof count};
    sys(SYS_preadv2, p.fd, &whole, 1, -1L, 0L, RWF_NOWAIT);
    any = true;
  }
  return any;
}

}  // namespace snp::switch_
