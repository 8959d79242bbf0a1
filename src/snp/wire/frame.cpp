#include "snp/wire/frame.h"

#include <algorithm>
#include <cstring>

#include "snp/wire/headers.h"
#include "snp/wire/tcp_options.h"

namespace snp {
namespace {

using namespace wire;

// RFC 8200 4: extension headers in front of TCP that an end host merely skips.
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kDestination = 60;
constexpr std::size_t kFragmentHeaderBytes = 8;
// More of them than any sane sender uses; the host may judge the rest.
constexpr int kMaxExtensions = 8;
constexpr std::uint8_t kEcnMask = 3;  // RFC 3168 5
constexpr std::uint8_t kEcnCe = 3;

// Where a header begins in the frame, or null when the frame ends before it does.
template <class Header>
const Header* header_at(std::span<const std::byte> frame, std::size_t offset) noexcept {
  static_assert(alignof(Header) == 1);
  if (frame.size() < offset || frame.size() - offset < sizeof(Header)) return nullptr;
  return reinterpret_cast<const Header*>(frame.data() + offset);
}

IpAddress mapped(const std::array<std::uint8_t, 4>& v4) noexcept {
  return IpAddress::v4(v4[0], v4[1], v4[2], v4[3]);
}

// Pre: out.l4_offset stands at the TCP header, if the first fragment holds that.
void read_first_fragment(std::span<const std::byte> packet, ParsedFrame& out) noexcept {
  const auto* tcp = header_at<TcpHeader>(packet, out.l4_offset);
  if (tcp == nullptr) return;
  out.tuple.local.port = tcp->destination_port;
  out.tuple.remote.port = tcp->source_port;
  out.segment.seg_seq = SeqNum(tcp->sequence);
}

FrameVerdict parse_ipv4(std::span<const std::byte> frame, bool is_merged,
                        ParsedFrame& out) noexcept {
  const auto* ip = header_at<Ipv4Header>(frame, out.l3_offset);
  if (ip == nullptr) return FrameVerdict::kTruncated;
  const std::size_t header_bytes = (ip->version_ihl & 0xfu) * 4;
  const std::size_t available = frame.size() - out.l3_offset;
  if (ip->version_ihl >> 4 != 4 || header_bytes < sizeof(Ipv4Header))
    return FrameVerdict::kBadIpHeader;
  std::size_t total = ip->total_length;
  if (total == 0 && is_merged) total = available;
  if (total > available) return FrameVerdict::kTruncated;
  if (total < header_bytes) return FrameVerdict::kBadIpHeader;
  out.tuple.local.address = mapped(ip->destination);
  out.tuple.remote.address = mapped(ip->source);
  out.ttl = ip->ttl;
  out.tos = ip->tos;
  out.length = static_cast<std::uint32_t>(out.l3_offset + total);
  out.l4_offset = static_cast<std::uint16_t>(out.l3_offset + header_bytes);
  if ((ip->flags_fragment & Ipv4Header::kMoreFragmentsOrOffset) != 0) {
    const bool is_first = (ip->flags_fragment & Ipv4Header::kOffset) == 0;
    if (is_first && ip->protocol == kProtocolTcp) read_first_fragment(frame.first(out.length), out);
    return FrameVerdict::kFragment;
  }
  return ip->protocol == kProtocolTcp ? FrameVerdict::kTcp : FrameVerdict::kNotTcp;
}

// RFC 8200 4.5: 13 bits of offset stand where a routing header has its type and segments left.
bool is_first(const Ipv6Extension& fragment) noexcept {
  return fragment.routing_type == 0 && fragment.segments_left >> 3 == 0;
}

// Walks over the extension headers to TCP. Pre: out.l4_offset stands behind the IPv6 header.
FrameVerdict skip_extensions(std::span<const std::byte> packet, std::uint8_t next_header,
                             ParsedFrame& out) noexcept {
  std::size_t offset = out.l4_offset;
  for (int i = 0; i <= kMaxExtensions; ++i) {
    if (next_header == kProtocolTcp) {
      out.l4_offset = static_cast<std::uint16_t>(offset);
      return FrameVerdict::kTcp;
    }
    if (next_header == kFragmentHeader) {
      const auto* fragment = header_at<Ipv6Extension>(packet, offset);
      if (fragment != nullptr && fragment->next_header == kProtocolTcp && is_first(*fragment)) {
        out.l4_offset = static_cast<std::uint16_t>(offset + kFragmentHeaderBytes);
        read_first_fragment(packet, out);
      }
      return FrameVerdict::kFragment;
    }
    const bool is_hop_by_hop = next_header == kHopByHop && i == 0;  // RFC 8200 4.1: first only
    if (!is_hop_by_hop && next_header != kRouting && next_header != kDestination)
      return FrameVerdict::kNotTcp;
    const auto* extension = header_at<Ipv6Extension>(packet, offset);
    if (extension == nullptr) return FrameVerdict::kTruncated;
    // The packet is not at its last stop: only the host knows how to go on.
    if (next_header == kRouting && extension->segments_left != 0) return FrameVerdict::kNotTcp;
    next_header = extension->next_header;
    offset += (extension->length + std::size_t{1}) * 8;
  }
  return FrameVerdict::kNotTcp;
}

FrameVerdict parse_ipv6(std::span<const std::byte> frame, bool is_merged,
                        ParsedFrame& out) noexcept {
  const auto* ip = header_at<Ipv6Header>(frame, out.l3_offset);
  if (ip == nullptr) return FrameVerdict::kTruncated;
  const std::uint32_t first_word = ip->version_class_label;
  if (first_word >> 28 != 6) return FrameVerdict::kBadIpHeader;
  const std::size_t available = frame.size() - out.l3_offset - sizeof(Ipv6Header);
  std::size_t payload = ip->payload_length;
  if (payload == 0 && is_merged) payload = available;
  if (payload > available) return FrameVerdict::kTruncated;
  out.tuple.local.address.bytes = ip->destination;
  out.tuple.remote.address.bytes = ip->source;
  // Such a packet would pose as an IPv4 one (RFC 4291 2.5.5.2 has no such thing on the wire).
  if (out.tuple.local.address.is_v4() || out.tuple.remote.address.is_v4())
    return FrameVerdict::kBadIpHeader;
  out.is_v6 = true;
  out.ttl = ip->hop_limit;
  out.tos = static_cast<std::uint8_t>(first_word >> 20);
  out.l4_offset = static_cast<std::uint16_t>(out.l3_offset + sizeof(Ipv6Header));
  out.length = static_cast<std::uint32_t>(out.l4_offset + payload);
  return skip_extensions(frame.first(out.length), ip->next_header, out);
}

// Pre: `packet` ends where the IP packet ends.
FrameVerdict parse_tcp(std::span<const std::byte> packet, ParsedFrame& out) noexcept {
  const auto* tcp = header_at<TcpHeader>(packet, out.l4_offset);
  if (tcp == nullptr) return FrameVerdict::kTruncated;
  out.tuple.local.port = tcp->destination_port;
  out.tuple.remote.port = tcp->source_port;
  const std::size_t header_bytes = (tcp->data_offset >> 4) * std::size_t{4};
  if (header_bytes < sizeof(TcpHeader)) return FrameVerdict::kBadTcpHeader;
  const std::span<const std::byte> segment = packet.subspan(out.l4_offset);
  if (header_bytes > segment.size()) return FrameVerdict::kTruncated;
  out.segment.seg_seq = SeqNum(tcp->sequence);
  out.segment.seg_ack = SeqNum(tcp->acknowledgment);
  out.segment.seg_wnd = tcp->window;
  out.segment.flags = tcp->flags;
  out.segment.is_ce = (out.tos & kEcnMask) == kEcnCe;
  out.segment.options =
      parse_tcp_options(segment.subspan(sizeof(TcpHeader), header_bytes - sizeof(TcpHeader)));
  out.segment.payload = segment.subspan(header_bytes);
  return FrameVerdict::kTcp;
}

}  // namespace

const char* to_string(FrameVerdict verdict) noexcept {
  switch (verdict) {
    case FrameVerdict::kTcp:
      return "tcp";
    case FrameVerdict::kNotIp:
      return "not-ip";
    case FrameVerdict::kTruncated:
      return "truncated";
    case FrameVerdict::kBadIpHeader:
      return "bad-ip-header";
    case FrameVerdict::kFragment:
      return "fragment";
    case FrameVerdict::kNotTcp:
      return "not-tcp";
    case FrameVerdict::kBadTcpHeader:
      return "bad-tcp-header";
  }
  return "?";
}

FrameVerdict parse_frame(std::span<const std::byte> frame, std::uint16_t gso_size,
                         ParsedFrame& out) noexcept {
  out = {};
  out.segment.gso_size = gso_size;
  out.l3_offset = sizeof(EthernetHeader);
  const auto* ethernet = header_at<EthernetHeader>(frame, 0);
  if (ethernet == nullptr) return FrameVerdict::kTruncated;
  const std::uint16_t type = ethernet->ether_type;
  if (type != kEtherTypeIpv4 && type != kEtherTypeIpv6) return FrameVerdict::kNotIp;
  const FrameVerdict ip = type == kEtherTypeIpv4 ? parse_ipv4(frame, gso_size != 0, out)
                                                 : parse_ipv6(frame, gso_size != 0, out);
  return ip == FrameVerdict::kTcp ? parse_tcp(frame.first(out.length), out) : ip;
}

}  // namespace snp
