// The slots that one thread counts in, and sums of them that others read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "snp/stats/metric.h"

namespace snp::stats {

// Values at one moment; merge those of several blocks to see the whole.
template <class Metric>
class Snapshot {
 public:
  [[nodiscard]] std::uint64_t operator[](Metric metric) const noexcept {
    return values_[static_cast<std::size_t>(metric)];
  }
  void merge(Metric metric, std::uint64_t value) noexcept {
    values_[static_cast<std::size_t>(metric)] += value;
  }
  void merge(const Snapshot& other) noexcept {
    for (std::size_t i = 0; i < values_.size(); ++i)
      values_[i] += other.values_[i];
  }
  // For each row of the table: fn(MetricInfo, value).
  template <class Fn>
  void for_each(Fn&& fn) const {
    const auto table = metrics_of(Metric{});
    for (std::size_t i = 0; i < values_.size(); ++i)
      fn(table[i], values_[i]);
  }

 private:
  std::array<std::uint64_t, static_cast<std::size_t>(Metric::kCount)> values_{};
};

// One writer, its thread; any thread reads. Aligned so that two shards never share a cache line.
template <class Metric>
class alignas(64) Block {
 public:
  // Plain additions: with one writer no locked instruction is needed.
  void add(Metric metric, std::uint64_t n = 1) noexcept {
    auto& slot = slots_[static_cast<std::size_t>(metric)];
    slot.store(slot.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(Metric metric, std::uint64_t value) noexcept {
    slots_[static_cast<std::size_t>(metric)].store(value, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t operator[](Metric metric) const noexcept {
    return slots_[static_cast<std::size_t>(metric)].load(std::memory_order_relaxed);
  }
  [[nodiscard]] Snapshot<Metric> snapshot() const noexcept {
    Snapshot<Metric> out;
    for (std::size_t i = 0; i < slots_.size(); ++i)
      out.merge(static_cast<Metric>(i), slots_[i].load(std::memory_order_relaxed));
    return out;
  }

 private:
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Metric::kCount)> slots_{};
};

using EngineStats = Block<EngineMetric>;
using PathStats = Block<PathMetric>;

}  // namespace snp::stats
