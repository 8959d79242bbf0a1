#include "snp/device/drivers/af_packet/receiver.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "snp/device/drivers/af_packet/vnet_header.h"

namespace snp::device {
namespace {

// The largest merged frame there is (GSO_MAX_SIZE, with IPv4 or IPv6 BIG TCP), in whole pages.
constexpr std::size_t kLargeBytes = 8 * 64 * 1024 + 4096;
// A device that goes down leaves an error on the socket, which keeps it readable until it is
// fetched. Looking for it costs a system call, so not at each empty call.
constexpr std::uint32_t kEmptyCallsBetweenChecks = 32;
// PACKET_FANOUT_FLAG_IGNORE_OUTGOING of Linux 6.10; Debian 12's headers are older. A group does not
// heed its members' PACKET_IGNORE_OUTGOING: without this flag each frame that the device sends is
// cloned and shown to the programs. Older kernels take it for nothing.
constexpr std::uint32_t kFanoutIgnoresOutgoing = 0x4000;

std::atomic_ref<std::uint32_t> status_of(std::span<std::byte> slot) noexcept {
  return std::atomic_ref<std::uint32_t>(reinterpret_cast<tpacket2_hdr*>(slot.data())->tp_status);
}

bool is_tcp_gso(const VnetHeader& header) noexcept {
  const auto type = static_cast<std::uint8_t>(header.gso_type & ~VnetHeader::kGsoEcn);
  return type == VnetHeader::kGsoTcpV4 || type == VnetHeader::kGsoTcpV6;
}

}  // namespace

Result<std::unique_ptr<AfPacketReceiver>> AfPacketReceiver::open(std::uint32_t ifindex,
                                                                 const AfPacketOptions& options,
                                                                 int socket_filter_fd) {
  auto fd = open_packet_socket();
  if (!fd) return tl::unexpected(fd.error());
  const struct {
    int level;
    int option;
    const char* name;
    std::uint32_t value;
  } settings[] = {
      {SOL_SOCKET, SO_ATTACH_BPF, "SO_ATTACH_BPF", static_cast<std::uint32_t>(socket_filter_fd)},
      {SOL_PACKET, PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING", 1},
      {SOL_PACKET, PACKET_COPY_THRESH, "PACKET_COPY_THRESH", 1},
      {SOL_SOCKET, SO_RCVBUFFORCE, "SO_RCVBUFFORCE", options.receive_buffer_bytes},
  };
  for (const auto& setting : settings) {
    auto set = set_option(*fd, setting.level, setting.option, setting.name, setting.value);
    if (!set) return tl::unexpected(set.error());
  }
  auto ring = PacketRing::map(*fd, PACKET_RX_RING, options.rx_slots, options.rx_slot_bytes);
  if (!ring) return tl::unexpected(ring.error());
  if (auto bound = bind_to_device(*fd, ifindex, 0); !bound) return tl::unexpected(bound.error());

  std::unique_ptr<AfPacketReceiver> receiver(new AfPacketReceiver);
  receiver->fd_ = std::move(*fd);
  receiver->ring_ = std::move(*ring);
  receiver->contents_.assign(receiver->ring_.slots(), kDropped);
  for (std::uint32_t i = options.large_frames; i-- > 0;)
    receiver->free_large_.push_back(static_cast<std::int16_t>(i));
  receiver->large_ =
      std::make_unique_for_overwrite<std::byte[]>(options.large_frames * kLargeBytes);
  return receiver;
}

Result<> AfPacketReceiver::tap(std::uint32_t ifindex) {
  return bind_to_device(fd_, ifindex, ETH_P_ALL);
}

Result<> AfPacketReceiver::join(Fanout& group) {
  const bool is_first = group.members == 0;
  const std::uint32_t mode =
      PACKET_FANOUT_EBPF | kFanoutIgnoresOutgoing |
      (is_first ? static_cast<std::uint32_t>(PACKET_FANOUT_FLAG_UNIQUEID) : 0);
  auto joined = set_option(fd_, SOL_PACKET, PACKET_FANOUT, "PACKET_FANOUT",
                           (is_first ? 0 : group.id) | mode << 16);
  if (!joined) return joined;
  ++group.members;
  if (!is_first) return {};
  std::uint32_t made = 0;
  socklen_t length = sizeof(made);
  if (::getsockopt(fd_.get(), SOL_PACKET, PACKET_FANOUT, &made, &length) != 0)
    return fail_errno("cannot ask for the fanout group");
  group.id = made & 0xffff;
  return set_option(fd_, SOL_PACKET, PACKET_FANOUT_DATA, "PACKET_FANOUT_DATA",
                    static_cast<std::uint32_t>(group.program_fd));
}

std::size_t AfPacketReceiver::receive(std::span<RxFrame> out) noexcept {
  const std::size_t kept = std::min(std::exchange(keep_, 0), held_frames_);
  release_all_but(kept);
  std::size_t count = 0;
  bool is_losing = false;
  while (count < out.size() && held_ < ring_.slots()) {
    const std::span<std::byte> slot = ring_.slot(next_);
    const std::uint32_t status = status_of(slot).load(std::memory_order_acquire);
    if ((status & TP_STATUS_USER) == 0) break;
    std::int16_t& content = contents_[next_ & (ring_.slots() - 1)];
    const Verdict verdict = take(slot, status, out[count], content);
    if (verdict == Verdict::kNoBuffer) break;
    if (verdict == Verdict::kTaken) {
      bytes_ += out[count].bytes.size();
      ++count;
      ++held_frames_;
    } else {
      content = kDropped;
      ++dropped_;
    }
    is_losing |= (status & TP_STATUS_LOSING) != 0;
    ++next_;
    ++held_;
  }
  frames_ += count;
  if (is_losing) update_drops();
  if (count == 0) {
    release_all_but(kept);
    on_empty();
  } else {
    empty_calls_ = 0;
  }
  return count;
}

// Oldest first, and the dropped ones among and behind them.
void AfPacketReceiver::release_all_but(std::size_t frames) noexcept {
  for (; held_ != 0; --held_) {
    const std::uint32_t slot = next_ - held_;
    const std::int16_t content = contents_[slot & (ring_.slots() - 1)];
    if (content != kDropped) {
      if (held_frames_ == frames) return;
      --held_frames_;
      if (content != kSmall) free_large_.push_back(content);
    }
    status_of(ring_.slot(slot)).store(TP_STATUS_KERNEL, std::memory_order_release);
  }
}

void AfPacketReceiver::on_empty() noexcept {
  if (++empty_calls_ < kEmptyCallsBetweenChecks) return;
  empty_calls_ = 0;
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
}

AfPacketReceiver::Verdict AfPacketReceiver::take(std::span<std::byte> slot, std::uint32_t status,
                                                 RxFrame& out, std::int16_t& content) noexcept {
  const auto& header = *reinterpret_cast<const tpacket2_hdr*>(slot.data());
  VnetHeader vnet;
  std::memcpy(&vnet, slot.data() + header.tp_mac - sizeof(vnet), sizeof(vnet));
  const bool is_valid = (vnet.flags & (VnetHeader::kNeedsChecksum | VnetHeader::kDataValid)) != 0;
  out.checksum = is_valid ? Checksum::kValid : Checksum::kUnknown;
  out.gso_size = is_tcp_gso(vnet) ? vnet.gso_size : std::uint16_t{0};
  if ((status & TP_STATUS_COPY) != 0) return take_large(header, out, content);
  // A tagged frame is of another device; a cut one came when the receive buffer was full.
  if ((status & TP_STATUS_VLAN_VALID) != 0 || header.tp_snaplen < header.tp_len)
    return Verdict::kDropped;
  out.bytes = {slot.data() + header.tp_mac, header.tp_snaplen};
  content = kSmall;
  return Verdict::kTaken;
}

AfPacketReceiver::Verdict AfPacketReceiver::take_large(const tpacket2_hdr& header, RxFrame& out,
                                                       std::int16_t& content) noexcept {
  if (free_large_.empty()) return Verdict::kNoBuffer;
  const std::int16_t index = free_large_.back();
  const std::span<std::byte> buffer(large_.get() + static_cast<std::size_t>(index) * kLargeBytes,
                                    kLargeBytes);
  if (!receive_large(buffer, header.tp_len) || (header.tp_status & TP_STATUS_VLAN_VALID) != 0)
    return Verdict::kDropped;
  free_large_.pop_back();
  content = index;
  out.bytes = buffer.first(header.tp_len);
  return Verdict::kTaken;
}

// Takes the oldest frame of the socket's queue, which belongs to the slot at hand. An error that
// waited on the socket (its device went down) is fetched by the first try.
bool AfPacketReceiver::receive_large(std::span<std::byte> buffer, std::size_t expected) noexcept {
  VnetHeader ignored;
  std::array<iovec, 2> pieces = {iovec{&ignored, sizeof(ignored)},
                                 iovec{buffer.data(), buffer.size()}};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  for (int tries = 0; tries < 3; ++tries) {
    const ssize_t received = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    if (received >= 0)
      return static_cast<std::size_t>(received) == sizeof(ignored) + expected &&
             (message.msg_flags & MSG_TRUNC) == 0;
    if (errno == EAGAIN) return false;
  }
  return false;
}

void AfPacketReceiver::update_drops() noexcept {
  tpacket_stats stats{};
  socklen_t length = sizeof(stats);
  if (::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0)
    dropped_ += stats.tp_drops;
}

void AfPacketReceiver::add_to(QueueStats& stats) const noexcept {
  stats.rx_frames += frames_;
  stats.rx_bytes += bytes_;
  stats.rx_dropped += dropped_;
}

}  // namespace snp::device
