#include "snp/device/drivers/af_packet/af_packet_device.h"

#include <utility>

#include <net/if.h>

#include "snp/device/drivers/af_packet/receiver.h"
#include "snp/device/drivers/af_packet/sender.h"

namespace snp::device {
namespace {

// The largest IPv4 packet without its header and the longest TCP header; it fits IPv6, too.
constexpr std::uint32_t kMaxFramePayload = 65535 - 20 - 60;

class AfPacketQueue final : public PacketQueue {
 public:
  AfPacketQueue(std::unique_ptr<AfPacketReceiver> receiver, std::unique_ptr<AfPacketSender> sender)
      : receiver_(std::move(receiver)), sender_(std::move(sender)) {}

  std::size_t receive(std::span<RxFrame> out) noexcept override { return receiver_->receive(out); }
  bool transmit(const TxFrame& frame) noexcept override { return sender_->transmit(frame); }
  void flush() noexcept override { sender_->flush(); }
  bool reinject(const RxFrame& frame) noexcept override { return sender_->reinject(frame); }
  [[nodiscard]] int wait_fd() const noexcept override { return receiver_->fd(); }
  [[nodiscard]] QueueStats stats() const noexcept override {
    QueueStats stats;
    receiver_->update_drops();
    receiver_->add_to(stats);
    sender_->add_to(stats);
    return stats;
  }

 private:
  std::unique_ptr<AfPacketReceiver> receiver_;
  std::unique_ptr<AfPacketSender> sender_;
};

class AfPacketDevice final : public PacketDevice {
 public:
  AfPacketDevice(std::string name, std::uint32_t ifindex, const AfPacketOptions& options,
                 const steer::Steering& steering)
      : name_(std::move(name)),
        ifindex_(ifindex),
        options_(options),
        socket_filter_fd_(steering.socket_filter_fd()),
        fanout_fd_(steering.fanout_fd()) {
    // Checksums and segmentation that the device cannot do are done by the kernel on the way.
    caps_.max_frame_payload = kMaxFramePayload;
    caps_.tx_checksum = true;
    caps_.rx_aggregation = true;
  }

  [[nodiscard]] const DeviceCaps& caps() const noexcept override { return caps_; }
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] std::uint32_t ifindex() const noexcept override { return ifindex_; }

  Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) override {
    auto opened = open(queue);
    if (!opened) return with_context(name_, opened.error());
    return opened;
  }

 private:
  Result<std::unique_ptr<PacketQueue>> open(std::uint32_t queue) {
    if (queue != opened_ || queue >= options_.queues)
      return fail(Errc::kInvalid, "queues are opened in order, once each, up to " +
                                      std::to_string(options_.queues));
    auto receiver = AfPacketReceiver::open(ifindex_, options_, socket_filter_fd_);
    if (!receiver) return tl::unexpected(receiver.error());
    if (options_.queues > 1)
      if (auto joined = (*receiver)->join_fanout(&fanout_group_, fanout_fd_); !joined)
        return tl::unexpected(joined.error());
    auto sender = AfPacketSender::open(ifindex_, options_);
    if (!sender) return tl::unexpected(sender.error());
    ++opened_;
    return std::make_unique<AfPacketQueue>(std::move(*receiver), std::move(*sender));
  }

  std::string name_;
  std::uint32_t ifindex_;
  AfPacketOptions options_;
  int socket_filter_fd_;
  int fanout_fd_;
  DeviceCaps caps_;
  std::uint32_t fanout_group_ = 0;
  std::uint32_t opened_ = 0;
};

}  // namespace

Result<std::unique_ptr<PacketDevice>> open_af_packet(const std::string& device,
                                                     const AfPacketOptions& options,
                                                     const steer::Steering& steering) {
  const std::uint32_t ifindex = ::if_nametoindex(device.c_str());
  if (ifindex == 0)
    return fail(Errc::kNotFound, "there is no device \"" + device +
                                     "\"; `ip link` lists the devices of this network namespace");
  if (options.queues == 0) return fail(Errc::kInvalid, device + ": no queues were asked for");
  return std::make_unique<AfPacketDevice>(device, ifindex, options, steering);
}

}  // namespace snp::device
