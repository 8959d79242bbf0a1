// What arrived out of order, as intervals of sequence numbers above rcv_nxt (RFC 9293 3.10.7.4,
// RFC 2018 4). The bytes themselves lie in the receive ring, each at its position.
#pragma once

#include <array>
#include <cstdint>

#include "snp/wire/segment.h"
#include "snp/wire/seq_num.h"

namespace snp::tcp {

class Reassembly {
 public:
  static constexpr std::uint32_t kMaxIntervals = 256;

  enum class Added : std::uint8_t {
    kNew,        // at least one byte was not there yet
    kDuplicate,  // everything was there
    kNoRoom,     // too many holes: dropped, the peer sends it again
  };

  // Pre: start < end, start > rcv_nxt.
  Added add(SeqNum start, SeqNum end) noexcept;
  // rcv_nxt reached `seq`: returns how far it goes on without a hole, and forgets that part.
  SeqNum advance(SeqNum seq) noexcept;

  [[nodiscard]] bool is_empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::uint32_t size() const noexcept { return count_; }
  [[nodiscard]] SackBlock at(std::uint32_t i) const noexcept { return store_.intervals[i].block; }
  // The blocks to report, most recently changed first (RFC 2018 4). Returns how many were written.
  std::uint8_t report(std::array<SackBlock, 4>& out, std::uint8_t from,
                      std::uint8_t limit) const noexcept;

 private:
  struct Interval {
    SackBlock block;
    std::uint32_t changed = 0;  // order of the last change
  };

  void erase(std::uint32_t first, std::uint32_t last) noexcept;

  // Ascending, disjoint, not touching. Not initialized: without loss none of it is ever touched.
  union Store {
    Store() noexcept {}  // NOLINT(modernize-use-equals-default): that would be deleted
    std::array<Interval, kMaxIntervals> intervals;
  };
  Store store_;
  std::uint32_t count_ = 0;
  std::uint32_t changes_ = 0;
};

}  // namespace snp::tcp
