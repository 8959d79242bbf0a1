// A value that one thread replaces and others read whole (a sequence lock). Readers never hold the
// writer up.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace snp::engine {

template <class T>
class Published {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  void store(const T& value) noexcept {  // one writer
    Words words{};
    std::memcpy(words.data(), &value, sizeof value);
    const std::uint32_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < kWords; ++i)
      words_[i].store(words[i], std::memory_order_relaxed);
    version_.store(version + 2, std::memory_order_release);
  }

  [[nodiscard]] T load() const noexcept {
    Words words{};
    for (;;) {
      const std::uint32_t version = version_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < kWords; ++i)
        words[i] = words_[i].load(std::memory_order_acquire);
      if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) break;
    }
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof value);
    return value;
  }

 private:
  static constexpr std::size_t kWords = (sizeof(T) + 7) / 8;
  using Words = std::array<std::uint64_t, kWords>;

  std::atomic<std::uint32_t> version_{0};
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

}  // namespace snp::engine
