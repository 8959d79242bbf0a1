// Memory that is never given back, for objects whose readers take no lock: a stale pointer then
// meets another object of the same type at worst. Safe before constructors; no malloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include <sys/mman.h>

#include "snp/switch/lock.h"

namespace snp::switch_ {

inline void* map_pages(std::size_t size) noexcept {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// For a pool that another lock guards.
class NoLock {
 public:
  void lock() noexcept {}
  void unlock() noexcept {}
  void reset() noexcept {}
};

// Up to `kCount` objects of T; T has a member `T* next_free`. Objects keep their last state.
template <class T, std::size_t kCount, class PoolLock = Lock>
class Pool {
 public:
  T* take() noexcept {
    const std::lock_guard guard(lock_);
    if (free_ != nullptr) {
      T* object = free_;
      free_ = object->next_free;
      return object;
    }
    if (begin_ == nullptr) begin_ = static_cast<T*>(map_pages(sizeof(T) * kCount));
    if (begin_ == nullptr || used_ == kCount) return nullptr;
    return &begin_[used_++];
  }
  void give(T* object) noexcept {
    const std::lock_guard guard(lock_);
    object->next_free = free_;
    free_ = object;
  }
  [[nodiscard]] bool contains(const void* p) const noexcept {
    return p >= begin_ && p < begin_ + used_;
  }
  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    for (std::size_t i = 0; i < used_; ++i)
      visit(begin_[i]);
  }
  void reset_lock() noexcept { lock_.reset(); }

 private:
  PoolLock lock_;
  T* begin_ = nullptr;
  T* free_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace snp::switch_
