// The virtio-net header before each frame of a socket with PACKET_VNET_HDR (struct virtio_net_hdr
// of <linux/virtio_net.h>, which C++ cannot include). Little-endian, or the host's byte order.
#pragma once

#include <cstdint>

namespace snp::device {

struct VnetHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;  // flags: the checksum is not finished
  static constexpr std::uint8_t kDataValid = 2;      // flags: the checksum was verified
  static constexpr std::uint8_t kGsoTcpV4 = 1;       // gso_type
  static constexpr std::uint8_t kGsoTcpV6 = 4;
  static constexpr std::uint8_t kGsoEcn = 0x80;  // gso_type, added: TCP has CWR set

  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);

}  // namespace snp::device
