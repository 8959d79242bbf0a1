// Frames of flows that the shard has no connection for (yet, or any more): kept until the hand-over
// is through, in order of arrival, then processed by the connection or given to the host. Bounded;
// what does not fit is dropped, TCP repairs it. Shard-local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "snp/base/time.h"
#include "snp/device/packet_device.h"
#include "snp/wire/address.h"

namespace snp::engine {

class HeldFrames {
 public:
  HeldFrames(std::uint32_t max_frames, std::size_t max_bytes)
      : max_frames_(max_frames), max_bytes_(max_bytes) {}

  // Copies the frame. False: no room.
  bool hold(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t device,
            Instant now);

  // Calls visit(frame, device) for each frame of the tuple, oldest first, and forgets them.
  template <class Visit>
  void take(const FourTuple& tuple, Visit&& visit) {
    take_while(tuple, [&](const device::RxFrame& frame, std::uint32_t device) {
      visit(frame, device);
      return true;
    });
  }
  // Until visit() says no: that frame, and those after it, are kept.
  template <class Visit>
  void take_while(const FourTuple& tuple, Visit&& visit) {
    for (Entry& entry : entries_) {
      if (entry.is_taken || entry.tuple != tuple) continue;
      if (!visit(device::RxFrame{entry.bytes, entry.checksum, entry.gso_size}, entry.device)) break;
      drop(entry);
    }
    trim();
  }

  // Forgets what came before `limit`: visit(tuple, device) for each frame.
  template <class Visit>
  void expire(Instant limit, Visit&& visit) {
    while (!entries_.empty() && entries_.front().arrival < limit) {
      Entry& entry = entries_.front();
      if (!entry.is_taken) {
        visit(entry.tuple, entry.device);
        drop(entry);
      }
      entries_.pop_front();
    }
  }

  [[nodiscard]] bool is_empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  // Pre: not empty. When the oldest came.
  [[nodiscard]] Instant oldest() const noexcept { return entries_.front().arrival; }

 private:
  struct Entry {
    FourTuple tuple;
    Instant arrival;
    std::vector<std::byte> bytes;
    std::uint32_t device = 0;
    std::uint16_t gso_size = 0;
    device::Checksum checksum = device::Checksum::kUnknown;
    bool is_taken = false;
  };

  void drop(Entry& entry);
  void trim();

  const std::uint32_t max_frames_;
  const std::size_t max_bytes_;
  std::size_t bytes_ = 0;
  std::deque<Entry> entries_;  // by arrival
};

}  // namespace snp::engine
