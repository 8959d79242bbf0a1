// Frames to and from packet queues, for tests and benchmarks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <poll.h>

#include "snp/device/packet_device.h"

#include "test/support/tcp_frame.h"

namespace snp::test {

// A TcpFrame taken apart for transmit(). Keeps what the TxFrame's spans refer to.
class FrameToSend {
 public:
  FrameToSend(const TcpFrame& frame, const device::DeviceCaps& caps, std::uint16_t gso_size = 0,
              std::size_t cut = 0)
      : payload_(frame.payload) {
    TcpFrame with_checksum = frame;
    with_checksum.is_checksum_partial = caps.tx_checksum;
    headers_ = make_frame(with_checksum);
    headers_.resize(headers_.size() - payload_.size());
    frame_.headers = view(headers_);
    frame_.payload[0] = view(payload_).first(cut);
    frame_.payload[1] = view(payload_).subspan(cut);
    frame_.gso_size = gso_size;
    frame_.l4_offset = static_cast<std::uint8_t>(tcp_offset(frame));
    frame_.is_v6 = !frame.is_v4();
  }
  [[nodiscard]] const device::TxFrame& frame() const { return frame_; }
  void scribble() {
    headers_.assign(headers_.size(), 0xee);
    payload_.assign(payload_.size(), 0xee);
  }

 private:
  Bytes headers_;
  Bytes payload_;
  device::TxFrame frame_;
};

struct ReceivedFrame {
  Bytes bytes;
  device::Checksum checksum = device::Checksum::kUnknown;
  std::uint16_t gso_size = 0;

  [[nodiscard]] std::uint32_t seq(const TcpFrame& like) const {
    const std::size_t at = tcp_offset(like) + 4;
    return static_cast<std::uint32_t>(bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
                                      bytes[at + 3]);
  }
  [[nodiscard]] Bytes payload(const TcpFrame& like) const {
    const std::size_t tcp = tcp_offset(like);
    return {bytes.begin() + static_cast<std::ptrdiff_t>(tcp + (bytes[tcp + 12] >> 4) * 4u),
            bytes.end()};
  }
};

inline bool is_readable(const device::PacketQueue& queue, int timeout_ms) {
  pollfd waiting = {queue.wait_fd(), POLLIN, 0};
  return ::poll(&waiting, 1, timeout_ms) == 1;
}

// Receives until `count` frames are there or none has come for so long.
inline std::vector<ReceivedFrame> collect(device::PacketQueue& queue, std::size_t count,
                                          std::size_t burst = 64, int patience_ms = 20'000) {
  std::vector<ReceivedFrame> frames;
  std::vector<device::RxFrame> out(burst);
  while (frames.size() < count) {
    const std::size_t received = queue.receive(out);
    for (std::size_t i = 0; i < received; ++i) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(out[i].bytes.data());
      frames.push_back(
          {Bytes(bytes, bytes + out[i].bytes.size()), out[i].checksum, out[i].gso_size});
    }
    if (received == 0 && (queue.wait_fd() < 0 || !is_readable(queue, patience_ms))) break;
  }
  return frames;
}

inline Bytes numbered_payload(std::size_t size, std::uint32_t start) {
  Bytes payload(size);
  for (std::size_t i = 0; i < size; ++i)
    payload[i] = static_cast<std::uint8_t>((start + i) * 31 >> 3);
  return payload;
}

}  // namespace snp::test
