// What was sent and not acknowledged: ranges of sequence numbers with the time they were last sent
// and what became of them. Serves SACK (RFC 2018, 6675), RACK (RFC 8985), round-trip times and the
// amount in flight. Fixed size: when it is crowded neighbours are merged, which keeps the time of
// their first and last byte; when a piece of one has to be told apart again, its time is estimated
// between the two. When nothing is left to be merged, the smallest of what was SACKed is
// forgotten: to send it again is only waste.
#pragma once

#include <array>
#include <cstdint>

#include "snp/wire/seq_num.h"

namespace snp::tcp {

// Times are microseconds modulo 2^32, compared as sequence numbers are.
struct SentRange {
  enum class Fate : std::uint8_t { kInFlight, kSacked, kLost };

  SeqNum end;                 // it starts where the one before ends
  std::uint32_t sent_us = 0;  // its last byte
  Fate fate = Fate::kInFlight;
  bool is_retransmitted : 1 = false;
  bool is_estimated : 1 = false;  // sent_us was found by dividing a larger range
  std::uint16_t spread = 0;       // how much earlier its first byte was sent, in units of kSpreadUs

  static constexpr std::uint32_t kSpreadUs = 16;
};

// The most recently sent of the segments an ACK newly covers (RFC 8985 6.2 step 2).
struct NewestDelivered {
  bool is_set = false;
  bool is_retransmitted = false;
  bool is_estimated = false;  // its time is good for an order, not for a round-trip time
  std::uint32_t sent_us = 0;
  SeqNum end;
};

// What one ACK (cumulative part and SACK blocks) delivered.
struct Delivery {
  std::uint32_t bytes = 0;  // newly acknowledged or SACKed
  bool has_rtt = false;     // rtt_sent_us: of the oldest range wholly acknowledged
  std::uint32_t rtt_sent_us = 0;
  bool saw_resent = false;     // something retransmitted was acknowledged: has_rtt means nothing
  bool saw_duplicate = false;  // a DSACK block came (RFC 2883)
  std::uint32_t duplicate_bytes = 0;  // that it names
  bool saw_original = false;    // something below `recover` that was never sent again was delivered
  SeqNum recover;               // set by the caller
  bool saw_reordering = false;  // something never retransmitted was delivered below `highest`
  SeqNum highest;  // set by the caller: highest_delivered() before this ACK (RFC 8985 RACK.fack)
  NewestDelivered newest;
};

class SackScoreboard {
 public:
  static constexpr std::uint32_t kCapacity = 512;

  // [una, end) is outstanding, sent at an unknown time before `now_us`.
  void start(SeqNum una, SeqNum end, std::uint32_t now_us) noexcept;

  // [end(), to) was sent for the first time.
  void on_sent(SeqNum to, std::uint32_t now_us) noexcept;
  // [from, to) was sent again. Pre: inside [una(), end()).
  void on_retransmitted(SeqNum from, SeqNum to, std::uint32_t now_us) noexcept;
  void on_acked(SeqNum una, Delivery& delivery) noexcept;  // Pre: una() < una <= end()
  void on_sacked(SeqNum from, SeqNum to, Delivery& delivery) noexcept;

  // RFC 8985 6.2 step 5: what was sent before `newest` and is older than `limit_us` is lost.
  // Returns the bytes newly lost; `earliest_us` gets the send time of what must wait, if any.
  struct Losses {
    std::uint32_t bytes = 0;
    bool must_wait = false;
    std::uint32_t earliest_us = 0;
  };
  Losses mark_lost_before(const NewestDelivered& newest, std::uint32_t limit_us) noexcept;
  void mark_first_lost(std::uint32_t bytes) noexcept;  // [una, una + bytes), unless SACKed or lost
  void mark_all_lost() noexcept;                       // except what is SACKed
  void unmark_lost() noexcept;                         // the timeout was spurious
  void lose_sacked() noexcept;                         // the peer reneged (RFC 2018 8)

  // The first range marked lost: [from, to). False: none.
  bool first_lost(SeqNum& from, SeqNum& to) const noexcept;
  [[nodiscard]] bool is_first_sacked() const noexcept {
    return count_ != 0 && at(0).fate == SentRange::Fate::kSacked;
  }

  [[nodiscard]] SeqNum una() const noexcept { return una_; }
  [[nodiscard]] SeqNum highest_delivered() const noexcept { return highest_delivered_; }
  [[nodiscard]] SeqNum end() const noexcept { return end_; }
  [[nodiscard]] std::uint32_t outstanding() const noexcept { return end_ - una_; }
  [[nodiscard]] std::uint32_t sacked_bytes() const noexcept { return sacked_bytes_; }
  [[nodiscard]] std::uint32_t lost_bytes() const noexcept { return lost_bytes_; }
  // RFC 6675 "pipe".
  [[nodiscard]] std::uint32_t in_flight() const noexcept {
    return outstanding() - sacked_bytes_ - lost_bytes_;
  }
  // Of those, sent again. Looks at each range.
  [[nodiscard]] std::uint32_t resent_in_flight() const noexcept;
  // Ever marked lost, modulo 2^32.
  [[nodiscard]] std::uint32_t total_lost() const noexcept { return total_lost_; }
  [[nodiscard]] std::uint32_t ranges() const noexcept { return count_; }
  [[nodiscard]] const SentRange& range(std::uint32_t i) const noexcept { return at(i); }

 private:
  [[nodiscard]] const SentRange& at(std::uint32_t i) const noexcept {
    return store_.ranges[(head_ + i) % kCapacity];
  }
  [[nodiscard]] SentRange& at(std::uint32_t i) noexcept {
    return store_.ranges[(head_ + i) % kCapacity];
  }
  [[nodiscard]] SeqNum start_of(std::uint32_t i) const noexcept {
    return i == 0 ? una_ : at(i - 1).end;
  }
  [[nodiscard]] std::uint32_t find(SeqNum seq) const noexcept;  // the range that holds seq
  void split_at(SeqNum seq) noexcept;  // a range begins at seq after it. Pre: room for one
  bool ensure_room(std::uint32_t slots) noexcept;
  void compact(bool merges_sent) noexcept;
  [[nodiscard]] static bool merge(SentRange& before, const SentRange& range) noexcept;
  bool forget_smallest_sacked() noexcept;
  void take_first(SeqNum upto, Delivery& delivery) noexcept;
  void set_fate(std::uint32_t i, SentRange::Fate fate) noexcept;
  static void note_delivered(const SentRange& range, Delivery& delivery) noexcept;

  SeqNum una_;
  SeqNum end_;
  SeqNum highest_delivered_;  // RACK.fack
  std::uint32_t head_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t sacked_bytes_ = 0;
  std::uint32_t lost_bytes_ = 0;
  std::uint32_t total_lost_ = 0;
  // Not initialized: without loss only its beginning is ever touched.
  union Store {
    Store() noexcept {}  // NOLINT(modernize-use-equals-default): that would be deleted
    std::array<SentRange, kCapacity> ranges;
  };
  Store store_;
};

}  // namespace snp::tcp
