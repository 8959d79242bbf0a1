#include "snp/tcp/sack_scoreboard.h"

#include <algorithm>

namespace snp::tcp {
namespace {

using Fate = SentRange::Fate;

constexpr bool is_before(std::uint32_t a_us, std::uint32_t b_us) noexcept {
  return static_cast<std::int32_t>(a_us - b_us) < 0;
}

constexpr std::uint32_t later(std::uint32_t a_us, std::uint32_t b_us) noexcept {
  return is_before(a_us, b_us) ? b_us : a_us;
}

constexpr std::uint32_t first_sent_us(const SentRange& range) noexcept {
  return range.sent_us - range.spread * SentRange::kSpreadUs;
}

// Pre: first_us is not after range.sent_us.
void set_first_sent(SentRange& range, std::uint32_t first_us) noexcept {
  const std::uint32_t units =
      (range.sent_us - first_us + SentRange::kSpreadUs / 2) / SentRange::kSpreadUs;
  range.spread = static_cast<std::uint16_t>(std::min(units, 0xffffu));
}

// Both were sent; `range` follows `before`.
void join_times(SentRange& before, const SentRange& range) noexcept {
  const std::uint32_t a = first_sent_us(before);
  const std::uint32_t b = first_sent_us(range);
  if (!is_before(range.sent_us, before.sent_us)) before.is_estimated = range.is_estimated;
  before.sent_us = later(before.sent_us, range.sent_us);
  set_first_sent(before, is_before(b, a) ? b : a);
}

}  // namespace

void SackScoreboard::start(SeqNum una, SeqNum end, std::uint32_t now_us) noexcept {
  una_ = una;
  end_ = end;
  highest_delivered_ = una;
  head_ = count_ = sacked_bytes_ = lost_bytes_ = 0;
  if (una == end) return;
  // Karn: when it was sent is not known, so it gives no round-trip time.
  store_.ranges[0] = {.end = end, .sent_us = now_us, .is_retransmitted = true};
  count_ = 1;
}

void SackScoreboard::on_sent(SeqNum to, std::uint32_t now_us) noexcept {
  if (count_ != 0) {
    SentRange& last = at(count_ - 1);
    const bool alike = last.fate == Fate::kInFlight && !last.is_retransmitted;
    // A crowded board records larger pieces: precision where it is cheap.
    const bool is_crowded =
        count_ >= kCapacity / 2 && end_ - start_of(count_ - 1) < outstanding() / (kCapacity / 4);
    if (alike && (last.sent_us == now_us || is_crowded)) {
      last.end = end_ = to;
      join_times(last, {to, now_us});
      return;
    }
    if (!ensure_room(1)) {  // Post of compact(): then nothing is alike; let the last one grow
      set_fate(count_ - 1, Fate::kInFlight);
      SentRange& tail = at(count_ - 1);
      tail.end = end_ = to;
      tail.sent_us = now_us;
      tail.spread = 0;
      return;
    }
  }
  end_ = to;
  at(count_) = {to, now_us};
  ++count_;
}

std::uint32_t SackScoreboard::find(SeqNum seq) const noexcept {
  std::uint32_t low = 0;
  std::uint32_t high = count_;
  while (low < high) {  // first range that ends after seq
    const std::uint32_t middle = (low + high) / 2;
    if (at(middle).end <= seq)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The times of what is SACKed matter no more. Pre: `range` follows `before`.
bool SackScoreboard::merge(SentRange& before, const SentRange& range) noexcept {
  if (before.fate != range.fate) return false;
  if (range.fate != Fate::kSacked) {
    if (before.is_retransmitted != range.is_retransmitted) return false;
    join_times(before, range);
  }
  before.end = range.end;
  return true;
}

// Joins neighbours that are SACKed; and of the others, two and two, so that what was sent at
// different times does not become one.
void SackScoreboard::compact(bool merges_sent) noexcept {
  std::uint32_t kept = 0;
  bool has_grown = false;
  for (std::uint32_t i = 1; i < count_; ++i) {
    SentRange& before = at(kept);
    const SentRange range = at(i);
    const bool may = range.fate == Fate::kSacked || (merges_sent && !has_grown);
    has_grown = may && merge(before, range);
    if (!has_grown) at(++kept) = range;
  }
  if (count_ != 0) count_ = kept + 1;
}

bool SackScoreboard::ensure_room(std::uint32_t slots) noexcept {
  if (count_ + slots <= kCapacity) return true;
  compact(false);
  if (count_ + slots > kCapacity) compact(true);
  while (count_ + slots > kCapacity)
    if (!forget_smallest_sacked()) return false;
  return true;
}

// It becomes part of the hole before it: whatever is taken for lost there is sent again with it.
bool SackScoreboard::forget_smallest_sacked() noexcept {
  std::uint32_t smallest = count_;
  std::uint32_t least = 0xffffffff;
  for (std::uint32_t i = 1; i < count_; ++i) {
    const std::uint32_t bytes = at(i).end - start_of(i);
    if (at(i).fate != Fate::kSacked || at(i - 1).fate == Fate::kSacked || bytes >= least) continue;
    smallest = i;
    least = bytes;
  }
  if (smallest == count_) return false;
  SentRange& before = at(smallest - 1);
  set_fate(smallest, before.fate);
  join_times(before, at(smallest));
  before.end = at(smallest).end;
  for (std::uint32_t i = smallest + 1; i < count_; ++i)
    at(i - 1) = at(i);
  --count_;
  return true;
}

void SackScoreboard::split_at(SeqNum seq) noexcept {
  if (seq <= una_ || seq >= end_) return;
  const std::uint32_t i = find(seq);
  if (start_of(i) == seq) return;
  for (std::uint32_t j = count_; j > i; --j)
    at(j) = at(j - 1);
  ++count_;
  SentRange& left = at(i);
  SentRange& right = at(i + 1);
  const std::uint32_t first_us = first_sent_us(left);
  const std::uint64_t part = seq - start_of(i);
  const std::uint64_t whole = right.end - start_of(i);
  left.end = seq;
  left.is_estimated |= left.spread != 0;
  left.sent_us = first_us + static_cast<std::uint32_t>((right.sent_us - first_us) * part / whole);
  set_first_sent(left, first_us);
  set_first_sent(right, left.sent_us);
}

void SackScoreboard::set_fate(std::uint32_t i, Fate fate) noexcept {
  SentRange& range = at(i);
  const std::uint32_t bytes = range.end - start_of(i);
  if (range.fate == Fate::kSacked) sacked_bytes_ -= bytes;
  if (range.fate == Fate::kLost) lost_bytes_ -= bytes;
  if (fate == Fate::kSacked) sacked_bytes_ += bytes;
  if (fate == Fate::kLost) {
    lost_bytes_ += bytes;
    total_lost_ += bytes;
  }
  range.fate = fate;
}

void SackScoreboard::on_retransmitted(SeqNum from, SeqNum to, std::uint32_t now_us) noexcept {
  // Without room to split, the whole range counts as sent again: its rest waits for the next loss.
  if (ensure_room(2)) {
    split_at(from);
    split_at(to);
  }
  for (std::uint32_t i = find(from); i < count_ && start_of(i) < to; ++i) {
    if (at(i).fate == Fate::kSacked) continue;
    set_fate(i, Fate::kInFlight);
    at(i).sent_us = now_us;
    at(i).spread = 0;
    at(i).is_retransmitted = true;
    at(i).is_estimated = false;
  }
}

void SackScoreboard::note_delivered(const SentRange& range, Delivery& delivery) noexcept {
  if (!range.is_retransmitted && range.end < delivery.highest) delivery.saw_reordering = true;
  if (!range.is_retransmitted && range.end <= delivery.recover) delivery.saw_original = true;
  NewestDelivered& newest = delivery.newest;
  if (newest.is_set && (is_before(range.sent_us, newest.sent_us) ||
                        (range.sent_us == newest.sent_us && range.end <= newest.end)))
    return;
  newest = {true, range.is_retransmitted, range.is_estimated, range.sent_us, range.end};
}

// The first range, up to `upto`, is acknowledged.
void SackScoreboard::take_first(SeqNum upto, Delivery& delivery) noexcept {
  const SentRange& range = at(0);
  const std::uint32_t bytes = upto - una_;
  if (range.fate == Fate::kSacked) {
    sacked_bytes_ -= bytes;
    return;
  }
  if (range.fate == Fate::kLost) lost_bytes_ -= bytes;
  delivery.bytes += bytes;
  delivery.saw_resent |= range.is_retransmitted;
  delivery.saw_original |= !range.is_retransmitted && upto <= delivery.recover;
  if (upto != range.end) return;
  if (!delivery.has_rtt && !range.is_estimated) {
    delivery.has_rtt = true;
    delivery.rtt_sent_us = range.sent_us;
  }
  note_delivered(range, delivery);
}

void SackScoreboard::on_acked(SeqNum una, Delivery& delivery) noexcept {
  while (count_ != 0 && una_ != una) {
    const SeqNum end = at(0).end;
    const SeqNum upto = seq_min(una, end);
    take_first(upto, delivery);
    una_ = upto;
    if (upto != end) break;
    head_ = (head_ + 1) % kCapacity;
    --count_;
  }
  una_ = una;
  highest_delivered_ = seq_max(highest_delivered_, una);
}

void SackScoreboard::on_sacked(SeqNum from, SeqNum to, Delivery& delivery) noexcept {
  from = seq_max(from, una_);
  to = seq_min(to, end_);
  // No room to split: what is not remembered as SACKed may be sent again, which is only waste.
  if (from >= to || !ensure_room(2)) return;
  split_at(from);
  split_at(to);
  for (std::uint32_t i = find(from); i < count_ && start_of(i) < to; ++i) {
    const SentRange& range = at(i);
    if (range.fate == Fate::kSacked) continue;
    delivery.bytes += range.end - start_of(i);
    note_delivered(range, delivery);
    set_fate(i, Fate::kSacked);
  }
  highest_delivered_ = seq_max(highest_delivered_, to);
}

SackScoreboard::Losses SackScoreboard::mark_lost_before(const NewestDelivered& newest,
                                                        std::uint32_t limit_us) noexcept {
  Losses losses;
  for (std::uint32_t i = 0; i < count_; ++i) {
    const SentRange& range = at(i);
    if (range.fate != Fate::kInFlight) continue;
    const bool sent_before = is_before(range.sent_us, newest.sent_us) ||
                             (range.sent_us == newest.sent_us && range.end < newest.end);
    if (!sent_before) {
      if (!range.is_retransmitted) break;  // originals are in the order of their times
      continue;
    }
    if (is_before(limit_us, range.sent_us)) {
      if (!losses.must_wait || is_before(range.sent_us, losses.earliest_us))
        losses.earliest_us = range.sent_us;
      losses.must_wait = true;
      continue;
    }
    losses.bytes += range.end - start_of(i);
    set_fate(i, Fate::kLost);
  }
  return losses;
}

void SackScoreboard::mark_first_lost(std::uint32_t bytes) noexcept {
  if (count_ == 0) return;
  if (ensure_room(1)) split_at(seq_min(una_ + bytes, end_));
  if (at(0).fate == Fate::kInFlight) set_fate(0, Fate::kLost);
}

void SackScoreboard::mark_all_lost() noexcept {
  for (std::uint32_t i = 0; i < count_; ++i)
    if (at(i).fate == Fate::kInFlight) set_fate(i, Fate::kLost);
}

void SackScoreboard::unmark_lost() noexcept {
  for (std::uint32_t i = 0; i < count_; ++i)
    if (at(i).fate == Fate::kLost) set_fate(i, Fate::kInFlight);
}

void SackScoreboard::lose_sacked() noexcept {
  const std::uint32_t lost_by_the_path = total_lost_;
  for (std::uint32_t i = 0; i < count_; ++i)
    if (at(i).fate == Fate::kSacked) set_fate(i, Fate::kLost);
  total_lost_ = lost_by_the_path;
}

std::uint32_t SackScoreboard::resent_in_flight() const noexcept {
  std::uint32_t bytes = 0;
  for (std::uint32_t i = 0; i < count_; ++i)
    if (at(i).fate == SentRange::Fate::kInFlight && at(i).is_retransmitted)
      bytes += at(i).end - start_of(i);
  return bytes;
}

bool SackScoreboard::first_lost(SeqNum& from, SeqNum& to) const noexcept {
  if (lost_bytes_ == 0) return false;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (at(i).fate != Fate::kLost) continue;
    from = start_of(i);
    to = at(i).end;
    return true;
  }
  return false;
}

}  // namespace snp::tcp
