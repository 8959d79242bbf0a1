// Received frames that wait for their copies (NetDMA), or behind one of their connection that does:
// in the order of arrival, which is the order in which they are processed. Of fixed size.
// Shard-local.
#pragma once

#include <cstdint>
#include <vector>

#include "snp/wire/segment.h"

namespace snp::engine {

struct Flow;

struct PendingFrame {
  Flow* flow = nullptr;
  Segment segment;           // its payload lies in the device's memory
  std::uint64_t ticket = 0;  // netdma::Copier::Ticket
  std::uint64_t number = 0;  // of the frame on its port
  std::uint32_t port = 0;
  std::uint32_t added = 0;  // tcp::SegmentsAhead
};

class PendingFrames {
 public:
  PendingFrames() = default;
  explicit PendingFrames(std::size_t capacity) : frames_(capacity) {}

  [[nodiscard]] bool is_empty() const noexcept { return head_ == tail_; }
  [[nodiscard]] bool is_full() const noexcept { return size() == frames_.size(); }
  [[nodiscard]] std::size_t size() const noexcept {
    return static_cast<std::size_t>(tail_ - head_);
  }
  // Pre: not full.
  PendingFrame& push() noexcept { return frames_[tail_++ % frames_.size()]; }
  // Pre: not empty.
  [[nodiscard]] PendingFrame& front() noexcept { return frames_[head_ % frames_.size()]; }
  void pop() noexcept { ++head_; }
  void clear() noexcept { head_ = tail_; }

  // How many of a port's frames, of `received` so far, must stay.
  [[nodiscard]] std::size_t frames_to_keep(std::uint32_t port,
                                           std::uint64_t received) const noexcept {
    for (std::uint64_t i = head_; i != tail_; ++i)
      if (const PendingFrame& frame = frames_[i % frames_.size()]; frame.port == port)
        return static_cast<std::size_t>(received - frame.number + 1);
    return 0;
  }

 private:
  std::vector<PendingFrame> frames_;
  std::uint64_t head_ = 0, tail_ = 0;
};

}  // namespace snp::engine
