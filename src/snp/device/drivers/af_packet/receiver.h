// The receiving half of an AF_PACKET queue. Frames up to a slot's size are read where the kernel
// put them; of a larger one the slot holds the beginning (TP_STATUS_COPY) and the whole waits in
// the socket's queue, in the same order. Shard-local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/device/drivers/af_packet/af_packet_device.h"
#include "snp/device/drivers/af_packet/packet_socket.h"
#include "snp/device/packet_device.h"

struct tpacket2_hdr;

namespace snp::device {

// The group of sockets that a device's frames are spread over; all of them are members, or none.
struct Fanout {
  int program_fd = -1;
  std::uint32_t id = 0;
  std::uint32_t members = 0;
};

class AfPacketReceiver {
 public:
  // Without a tap. The filter is on before the socket hears anything.
  static Result<std::unique_ptr<AfPacketReceiver>> open(std::uint32_t ifindex,
                                                        const AfPacketOptions& options,
                                                        int socket_filter_fd);

  // Frames come from now on. Only closing the socket ends that: a bound one keeps its protocol
  // (binding it to protocol 0 changes nothing), a member of a fanout group cannot be bound again,
  // and it leaves its group only when it is closed.
  Result<> tap(std::uint32_t ifindex);
  // Pre: tap(). Joins the group that spreads a device's frames over its queues, or makes it.
  Result<> join(Fanout& group);

  std::size_t receive(std::span<RxFrame> out) noexcept;
  void keep(std::size_t frames) noexcept { keep_ = frames; }  // PacketQueue::keep()
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Adds what the kernel dropped since the last call.
  void update_drops() noexcept;
  void add_to(QueueStats& stats) const noexcept;

 private:
  enum class Verdict { kTaken, kDropped, kNoBuffer };
  static constexpr std::int16_t kDropped = -2, kSmall = -1;

  AfPacketReceiver() = default;
  void release_all_but(std::size_t frames) noexcept;
  void on_empty() noexcept;
  Verdict take(std::span<std::byte> slot, std::uint32_t status, RxFrame& out,
               std::int16_t& content) noexcept;
  Verdict take_large(const tpacket2_hdr& header, RxFrame& out, std::int16_t& content) noexcept;
  bool receive_large(std::span<std::byte> buffer, std::size_t expected) noexcept;

  UniqueFd fd_;
  PacketRing ring_;
  std::uint32_t next_ = 0;                // slot to look at
  std::uint32_t held_ = 0;                // slots before next_ that are not given back,
  std::size_t held_frames_ = 0;           // and how many of them the caller reads
  std::size_t keep_ = 0;                  // of those, over the next receive()
  std::vector<std::int16_t> contents_;    // of each slot: kDropped, kSmall, or which large buffer
  std::unique_ptr<std::byte[]> large_;    // buffers, touched as far as they are used
  std::vector<std::int16_t> free_large_;  // the last one given back is warm: taken first
  std::uint32_t empty_calls_ = 0;
  std::uint64_t frames_ = 0, bytes_ = 0, dropped_ = 0;
};

}  // namespace snp::device
