#include "snp/device/drivers/af_packet/af_packet_device.h"

#include <utility>

#include <net/if.h>

#include "snp/device/drivers/af_packet/receiver.h"
#include "snp/device/drivers/af_packet/sender.h"

namespace snp::device {
namespace {

// The largest IPv4 packet without its header and the longest TCP header; it fits IPv6, too.
constexpr std::uint32_t kMaxFramePayload = 65535 - 20 - 60;

// What the queues of a device have in common.
struct Shared {
  std::uint32_t ifindex = 0;
  AfPacketOptions options;
  int socket_filter_fd = -1;
  Fanout fanout;  // whoever taps
};

class AfPacketQueue final : public PacketQueue {
 public:
  AfPacketQueue(Shared& shared, std::unique_ptr<AfPacketReceiver> receiver,
                std::unique_ptr<AfPacketSender> sender)
      : shared_(shared), receiver_(std::move(receiver)), sender_(std::move(sender)) {}

  std::size_t receive(std::span<RxFrame> out) noexcept override { return receiver_->receive(out); }
  void keep(std::size_t frames) noexcept override { receiver_->keep(frames); }
  bool transmit(const TxFrame& frame) noexcept override { return sender_->transmit(frame); }
  void flush() noexcept override { sender_->flush(); }
  bool reinject(const RxFrame& frame) noexcept override { return sender_->reinject(frame); }
  [[nodiscard]] int wait_fd() const noexcept override { return receiver_->fd(); }
  [[nodiscard]] QueueStats stats() const noexcept override {
    QueueStats stats = past_;
    receiver_->update_drops();
    receiver_->add_to(stats);
    sender_->add_to(stats);
    return stats;
  }

  Result<> tap() override {
    if (auto tapped = receiver_->tap(shared_.ifindex); !tapped) return tapped;
    if (shared_.options.queues == 1) return {};
    auto joined = receiver_->join(shared_.fanout);
    is_member_ = joined.has_value();
    return joined;
  }
  Result<int> prepare_untap() override {
    auto fresh = AfPacketReceiver::open(shared_.ifindex, shared_.options, shared_.socket_filter_fd);
    if (!fresh) return tl::unexpected(fresh.error());
    other_ = std::move(*fresh);
    return other_->fd();
  }
  void untap() noexcept override {
    receiver_->update_drops();
    receiver_->add_to(past_);
    receiver_.swap(other_);
  }
  void finish_untap() noexcept override {
    other_.reset();
    if (std::exchange(is_member_, false)) --shared_.fanout.members;
  }

 private:
  Shared& shared_;
  std::unique_ptr<AfPacketReceiver> receiver_;
  std::unique_ptr<AfPacketReceiver> other_;  // the next, or the last, while untapping
  std::unique_ptr<AfPacketSender> sender_;
  QueueStats past_;  // of receivers that are gone
  bool is_member_ = false;
};

class AfPacketDevice final : public PacketDevice {
 public:
  AfPacketDevice(std::string name, std::uint32_t ifindex, const AfPacketOptions& options,
                 const steer::Steering& steering)
      : name_(std::move(name)),
        shared_{ifindex, options, steering.socket_filter_fd(), {steering.fanout_fd()}} {
    // Checksums and segmentation that the device cannot do are done by the kernel on the way.
    caps_.max_frame_payload = kMaxFramePayload;
    caps_.tx_checksum = true;
    caps_.rx_aggregation = true;
  }

  [[nodiscard]] const DeviceCaps& caps() const noexcept override { return caps_; }
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] std::uint32_t ifindex() const noexcept override { return shared_.ifindex; }

  Result<std::unique_ptr<PacketQueue>> open_queue(std::uint32_t queue) override {
    auto opened = open(queue);
    if (!opened) return with_context(name_, opened.error());
    return opened;
  }

 private:
  Result<std::unique_ptr<PacketQueue>> open(std::uint32_t queue) {
    const AfPacketOptions& options = shared_.options;
    if (queue != opened_ || queue >= options.queues)
      return fail(Errc::kInvalid,
                  "queues are opened in order, once each, up to " + std::to_string(options.queues));
    auto receiver = AfPacketReceiver::open(shared_.ifindex, options, shared_.socket_filter_fd);
    if (!receiver) return tl::unexpected(receiver.error());
    auto sender = AfPacketSender::open(shared_.ifindex, options);
    if (!sender) return tl::unexpected(sender.error());
    ++opened_;
    return std::make_unique<AfPacketQueue>(shared_, std::move(*receiver), std::move(*sender));
  }

  std::string name_;
  Shared shared_;
  DeviceCaps caps_;
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
