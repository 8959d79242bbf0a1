#include "snp/engine/held_frames.h"

namespace snp::engine {

bool HeldFrames::hold(const FourTuple& tuple, const device::RxFrame& frame, std::uint32_t device,
                      Instant now) {
  if (entries_.size() >= max_frames_ || bytes_ + frame.bytes.size() > max_bytes_) return false;
  bytes_ += frame.bytes.size();
  entries_.push_back({tuple,
                      now,
                      {frame.bytes.begin(), frame.bytes.end()},
                      device,
                      frame.gso_size,
                      frame.checksum,
                      false});
  return true;
}

void HeldFrames::drop(Entry& entry) {
  bytes_ -= entry.bytes.size();
  entry.bytes = {};
  entry.is_taken = true;
}

void HeldFrames::trim() {
  while (!entries_.empty() && entries_.front().is_taken)
    entries_.pop_front();
}

}  // namespace snp::engine
