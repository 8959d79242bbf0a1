// The sending half of an AF_PACKET queue. Frames up to a slot's size are written into the transmit
// ring and go out with one system call; larger ones are gathered by the kernel from where their
// pieces lie. The order of transmit() calls is the order on the wire. Shard-local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"
#include "snp/device/drivers/af_packet/packet_socket.h"
#include "snp/device/packet_device.h"

namespace snp::device {

class AfPacketSender {
 public:
  static Result<std::unique_ptr<AfPacketSender>> open(std::uint32_t ifindex,
                                                      const AfPacketOptions& options);

  bool transmit(const TxFrame& frame) noexcept;
  void flush() noexcept;
  bool reinject(const RxFrame& frame) noexcept;
  void add_to(QueueStats& stats) const noexcept;

 private:
  AfPacketSender() = default;
  bool transmit_small(const TxFrame& frame, std::size_t bytes) noexcept;
  bool transmit_large(const TxFrame& frame) noexcept;

  UniqueFd ring_fd_;      // small frames; a socket with a ring sends nothing else
  UniqueFd large_fd_;     // frames beyond a slot
  UniqueFd reinject_fd_;  // marked for the way back
  PacketRing ring_;
  std::size_t capacity_ = 0;  // bytes of frame that a slot takes
  std::uint32_t next_ = 0;
  bool has_pending_ = false;
  std::uint64_t frames_ = 0, bytes_ = 0, dropped_ = 0;
};

}  // namespace snp::device
