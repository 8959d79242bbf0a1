// A queue for tests of wrappers: what is transmitted becomes receivable, at once and in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "snp/device/packet_device.h"

namespace snp::device {

class FakeQueue final : public PacketQueue {
 public:
  struct Frame {
    std::vector<std::byte> bytes;
    std::uint16_t gso_size = 0;
  };

  std::size_t receive(std::span<RxFrame> out) noexcept override {
    while (given_.size() > kept_)
      given_.pop_front();
    kept_ = 0;
    std::size_t count = 0;
    while (count < out.size() && !waiting_.empty()) {
      given_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
      out[count++] = {given_.back().bytes, Checksum::kValid, given_.back().gso_size};
    }
    return count;
  }
  void keep(std::size_t frames) noexcept override { kept_ = frames; }
  bool transmit(const TxFrame& frame) noexcept override {
    if (is_full) return false;
    Frame copy{{frame.headers.begin(), frame.headers.end()}, frame.gso_size};
    for (const auto& piece : frame.payload)
      copy.bytes.insert(copy.bytes.end(), piece.begin(), piece.end());
    waiting_.push_back(std::move(copy));
    return true;
  }
  void flush() noexcept override { ++flushes; }
  bool reinject(const RxFrame& frame) noexcept override {
    reinjected.emplace_back(frame.bytes.begin(), frame.bytes.end());
    return true;
  }
  [[nodiscard]] int wait_fd() const noexcept override { return -1; }
  [[nodiscard]] QueueStats stats() const noexcept override { return {}; }

  bool is_full = false;
  int flushes = 0;
  std::vector<std::vector<std::byte>> reinjected;

 private:
  std::deque<Frame> waiting_;
  std::deque<Frame> given_;
  std::size_t kept_ = 0;
};

}  // namespace snp::device
