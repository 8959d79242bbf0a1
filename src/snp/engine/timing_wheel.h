// Timers of a shard: one level of slots, lazy. An entry waits at the earliest moment it was ever
// asked for; when it fires too early its owner schedules it again. TCP moves its timers later with
// almost every segment, so nearly every schedule() is one comparison. Shard-local, no allocation.
//
//   now            horizon: kSlots ticks of about 1 ms
//    |---+---+---+---+---+ ... +---|      later deadlines wait in the last slot
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "snp/base/time.h"

namespace snp::engine {

class TimingWheel;

// Part of what has a timer; address-stable while it is scheduled.
class WheelEntry {
 public:
  WheelEntry() = default;
  WheelEntry(const WheelEntry&) = delete;
  WheelEntry& operator=(const WheelEntry&) = delete;
  [[nodiscard]] bool is_scheduled() const noexcept { return next_ != nullptr; }

 private:
  friend class TimingWheel;
  WheelEntry* next_ = nullptr;
  WheelEntry* previous_ = nullptr;
  std::uint64_t tick_ = 0;  // where it waits
};

class TimingWheel {
 public:
  explicit TimingWheel(Instant now) noexcept : tick_(floor_tick(now)) {
    for (WheelEntry& head : heads_)
      head.next_ = head.previous_ = &head;
  }
  TimingWheel(const TimingWheel&) = delete;
  TimingWheel& operator=(const TimingWheel&) = delete;

  // Fires at `deadline` or up to a tick later; earlier when it was scheduled earlier before.
  void schedule(WheelEntry& entry, Instant deadline) noexcept {
    if (deadline == kNever) return;  // let it fire early
    const std::uint64_t tick = std::clamp(floor_tick(deadline) + 1, tick_ + 1, tick_ + kSlots - 1);
    if (entry.is_scheduled()) {
      if (entry.tick_ <= tick) return;
      remove(entry);
    }
    entry.tick_ = tick;
    WheelEntry& head = heads_[tick % kSlots];
    entry.next_ = &head;
    entry.previous_ = head.previous_;
    head.previous_->next_ = &entry;
    head.previous_ = &entry;
    occupied_[tick % kSlots / 64] |= 1ull << (tick % 64);
  }

  static void remove(WheelEntry& entry) noexcept {
    if (!entry.is_scheduled()) return;
    entry.previous_->next_ = entry.next_;
    entry.next_->previous_ = entry.previous_;
    entry.next_ = entry.previous_ = nullptr;
  }

  // Calls fire(entry) for each entry whose moment has come; it is not scheduled any more then. fire
  // may schedule and remove any entry.
  template <class Fire>
  void advance(Instant now, Fire&& fire) {
    const std::uint64_t target = floor_tick(now);
    if (target <= tick_) return;
    const std::uint64_t first = tick_ + 1;
    const std::uint64_t last = std::min(target, tick_ + kSlots - 1);
    tick_ = target;
    for (std::uint64_t tick = next_occupied(first, last); tick <= last;
         tick = next_occupied(tick + 1, last))
      fire_slot(tick % kSlots, fire);
  }

  // No entry fires before it; kNever: none is scheduled.
  [[nodiscard]] Instant next_deadline() const noexcept {
    const std::uint64_t last = tick_ + kSlots - 1;
    const std::uint64_t tick = next_occupied(tick_ + 1, last);
    return tick > last ? kNever : Instant(Duration(tick << kTickShift));
  }

 private:
  static constexpr std::uint64_t kSlots = 2048;
  static constexpr unsigned kTickShift = 20;  // 2^20 ns: 1.05 ms

  static std::uint64_t floor_tick(Instant t) noexcept {
    return static_cast<std::uint64_t>(t.time_since_epoch().count()) >> kTickShift;
  }

  // What fire() schedules into the same slot belongs to a later turn of the wheel.
  template <class Fire>
  void fire_slot(std::uint64_t slot, Fire& fire) {
    occupied_[slot / 64] &= ~(1ull << (slot % 64));
    WheelEntry& head = heads_[slot];
    if (head.next_ == &head) return;
    WheelEntry due;
    due.next_ = head.next_;
    due.previous_ = head.previous_;
    due.next_->previous_ = due.previous_->next_ = &due;
    head.next_ = head.previous_ = &head;
    while (due.next_ != &due) {
      WheelEntry& entry = *due.next_;
      remove(entry);
      fire(entry);
    }
  }

  // The first tick of [from, last] whose slot may hold entries; last + 1: none.
  // Pre: last - from < kSlots.
  [[nodiscard]] std::uint64_t next_occupied(std::uint64_t from, std::uint64_t last) const noexcept {
    for (std::uint64_t tick = from; tick <= last;) {
      const std::uint64_t slot = tick % kSlots;
      const std::uint64_t word = occupied_[slot / 64] >> (slot % 64);
      if (word != 0)
        return std::min(tick + static_cast<unsigned>(std::countr_zero(word)), last + 1);
      tick += 64 - slot % 64;
    }
    return last + 1;
  }

  std::uint64_t tick_;  // everything up to here has fired
  std::array<WheelEntry, kSlots> heads_;
  std::array<std::uint64_t, kSlots / 64> occupied_{};  // a bit may be set for an empty slot
};

}  // namespace snp::engine
