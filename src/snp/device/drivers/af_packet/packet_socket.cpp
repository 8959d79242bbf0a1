#include "snp/device/drivers/af_packet/packet_socket.h"

#include <algorithm>
#include <bit>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace snp::device {
namespace {

constexpr std::uint32_t kBlockBytes = 64 * 1024;

}  // namespace

Result<> set_option(const UniqueFd& fd, int level, int option, const char* name,
                    std::uint32_t value) {
  if (::setsockopt(fd.get(), level, option, &value, sizeof(value)) == 0) return {};
  return fail_errno(std::string("the kernel refuses ") + name + " on a packet socket");
}

Result<UniqueFd> open_packet_socket() {
  UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) {
    if (errno == EPERM)
      return fail(
          Errc::kDenied,
          "cannot open a packet socket: CAP_NET_RAW is missing; run snpd as root or give it "
          "this capability");
    return fail_errno("cannot open a packet socket");
  }
  if (auto set = set_option(fd, SOL_PACKET, PACKET_VERSION, "PACKET_VERSION", TPACKET_V2); !set)
    return tl::unexpected(set.error());
  if (auto set = set_option(fd, SOL_PACKET, PACKET_VNET_HDR, "PACKET_VNET_HDR", 1); !set)
    return tl::unexpected(set.error());
  return fd;
}

Result<> bind_to_device(const UniqueFd& fd, std::uint32_t ifindex, std::uint16_t protocol) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = static_cast<int>(ifindex);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0)
    return {};
  return fail_errno("cannot bind a packet socket to device " + std::to_string(ifindex));
}

PacketRing::PacketRing(PacketRing&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      mask_(other.mask_),
      slot_bytes_(other.slot_bytes_) {}

PacketRing& PacketRing::operator=(PacketRing&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(mask_, other.mask_);
  std::swap(slot_bytes_, other.slot_bytes_);
  return *this;
}

PacketRing::~PacketRing() {
  if (data_ != nullptr) ::munmap(data_, std::size_t{slots()} * slot_bytes_);
}

Result<PacketRing> PacketRing::map(const UniqueFd& fd, int option, std::uint32_t slots,
                                   std::uint32_t slot_bytes) {
  if (!std::has_single_bit(slots) || !std::has_single_bit(slot_bytes) || slot_bytes < 512 ||
      slot_bytes > kBlockBytes || std::uint64_t{slots} * slot_bytes > (1u << 30))
    return fail(Errc::kInvalid, "a packet ring of " + std::to_string(slots) + " slots of " +
                                    std::to_string(slot_bytes) +
                                    " bytes: both must be powers of two, slots 512 to 65536 bytes, "
                                    "1 GiB in all");
  const std::uint32_t bytes = slots * slot_bytes;
  tpacket_req request{};
  request.tp_block_size = std::clamp<std::uint32_t>(bytes, 4096, kBlockBytes);
  request.tp_block_nr = std::max<std::uint32_t>(1, bytes / request.tp_block_size);
  request.tp_frame_size = slot_bytes;
  request.tp_frame_nr = request.tp_block_size / slot_bytes * request.tp_block_nr;
  if (::setsockopt(fd.get(), SOL_PACKET, option, &request, sizeof(request)) != 0)
    return fail_errno("cannot make a packet ring of " + std::to_string(bytes) + " bytes");
  PacketRing ring;
  ring.mask_ = request.tp_frame_nr - 1;
  ring.slot_bytes_ = slot_bytes;
  void* memory = ::mmap(nullptr, std::size_t{request.tp_frame_nr} * slot_bytes,
                        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map a packet ring");
  ring.data_ = static_cast<std::byte*>(memory);
  return ring;
}

}  // namespace snp::device
