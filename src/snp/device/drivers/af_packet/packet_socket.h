// AF_PACKET sockets, made ready with errors for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"

namespace snp::device {

// A raw packet socket that receives nothing yet, with virtio-net headers on its frames.
Result<UniqueFd> open_packet_socket();

Result<> set_option(const UniqueFd& fd, int level, int option, const char* name,
                    std::uint32_t value);

// protocol 0: for sending only.
Result<> bind_to_device(const UniqueFd& fd, std::uint32_t ifindex, std::uint16_t protocol);

// A ring of equal slots that kernel and process share, mapped.
class PacketRing {
 public:
  PacketRing() = default;
  PacketRing(PacketRing&& other) noexcept;
  PacketRing& operator=(PacketRing&& other) noexcept;
  ~PacketRing();

  // option: PACKET_RX_RING or PACKET_TX_RING. slots and slot_bytes: powers of two.
  static Result<PacketRing> map(const UniqueFd& fd, int option, std::uint32_t slots,
                                std::uint32_t slot_bytes);

  [[nodiscard]] std::span<std::byte> slot(std::uint32_t index) const noexcept {
    return {data_ + std::size_t{index & mask_} * slot_bytes_, slot_bytes_};
  }
  [[nodiscard]] std::uint32_t slots() const noexcept { return mask_ + 1; }

 private:
  std::byte* data_ = nullptr;
  std::uint32_t mask_ = 0;
  std::uint32_t slot_bytes_ = 0;
};

}  // namespace snp::device
