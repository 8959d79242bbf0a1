// For an owner that copies payload into the receive ring before it gives the segment to its
// connection (NetDMA): the segments of one connection that wait for their copies, in the order in
// which they arrived. Only while each is exactly the next of the stream may the payload of another
// be placed: then no copy that is under way can go where something counts already.
#pragma once

#include <cstdint>

#include "snp/tcp/connection.h"

namespace snp::tcp {

class SegmentsAhead {
 public:
  [[nodiscard]] bool is_empty() const noexcept { return segments_ == 0; }
  [[nodiscard]] std::uint32_t segments() const noexcept { return segments_; }
  [[nodiscard]] std::uint32_t bytes() const noexcept { return bytes_; }  // of those in order

  // How much of its payload may be placed at rx_range.end + bytes(), if it waits behind these.
  [[nodiscard]] std::uint32_t placeable(const Connection& connection,
                                        const Segment& segment) const noexcept {
    // After one that TCP refused, the places of those behind it are beyond rx_range.end + bytes().
    if (!is_plain_ || (bytes_ != 0 && segment.seg_seq != next_)) return 0;
    return connection.placeable(segment, bytes_);
  }
  // It waits. Returns what remove() is told when it has its turn.
  std::uint32_t add(const Segment& segment, std::uint32_t placeable) noexcept {
    ++segments_;
    const auto payload = static_cast<std::uint32_t>(segment.payload.size());
    if (placeable < payload) {
      is_plain_ = false;
      return 0;
    }
    if (payload == 0) return 0;
    bytes_ += payload;
    next_ = segment.seg_seq + payload;
    return payload;
  }
  void remove(std::uint32_t added) noexcept {
    bytes_ -= added;
    if (--segments_ == 0) *this = {};
  }

 private:
  std::uint32_t segments_ = 0;
  std::uint32_t bytes_ = 0;
  SeqNum next_;           // after the last byte of those in order
  bool is_plain_ = true;  // all of them are the next of the stream, one after the other
};

}  // namespace snp::tcp
