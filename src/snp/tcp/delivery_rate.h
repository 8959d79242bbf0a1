// How fast the path delivers (draft-cheng-iccrg-delivery-rate-estimation): bytes that arrived
// between the sending of a piece and its arrival, over the longer of the time that sending them
// took and the time that their acknowledgements took. Not each packet is watched but a few marks in
// each round trip: the filters of a congestion control need no more, and a mark costs a line of
// memory once instead of two words for each range of the scoreboard.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "snp/wire/seq_num.h"

namespace snp::tcp {

struct RateSample {
  std::uint64_t bytes_per_s = 0;  // 0: nothing to say
  bool is_app_limited = false;    // the application gave less than the path could carry
  bool has_mark = false;          // a mark was delivered, and the rest belongs to the newest such:
  std::uint32_t delivered = 0;    // bytes since it was sent
  std::uint32_t prior_delivered = 0;  // bytes ever, when it was sent; modulo 2^32
  std::uint32_t in_flight = 0;        // when it was sent, it included
  std::uint32_t lost = 0;             // bytes found lost since it was sent
};

// Times are microseconds modulo 2^32; nothing is compared over more than half of that.
class DeliveryRate {
 public:
  // [.., end) was sent, for the first time or again after forget(). `was_idle`: nothing else is
  // under way. `in_flight` has it; `lost` are the bytes ever found lost, modulo 2^32. A mark is set
  // at most every `spacing_us`.
  void on_sent(SeqNum end, bool was_idle, std::uint32_t now_us, std::uint32_t spacing_us,
               std::uint32_t in_flight = 0, std::uint32_t lost = 0) noexcept {
    if (was_idle) {
      first_ = count_ = 0;
      first_sent_us_ = delivered_us_ = now_us;
    } else if (count_ != 0) {
      const Mark& last = marks_[(first_ + count_ - 1u) % kMarks];
      if (now_us - last.sent_us < spacing_us || end <= last.end) return;
    }
    if (count_ == kMarks) return;
    marks_[(first_ + std::uint32_t{count_++}) % kMarks] = {
        end, now_us, first_sent_us_, delivered_, delivered_us_, in_flight, lost, is_app_limited_};
  }

  // All that is outstanding counts as lost and is sent again. The time until that was noticed says
  // nothing of the path, and what arrives now was sent later than the marks say.
  void forget() noexcept { first_ = count_ = 0; }

  // `bytes` were newly acknowledged or SACKed, `highest` the furthest of all that were. What the
  // ACK itself shows to be lost is not known yet: note_losses() comes later.
  RateSample on_delivered(std::uint32_t bytes, SeqNum highest, std::uint32_t now_us,
                          std::uint32_t min_rtt_us) noexcept {
    delivered_ += bytes;
    delivered_us_ = now_us;
    if (is_app_limited_ && static_cast<std::int32_t>(delivered_ - app_limited_until_) > 0)
      is_app_limited_ = false;
    const Mark* newest = nullptr;
    while (count_ != 0 && marks_[first_].end <= highest) {
      newest = &marks_[first_];
      first_ = static_cast<std::uint8_t>((first_ + 1u) % kMarks);
      --count_;
    }
    return newest == nullptr ? RateSample{} : measure(*newest, now_us, min_rtt_us);
  }

  // `lost` as of now, modulo 2^32.
  static void note_losses(RateSample& sample, std::uint32_t lost) noexcept {
    if (sample.has_mark) sample.lost = lost - sample.lost;
  }

  // Nothing is left to send although the window would let more go.
  void note_app_limited(std::uint32_t in_flight) noexcept {
    is_app_limited_ = true;
    app_limited_until_ = delivered_ + in_flight;
  }

  [[nodiscard]] std::uint32_t delivered() const noexcept { return delivered_; }  // modulo 2^32
  [[nodiscard]] RateSample last() const noexcept {
    return last_;
  }  // the newest that said something

 private:
  static constexpr std::uint32_t kMarks = 16;

  struct Mark {
    SeqNum end;
    std::uint32_t sent_us = 0;
    std::uint32_t first_sent_us = 0;  // when the flight that it belongs to began to leave
    std::uint32_t delivered = 0;      // as of its sending
    std::uint32_t delivered_us = 0;
    std::uint32_t in_flight = 0;
    std::uint32_t lost = 0;
    bool is_app_limited = false;
  };

  RateSample measure(const Mark& mark, std::uint32_t now_us, std::uint32_t min_rtt_us) noexcept {
    first_sent_us_ = mark.sent_us;
    const std::uint32_t took_us =
        std::max(now_us - mark.delivered_us, mark.sent_us - mark.first_sent_us);
    RateSample sample{.is_app_limited = mark.is_app_limited,
                      .has_mark = true,
                      .delivered = delivered_ - mark.delivered,
                      .prior_delivered = mark.delivered,
                      .in_flight = mark.in_flight,
                      .lost = mark.lost};
    // ACKs that come in a bunch would promise a rate that the path does not have.
    if (took_us == 0 || took_us < min_rtt_us) return sample;
    sample.bytes_per_s = std::uint64_t{sample.delivered} * 1'000'000 / took_us;
    last_ = sample;
    return sample;
  }

  RateSample last_;
  std::uint32_t delivered_ = 0;  // bytes, modulo 2^32
  std::uint32_t delivered_us_ = 0;
  std::uint32_t first_sent_us_ = 0;
  std::uint32_t app_limited_until_ = 0;
  bool is_app_limited_ = false;
  std::uint8_t first_ = 0, count_ = 0;
  std::array<Mark, kMarks> marks_{};
};

}  // namespace snp::tcp
