#include "snp/device/drivers/af_packet/sender.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <linux/if_packet.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "snp/device/drivers/af_packet/host_frame.h"
#include "snp/device/drivers/af_packet/vnet_header.h"
#include "snp/wire/segment.h"

namespace snp::device {
namespace {

// Where a transmit slot's frame begins (packet(7), without PACKET_TX_HAS_OFF).
constexpr std::size_t kSlotHeader = (sizeof(tpacket2_hdr) + 15) & ~std::size_t{15};
constexpr std::size_t kTcpFlagsOffset = 13;  // RFC 9293 3.1
constexpr std::uint16_t kTcpChecksumOffset = 16;

std::atomic_ref<std::uint32_t> status_of(std::span<std::byte> slot) noexcept {
  return std::atomic_ref<std::uint32_t>(reinterpret_cast<tpacket2_hdr*>(slot.data())->tp_status);
}

std::size_t payload_size(const TxFrame& frame) noexcept {
  return frame.payload[0].size() + frame.payload[1].size();
}

VnetHeader make_vnet(const TxFrame& frame, std::size_t linear_bytes) noexcept {
  VnetHeader vnet;
  vnet.flags = VnetHeader::kNeedsChecksum;
  vnet.csum_start = frame.l4_offset;
  vnet.csum_offset = kTcpChecksumOffset;
  vnet.hdr_len = static_cast<std::uint16_t>(linear_bytes);
  if (frame.gso_size == 0 || payload_size(frame) <= frame.gso_size) return vnet;
  vnet.gso_type = frame.is_v6 ? VnetHeader::kGsoTcpV6 : VnetHeader::kGsoTcpV4;
  // CWR belongs on the first of the segments only (RFC 3168 6.1.2).
  const auto flags = std::to_integer<std::uint8_t>(
      frame.headers[static_cast<std::size_t>(frame.l4_offset) + kTcpFlagsOffset]);
  if ((flags & TcpFlags::kCwr) != 0)
    vnet.gso_type = static_cast<std::uint8_t>(vnet.gso_type | VnetHeader::kGsoEcn);
  vnet.gso_size = frame.gso_size;
  return vnet;
}

iovec piece(std::span<const std::byte> bytes) noexcept {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

bool send_pieces(const UniqueFd& fd, std::span<iovec> pieces) noexcept {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(fd.get(), &message, MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

Result<UniqueFd> open_sending_socket(std::uint32_t mark, const AfPacketOptions& options) {
  auto fd = open_packet_socket();
  if (!fd) return fd;
  if (auto set = set_option(*fd, SOL_SOCKET, SO_MARK, "SO_MARK", mark); !set)
    return tl::unexpected(set.error());
  if (auto set =
          set_option(*fd, SOL_SOCKET, SO_SNDBUFFORCE, "SO_SNDBUFFORCE", options.send_buffer_bytes);
      !set)
    return tl::unexpected(set.error());
  // Never on the way back: the turn happens in the egress program, which bypass skips.
  if (options.qdisc_bypass && mark != steer::kReinjectMark) {
    auto set = set_option(*fd, SOL_PACKET, PACKET_QDISC_BYPASS, "PACKET_QDISC_BYPASS", 1);
    if (!set) return tl::unexpected(set.error());
  }
  return fd;
}

}  // namespace

Result<std::unique_ptr<AfPacketSender>> AfPacketSender::open(std::uint32_t ifindex,
                                                             const AfPacketOptions& options) {
  std::unique_ptr<AfPacketSender> sender(new AfPacketSender);
  const struct {
    UniqueFd* fd;
    std::uint32_t mark;
  } sockets[] = {{&sender->ring_fd_, steer::kEngineMark},
                 {&sender->large_fd_, steer::kEngineMark},
                 {&sender->reinject_fd_, steer::kReinjectMark}};
  for (const auto& socket : sockets) {
    auto fd = open_sending_socket(socket.mark, options);
    if (!fd) return tl::unexpected(fd.error());
    *socket.fd = std::move(*fd);
  }
  // A frame that the kernel cannot take is dropped; without this it would block the ring.
  if (auto set = set_option(sender->ring_fd_, SOL_PACKET, PACKET_LOSS, "PACKET_LOSS", 1); !set)
    return tl::unexpected(set.error());
  auto ring =
      PacketRing::map(sender->ring_fd_, PACKET_TX_RING, options.tx_slots, options.tx_slot_bytes);
  if (!ring) return tl::unexpected(ring.error());
  sender->ring_ = std::move(*ring);
  sender->capacity_ = options.tx_slot_bytes - kSlotHeader - sizeof(VnetHeader);
  for (const auto& socket : sockets)
    if (auto bound = bind_to_device(*socket.fd, ifindex, 0); !bound)
      return tl::unexpected(bound.error());
  return sender;
}

bool AfPacketSender::transmit(const TxFrame& frame) noexcept {
  const std::size_t bytes = frame.headers.size() + payload_size(frame);
  const bool is_sent = bytes <= capacity_ ? transmit_small(frame, bytes) : transmit_large(frame);
  if (is_sent) {
    ++frames_;
    bytes_ += bytes;
  } else {
    ++dropped_;
  }
  return is_sent;
}

bool AfPacketSender::transmit_small(const TxFrame& frame, std::size_t bytes) noexcept {
  const std::span<std::byte> slot = ring_.slot(next_);
  if (status_of(slot).load(std::memory_order_acquire) != TP_STATUS_AVAILABLE) {
    flush();
    if (status_of(slot).load(std::memory_order_acquire) != TP_STATUS_AVAILABLE) return false;
  }
  // With everything declared to be header the kernel copies the frame at once; otherwise it would
  // refer to the ring's pages, and a veth peer would have to copy those one by one.
  const VnetHeader vnet = make_vnet(frame, bytes);
  std::byte* out = slot.data() + kSlotHeader;
  const auto append = [&out](const void* data, std::size_t length) {
    if (length != 0) std::memcpy(out, data, length);
    out += length;
  };
  append(&vnet, sizeof(vnet));
  append(frame.headers.data(), frame.headers.size());
  for (const auto& part : frame.payload)
    append(part.data(), part.size());
  reinterpret_cast<tpacket2_hdr*>(slot.data())->tp_len =
      static_cast<std::uint32_t>(sizeof(vnet) + bytes);
  status_of(slot).store(TP_STATUS_SEND_REQUEST, std::memory_order_release);
  ++next_;
  has_pending_ = true;
  return true;
}

bool AfPacketSender::transmit_large(const TxFrame& frame) noexcept {
  flush();
  VnetHeader vnet = make_vnet(frame, frame.headers.size());
  std::array<iovec, 4> pieces = {iovec{&vnet, sizeof(vnet)}, piece(frame.headers),
                                 piece(frame.payload[0]), piece(frame.payload[1])};
  return send_pieces(large_fd_, pieces);
}

// What cannot leave now (ENOBUFS: the queue below is full, ENETDOWN) stays in the ring and is tried
// again by the next flush.
void AfPacketSender::flush() noexcept {
  if (!has_pending_) return;
  ssize_t sent = 0;
  do {
    sent = ::send(ring_fd_.get(), nullptr, 0, MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  has_pending_ = sent < 0;
}

bool AfPacketSender::reinject(const RxFrame& frame) noexcept {
  HostFrame host;
  if (!make_host_frame(frame, host)) return false;
  std::array<iovec, 3> pieces = {iovec{&host.vnet, sizeof(host.vnet)},
                                 iovec{host.headers.data(), host.header_bytes},
                                 piece(frame.bytes.subspan(host.header_bytes))};
  return send_pieces(reinject_fd_, pieces);
}

void AfPacketSender::add_to(QueueStats& stats) const noexcept {
  stats.tx_frames += frames_;
  stats.tx_bytes += bytes_;
  stats.tx_dropped += dropped_;
}

}  // namespace snp::device
