// The lanes of one epoll instance: one for each pair that its local connections lead to, with its
// eventfd in the real epoll set, by edges, so that nobody has to read it. Changes under the
// instance's lock; has_marks(), arm() and disarm() from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "snp/ipc/slot_bitmap.h"
#include "snp/switch/pairs.h"

namespace snp::switch_ {

class EpollLanes {
 public:
  bool open() noexcept;
  // Gives all lanes back.
  void close(int epoll_fd) noexcept;

  // The lane to `pair`; a new one carries `data` in the real set. 0: none left.
  ipc::LaneId lane_to(Session& session, Pair& pair, int epoll_fd, void* data) noexcept;
  // Gives back those of pairs that are gone, when some went since the last call.
  void drop_gone(const Session& session, int epoll_fd) noexcept;

  [[nodiscard]] bool is_empty() const noexcept {
    return count_.load(std::memory_order_relaxed) == 0;
  }
  [[nodiscard]] bool has_marks() const noexcept {
    const std::uint32_t count = count_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < count; ++i)
      if (!ipc::is_empty(shared_[i].load(std::memory_order_relaxed)->ready)) return true;
    return false;
  }
  // Before the last look; the other sides write the eventfd from now on.
  void arm() noexcept;
  void disarm() noexcept;
  // A sleep ended by itself, while snpd is lost: did somebody tell us without a descriptor?
  [[nodiscard]] bool has_mute() const noexcept;
  // Calls visit(SlotId) for every connection that was marked.
  template <class Visit>
  void drain(Visit&& visit) noexcept {
    for (std::uint32_t i = 0; i < count_.load(std::memory_order_relaxed); ++i) {
      const Pair& pair = *held_[i].pair;
      ipc::drain(shared_[i].load(std::memory_order_relaxed)->ready, [&](ipc::PairIndex index) {
        if (const std::uint32_t slot = pair.slots[index].load(); slot != 0) visit(slot - 1);
      });
    }
  }

 private:
  struct Held {
    Session* session;
    Pair* pair;
    ipc::LaneId id;
  };
  static constexpr std::uint32_t kMost = 2 * kMaxPairs;  // both sides of each

  void give(std::uint32_t at, int epoll_fd) noexcept;

  std::atomic<ipc::Lane*>* shared_ = nullptr;  // [kMost]; the same order as held_
  Held* held_ = nullptr;                       // [kMost]
  std::atomic<std::uint32_t> count_{0};
  std::uint32_t changes_seen_ = 0;
};

}  // namespace snp::switch_
