// Writes what passes a queue into a capture file (pcap, nanoseconds, Ethernet). Shard-local. Sent
// frames are as they were handed to the device: not yet cut, checksums not yet finished. When the
// file cannot be written any more the capture ends, the traffic does not.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/device/packet_device.h"

namespace snp::device {

class PcapQueue final : public PacketQueue {
 public:
  // Makes the file, or empties it; readable by its owner only.
  static Result<std::unique_ptr<PcapQueue>> open(std::unique_ptr<PacketQueue> inner,
                                                 const std::string& path);
  ~PcapQueue() override;

  std::size_t receive(std::span<RxFrame> out) noexcept override;
  void keep(std::size_t frames) noexcept override { inner_->keep(frames); }
  bool transmit(const TxFrame& frame) noexcept override;
  void flush() noexcept override;
  bool reinject(const RxFrame& frame) noexcept override { return inner_->reinject(frame); }
  [[nodiscard]] int wait_fd() const noexcept override { return inner_->wait_fd(); }
  [[nodiscard]] QueueStats stats() const noexcept override { return inner_->stats(); }
  Result<> tap() override { return inner_->tap(); }
  Result<int> prepare_untap() override { return inner_->prepare_untap(); }
  void untap() noexcept override { inner_->untap(); }
  void finish_untap() noexcept override { inner_->finish_untap(); }

 private:
  PcapQueue(std::unique_ptr<PacketQueue> inner, UniqueFd file);
  void record(std::span<const std::span<const std::byte>> pieces) noexcept;
  void write_out() noexcept;

  std::unique_ptr<PacketQueue> inner_;
  UniqueFd file_;
  std::vector<std::byte> buffer_;
};

// A device whose queue N is captured to "PATH.N".
std::unique_ptr<PacketDevice> wrap_with_capture(std::unique_ptr<PacketDevice> inner,
                                                std::string path);

}  // namespace snp::device
