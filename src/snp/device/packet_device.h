// A packet device as the engine sees it: bursts of frames in and out, and what it can do for us.
// Code asks caps(), never which driver it is. One virtual call per burst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "snp/base/result.h"

namespace snp::device {

struct DeviceCaps {
  std::uint32_t max_frame_payload =
      0;                        // TSO: most TCP payload one frame may carry; 0: no segmentation
  bool tx_checksum = false;     // the device finishes TCP checksums
  bool rx_aggregation = false;  // frames of several segments arrive (GRO, LRO, TSO peers)
};

// The state of the TCP checksum of a received frame.
enum class Checksum : std::uint8_t {
  kUnknown,  // verify it
  kValid,    // verified below, or never left this machine
};

// A received frame, Ethernet header first. Valid until the next receive() on its queue, or longer
// when it is kept.
struct RxFrame {
  std::span<const std::byte> bytes;  // the whole frame
  Checksum checksum = Checksum::kUnknown;
  std::uint16_t gso_size = 0;  // payload of each merged segment; 0: a single segment
};

// A frame to send. The queue gathers `headers` (Ethernet, IP, TCP; lengths filled in, TCP checksum
// the folded pseudo-header sum when caps().tx_checksum, else complete) and the payload pieces.
struct TxFrame {
  std::span<const std::byte> headers;
  std::span<const std::byte> payload[2];
  std::uint16_t gso_size = 0;  // cut the payload into pieces of this size; 0: one packet
  std::uint8_t l4_offset = 0;  // where the TCP header begins (checksum start)
  bool is_v6 = false;
};

struct QueueStats {
  std::uint64_t rx_frames = 0, rx_bytes = 0, rx_dropped = 0;
  std::uint64_t tx_frames = 0, tx_bytes = 0, tx_dropped = 0;
};

// One shard's part of a device; shard-local.
class PacketQueue {
 public:
  virtual ~PacketQueue() = default;
  // Fills `out` with at most out.size() frames; gives the frames of earlier calls back to the
  // device, but for those that are kept.
  virtual std::size_t receive(std::span<RxFrame> out) noexcept = 0;
  // The newest `frames` of those received so far stay valid over the next receive(), which may find
  // no room because of them. To be said before each receive(); those that were given back stay so.
  virtual void keep(std::size_t frames) noexcept = 0;
  // Queues one frame; it is copied before the call returns. False: no room now (counted; TCP
  // repairs it).
  virtual bool transmit(const TxFrame& frame) noexcept = 0;
  // Pushes what was queued out. Once per turn of the shard.
  virtual void flush() noexcept = 0;
  // Gives a frame, as received, to the host stack as if it had just arrived (design section 3). A
  // frame kept for later keeps its checksum state and gso_size: the host needs them, too.
  virtual bool reinject(const RxFrame& frame) noexcept = 0;
  // Readable when frames wait, or are held: call receive() until it gives nothing before sleeping
  // on it. -1: poll only.
  [[nodiscard]] virtual int wait_fd() const noexcept = 0;
  [[nodiscard]] virtual QueueStats stats() const noexcept = 0;

  // The tap: the queue's hook in the device's receive path. Every frame of the device pays for it,
  // so a queue opens without one: it sends, and receives nothing. tap() and the outer two steps of
  // untapping come from one thread at a time that may wait, not the shard's; what untap() leaves
  // must be finished before the next tap(). The defaults are for devices where a tap costs nobody.
  virtual Result<> tap() { return {}; }
  // Makes a receiving end without a tap. Answers its wait_fd, to be waited on before untap(); -1:
  // the old one stays.
  virtual Result<int> prepare_untap() { return -1; }
  // The shard's thread, between two receive(): goes over to that end. Frames that still wait in the
  // old one are lost. Pre: none is kept.
  virtual void untap() noexcept {}
  // Closes the old end. The tap is gone when it returns; slow.
  virtual void finish_untap() noexcept {}
};

class PacketDevice {
 public:
  virtual ~PacketDevice() = default;
  [[nodiscard]] virtual const DeviceCaps& caps() const noexcept = 0;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t ifindex() const noexcept = 0;
  // Start-up only, queue 0 .. shards-1, once each. The device outlives its queues.
  virtual Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) = 0;
};

}  // namespace snp::device
