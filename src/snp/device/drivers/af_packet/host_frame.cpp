#include "snp/device/drivers/af_packet/host_frame.h"

#include <cstdint>
#include <cstring>

#include <linux/if_ether.h>
#include <netinet/in.h>

namespace snp::device {
namespace {

constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::size_t kTcpChecksumOffset = 16;
constexpr std::size_t kIpv4HeaderBytes = 20;
constexpr std::size_t kIpv6HeaderBytes = 40;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  return std::to_integer<std::uint8_t>(bytes[offset]);
}

std::uint16_t be16_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  return static_cast<std::uint16_t>(byte_at(bytes, offset) << 8 | byte_at(bytes, offset + 1));
}

// Where things are in an IP packet that carries a whole TCP header. Offsets from the frame's start.
struct Layout {
  std::size_t addresses = 0, address_bytes = 0;  // source and destination, in one piece
  std::size_t tcp = 0;
  std::size_t end = 0;
  bool is_v6 = false;
};

bool find_ipv4(std::span<const std::byte> frame, Layout& layout) noexcept {
  constexpr std::size_t kIp = ETH_HLEN;
  if (frame.size() < kIp + kIpv4HeaderBytes || byte_at(frame, kIp + 9) != IPPROTO_TCP) return false;
  const std::size_t header = (byte_at(frame, kIp) & 0x0f) * std::size_t{4};
  if (header < kIpv4HeaderBytes) return false;
  layout = {kIp + 12, 8, kIp + header, kIp + be16_at(frame, kIp + 2), false};
  return true;
}

// Extension headers as the steering program lets them pass (RFC 8200 4).
bool find_ipv6(std::span<const std::byte> frame, Layout& layout) noexcept {
  constexpr std::size_t kIp = ETH_HLEN;
  if (frame.size() < kIp + kIpv6HeaderBytes) return false;
  std::uint8_t next = byte_at(frame, kIp + 6);
  std::size_t offset = kIp + kIpv6HeaderBytes;
  while (next != IPPROTO_TCP) {
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) return false;
    if (frame.size() < offset + 2) return false;
    next = byte_at(frame, offset);
    offset += (std::size_t{byte_at(frame, offset + 1)} + 1) * 8;
  }
  layout = {kIp + 8, 32, offset, kIp + kIpv6HeaderBytes + be16_at(frame, kIp + 4), true};
  return true;
}

bool find_tcp(std::span<const std::byte> frame, Layout& layout) noexcept {
  if (frame.size() < ETH_HLEN) return false;
  const std::uint16_t type = be16_at(frame, ETH_HLEN - 2);
  const bool is_found = type == ETH_P_IP     ? find_ipv4(frame, layout)
                        : type == ETH_P_IPV6 ? find_ipv6(frame, layout)
                                             : false;
  return is_found && layout.end <= frame.size() && layout.tcp + kTcpHeaderBytes <= layout.end;
}

// RFC 9293 3.1: the checksum's start, over addresses, protocol and length.
std::uint16_t pseudo_header_sum(std::span<const std::byte> frame, const Layout& layout) noexcept {
  std::uint64_t sum = IPPROTO_TCP + (layout.end - layout.tcp);
  for (std::size_t i = 0; i < layout.address_bytes; i += 2)
    sum += be16_at(frame, layout.addresses + i);
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

bool make_host_frame(const RxFrame& frame, HostFrame& out) noexcept {
  Layout layout;
  if (!find_tcp(frame.bytes, layout)) return false;
  out.vnet = {};
  out.header_bytes = 0;
  // The host verifies what nobody has verified.
  if (frame.checksum == Checksum::kUnknown) return frame.gso_size == 0;

  const std::size_t header_bytes = layout.tcp + kTcpHeaderBytes;
  if (header_bytes > out.headers.size()) return false;
  std::memcpy(out.headers.data(), frame.bytes.data(), header_bytes);
  out.header_bytes = header_bytes;
  const std::uint16_t sum = pseudo_header_sum(frame.bytes, layout);
  const std::size_t field = layout.tcp + kTcpChecksumOffset;
  out.headers[field] = static_cast<std::byte>(sum >> 8);
  out.headers[field + 1] = static_cast<std::byte>(sum & 0xff);

  out.vnet.flags = VnetHeader::kNeedsChecksum;
  out.vnet.csum_start = static_cast<std::uint16_t>(layout.tcp);
  out.vnet.csum_offset = kTcpChecksumOffset;
  out.vnet.hdr_len = static_cast<std::uint16_t>(
      layout.tcp + (byte_at(frame.bytes, layout.tcp + 12) >> 4) * std::size_t{4});
  if (frame.gso_size != 0) {
    out.vnet.gso_type = layout.is_v6 ? VnetHeader::kGsoTcpV6 : VnetHeader::kGsoTcpV4;
    out.vnet.gso_size = frame.gso_size;
  }
  return true;
}

}  // namespace snp::device
