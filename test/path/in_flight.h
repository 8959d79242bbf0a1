// What is under way on a path, in the order of arrival; what arrives together keeps its order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "snp/base/time.h"

namespace snp::path {

template <class Item>
class InFlight {
 public:
  void push(Item item, Instant arrival) {
    items_.push_back({arrival, order_++, std::move(item)});
    std::push_heap(items_.begin(), items_.end(), kLater);
  }
  // The next item that has arrived by `now`; it stays where it is.
  [[nodiscard]] const Item* peek(Instant now) const {
    return next_arrival() > now || items_.empty() ? nullptr : &items_.front().item;
  }
  std::optional<Item> pop(Instant now) {
    if (peek(now) == nullptr) return std::nullopt;
    std::pop_heap(items_.begin(), items_.end(), kLater);
    Item item = std::move(items_.back().item);
    items_.pop_back();
    return item;
  }
  [[nodiscard]] Instant next_arrival() const {
    return items_.empty() ? kNever : items_.front().arrival;
  }
  [[nodiscard]] std::size_t size() const { return items_.size(); }

 private:
  struct Entry {
    Instant arrival;
    std::uint64_t order;
    Item item;
  };
  static constexpr auto kLater = [](const Entry& a, const Entry& b) {
    return a.arrival != b.arrival ? a.arrival > b.arrival : a.order > b.order;
  };

  std::vector<Entry> items_;  // heap, the next arrival at the front
  std::uint64_t order_ = 0;
};

}  // namespace snp::path
