// A received frame made ready for the way back into the host: with the virtio-net header that tells
// the kernel what it knew when the frame first came.
#pragma once

#include <array>
#include <cstddef>

#include "snp/device/drivers/af_packet/vnet_header.h"
#include "snp/device/packet_device.h"

namespace snp::device {

struct HostFrame {
  VnetHeader vnet;
  std::array<std::byte, 256> headers{};  // replaces the first header_bytes of the frame
  std::size_t header_bytes = 0;
};

// False: not a TCP frame, or headers beyond reason.
bool make_host_frame(const RxFrame& frame, HostFrame& out) noexcept;

}  // namespace snp::device
