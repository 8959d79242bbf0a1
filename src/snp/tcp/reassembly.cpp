#include "snp/tcp/reassembly.h"

#include <algorithm>

namespace snp::tcp {

void Reassembly::erase(std::uint32_t first, std::uint32_t last) noexcept {
  std::copy(intervals_.begin() + last, intervals_.begin() + count_, intervals_.begin() + first);
  count_ -= last - first;
}

Reassembly::Added Reassembly::add(SeqNum start, SeqNum end) noexcept {
  // [first, last): the intervals that overlap or touch [start, end).
  std::uint32_t first = 0;
  while (first < count_ && intervals_[first].block.end < start)
    ++first;
  std::uint32_t last = first;
  while (last < count_ && intervals_[last].block.start <= end)
    ++last;

  ++changes_;
  if (first == last) {
    if (count_ == kMaxIntervals) return Added::kNoRoom;
    std::copy_backward(intervals_.begin() + first, intervals_.begin() + count_,
                       intervals_.begin() + count_ + 1);
    intervals_[first] = {{start, end}, changes_};
    ++count_;
    return Added::kNew;
  }
  Interval& kept = intervals_[first];
  kept.changed = changes_;
  if (last == first + 1 && kept.block.start <= start && end <= kept.block.end)
    return Added::kDuplicate;
  kept.block.start = seq_min(kept.block.start, start);
  kept.block.end = seq_max(intervals_[last - 1].block.end, end);
  erase(first + 1, last);
  return Added::kNew;
}

SeqNum Reassembly::advance(SeqNum seq) noexcept {
  std::uint32_t passed = 0;
  while (passed < count_ && intervals_[passed].block.start <= seq) {
    seq = seq_max(seq, intervals_[passed].block.end);
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
      const Interval& interval = intervals_[i];
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
