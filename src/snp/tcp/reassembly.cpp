#include "snp/tcp/reassembly.h"

#include <algorithm>

namespace snp::tcp {

void Reassembly::erase(std::uint32_t first, std::uint32_t last) noexcept {
  std::copy(store_.intervals.begin() + last, store_.intervals.begin() + count_,
            store_.intervals.begin() + first);
  count_ -= last - first;
}

Reassembly::Added Reassembly::add(SeqNum start, SeqNum end) noexcept {
  // [first, last): the intervals that overlap or touch [start, end).
  std::uint32_t first = 0;
  while (first < count_ && store_.intervals[first].block.end < start)
    ++first;
  std::uint32_t last = first;
  while (last < count_ && store_.intervals[last].block.start <= end)
    ++last;

  ++changes_;
  if (first == last) {
    if (count_ == kMaxIntervals) return Added::kNoRoom;
    std::copy_backward(store_.intervals.begin() + first, store_.intervals.begin() + count_,
                       store_.intervals.begin() + count_ + 1);
    store_.intervals[first] = {{start, end}, changes_};
    ++count_;
    return Added::kNew;
  }
  Interval& kept = store_.intervals[first];
  kept.changed = changes_;
  if (kept.block.start <= start && end <= kept.block.end) return Added::kDuplicate;
  kept.block.start = seq_min(kept.block.start, start);
  kept.block.end = seq_max(store_.intervals[last - 1].block.end, end);
  erase(first + 1, last);
  return Added::kNew;
}

SeqNum Reassembly::advance(SeqNum seq) noexcept {
  std::uint32_t passed = 0;
  while (passed < count_ && store_.intervals[passed].block.start <= seq) {
    seq = seq_max(seq, store_.intervals[passed].block.end);
    ++passed;
  }
  if (passed != 0) erase(0, passed);
  return seq;
}

std::uint8_t Reassembly::report(std::array<SackBlock, 4>& out, std::uint8_t from,
                                std::uint8_t limit) const noexcept {
  std::uint8_t written = 0;
  std::uint32_t below = changes_ + 1;
  while (from + written < limit) {
    const Interval* newest = nullptr;
    for (std::uint32_t i = 0; i < count_; ++i) {
      const Interval& interval = store_.intervals[i];
      if (interval.changed < below && (newest == nullptr || interval.changed > newest->changed))
        newest = &interval;
    }
    if (newest == nullptr) break;
    out[from + written] = newest->block;
    below = newest->changed;
    ++written;
  }
  return written;
}

}  // namespace snp::tcp
