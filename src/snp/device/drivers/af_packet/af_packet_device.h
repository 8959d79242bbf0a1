// Packets through AF_PACKET sockets: memory-mapped rings with a virtio-net header per frame, so
// that checksum state and segmentation pass in both directions. Works on any Ethernet device; the
// default on virtual ones. Read first: packet(7), Documentation/networking/packet_mmap.rst.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "snp/base/result.h"
#include "snp/device/packet_device.h"
#include "snp/steer/steering.h"

namespace snp::device {

struct AfPacketOptions {
  std::uint32_t queues = 1;                        // one per shard
  std::uint32_t rx_slots = 4096;                   // powers of two, these four
  std::uint32_t tx_slots = 1024;                   //
  std::uint32_t rx_slot_bytes = 2048;              // larger frames take a second way (large_frames)
  std::uint32_t tx_slot_bytes = 2048;              //
  std::uint32_t large_frames = 32;                 // most frames beyond a slot in one burst
  std::uint32_t receive_buffer_bytes = 64u << 20;  // most the large ones may wait in
  std::uint32_t send_buffer_bytes = 16u << 20;
  // Skips traffic shaping and the host's captures on this device.
  bool qdisc_bypass = false;
};

// Pre: `steering` outlives the device; it is attached to it, and every queue tapped, before flows
// are set.
Result<std::unique_ptr<PacketDevice>> open_af_packet(const std::string& device,
                                                     const AfPacketOptions& options,
                                                     const steer::Steering& steering);

}  // namespace snp::device
