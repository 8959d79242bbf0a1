#include "snp/rss/packet_fields.h"

#include <algorithm>
#include <cstring>

#include "snp/wire/headers.h"

namespace snp::rss {
namespace {

using namespace wire;

constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kDestination = 60;
constexpr std::uint8_t kEncrypted = 50, kAuthentication = 51, kNoNextHeader = 59;
constexpr std::uint8_t kPad1 = 0;            // RFC 8200 4.2
constexpr std::uint8_t kHomeAddress = 0xc9;  // RFC 6275 6.3
constexpr std::uint8_t kRoutingType2 = 2;    // RFC 6275 6.4
constexpr int kMaxExtensions = 8;

template <class Header>
const Header* header_at(std::span<const std::byte> packet, std::size_t offset) noexcept {
  static_assert(alignof(Header) == 1);
  if (packet.size() < offset || packet.size() - offset < sizeof(Header)) return nullptr;
  return reinterpret_cast<const Header*>(packet.data() + offset);
}

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  return std::to_integer<std::uint8_t>(bytes[offset]);
}

IpAddress address_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  IpAddress address;
  std::memcpy(address.bytes.data(), bytes.data() + offset, address.bytes.size());
  return address;
}

bool read_transport(std::span<const std::byte> packet, std::size_t offset, std::uint8_t protocol,
                    PacketFields& out) noexcept {
  if (protocol != kProtocolTcp && protocol != kProtocolUdp) return true;
  if (packet.size() < offset + 4) return false;
  out.transport = protocol == kProtocolTcp ? Transport::kTcp : Transport::kUdp;
  const auto port = [&](std::size_t at) {
    return static_cast<std::uint16_t>(byte_at(packet, at) << 8 | byte_at(packet, at + 1));
  };
  out.source_port = port(offset);
  out.destination_port = port(offset + 2);
  return true;
}

std::optional<PacketFields> read_ipv4(std::span<const std::byte> packet) noexcept {
  const auto* ip = header_at<Ipv4Header>(packet, 0);
  if (ip == nullptr) return std::nullopt;
  const std::size_t header_bytes = (ip->version_ihl & 0xfu) * 4;
  if (header_bytes < sizeof(Ipv4Header)) return std::nullopt;
  const auto& source = ip->source;
  const auto& destination = ip->destination;
  PacketFields out;
  out.source = IpAddress::v4(source[0], source[1], source[2], source[3]);
  out.destination = IpAddress::v4(destination[0], destination[1], destination[2], destination[3]);
  out.is_fragment = (ip->flags_fragment & Ipv4Header::kMoreFragmentsOrOffset) != 0;
  if (out.is_fragment) return out;
  if (!read_transport(packet, header_bytes, ip->protocol, out)) return std::nullopt;
  return out;
}

// The home address option of a destination options header. `options`: behind its first two bytes.
void read_home_address(std::span<const std::byte> options, PacketFields& out) noexcept {
  std::size_t offset = 0;
  while (offset < options.size()) {
    const std::uint8_t type = byte_at(options, offset);
    if (type == kPad1) {
      ++offset;
      continue;
    }
    if (options.size() - offset < 2) return;
    const std::size_t length = byte_at(options, offset + 1);
    if (options.size() - offset - 2 < length) return;
    if (type == kHomeAddress && length == 16) out.home_address = address_at(options, offset + 2);
    offset += 2 + length;
  }
}

void read_routing(std::span<const std::byte> header, PacketFields& out) noexcept {
  if (byte_at(header, 2) == kRoutingType2 && header.size() == 24)
    out.routing_type2_address = address_at(header, 8);
}

// How many bytes an extension header has; 0: it cannot be skipped.
std::size_t extension_bytes(std::uint8_t kind, std::uint8_t length) noexcept {
  if (kind == kAuthentication) return (length + std::size_t{2}) * 4;  // RFC 4302 2.2
  const bool is_known = kind == kHopByHop || kind == kRouting || kind == kDestination;
  return is_known ? (length + std::size_t{1}) * 8 : 0;
}

bool walk_extensions(std::span<const std::byte> packet, std::uint8_t next,
                     PacketFields& out) noexcept {
  std::size_t offset = sizeof(Ipv6Header);
  for (int i = 0; i < kMaxExtensions; ++i) {
    if (next == kFragmentHeader) {
      out.is_fragment = true;
      return true;
    }
    if (next == kProtocolTcp || next == kProtocolUdp)
      return read_transport(packet, offset, next, out);
    // What is behind is no transport that RSS knows, or nobody can see it.
    if (next == kEncrypted || next == kNoNextHeader) return true;
    if (packet.size() < offset + 2) return false;
    const std::uint8_t kind = next;
    const std::size_t bytes = extension_bytes(kind, byte_at(packet, offset + 1));
    if (bytes == 0) return true;  // another transport
    if (packet.size() - offset < bytes) return false;
    const auto header = packet.subspan(offset, bytes);
    if (kind == kDestination) read_home_address(header.subspan(2), out);
    if (kind == kRouting) read_routing(header, out);
    next = byte_at(header, 0);
    offset += bytes;
  }
  return false;
}

std::optional<PacketFields> read_ipv6(std::span<const std::byte> packet) noexcept {
  const auto* ip = header_at<Ipv6Header>(packet, 0);
  if (ip == nullptr) return std::nullopt;
  PacketFields out;
  out.source.bytes = ip->source;
  out.destination.bytes = ip->destination;
  // On the wire such an address would pose as IPv4 (RFC 4291 2.5.5.2).
  if (out.source.is_v4() || out.destination.is_v4()) return std::nullopt;
  if (!walk_extensions(packet, ip->next_header, out)) return std::nullopt;
  return out;
}

}  // namespace

std::optional<PacketFields> read_fields(std::span<const std::byte> packet) noexcept {
  if (packet.empty()) return std::nullopt;
  switch (byte_at(packet, 0) >> 4) {
    case 4:
      return read_ipv4(packet);
    case 6:
      return read_ipv6(packet);
    default:
      return std::nullopt;
  }
}

}  // namespace snp::rss
