#include "snp/wire/header_template.h"

#include "snp/base/assert.h"

namespace snp {
namespace {

using namespace wire;

constexpr std::uint8_t kEcnMask = 3;
constexpr std::uint8_t kEct0 = 2;  // RFC 3168 5
constexpr std::size_t kTcpChecksumOffset = 16;

void store16(std::byte* to, std::uint16_t memory_order) noexcept {
  std::memcpy(to, &memory_order, sizeof(memory_order));
}

std::array<std::uint8_t, 4> unmapped(const IpAddress& address) noexcept {
  return {address.bytes[12], address.bytes[13], address.bytes[14], address.bytes[15]};
}

template <class Header>
void put(std::byte* to, const Header& header) noexcept {
  std::memcpy(to, &header, sizeof(header));
}

}  // namespace

HeaderTemplate::HeaderTemplate(const HeaderFields& fields) noexcept {
  const bool v4 = fields.tuple.local.address.is_v4();
  put(bytes_.data(), EthernetHeader{fields.destination_mac, fields.source_mac,
                                    v4 ? kEtherTypeIpv4 : kEtherTypeIpv6});
  if (v4)
    build_ipv4(fields);
  else
    build_ipv6(fields);
  TcpHeader tcp{};
  tcp.source_port = fields.tuple.local.port;
  tcp.destination_port = fields.tuple.remote.port;
  put(bytes_.data() + l4_offset_, tcp);
  pseudo_sum_ = pseudo_header_sum(fields.tuple.local.address, fields.tuple.remote.address, 0);
}

void HeaderTemplate::build_ipv4(const HeaderFields& fields) noexcept {
  Ipv4Header ip{};
  ip.version_ihl = 0x45;
  ip.tos = fields.tos & static_cast<std::uint8_t>(~kEcnMask);
  ip.flags_fragment = Ipv4Header::kDontFragment;
  ip.ttl = fields.ttl;
  ip.protocol = kProtocolTcp;
  ip.source = unmapped(fields.tuple.local.address);
  ip.destination = unmapped(fields.tuple.remote.address);
  l4_offset_ = kL4OffsetV4;
  put(bytes_.data() + kL3Offset, ip);
  ip_sum_ = sum_of(std::span(bytes_).subspan(kL3Offset, sizeof(Ipv4Header)));
}

void HeaderTemplate::build_ipv6(const HeaderFields& fields) noexcept {
  Ipv6Header ip{};
  ip.version_class_label = std::uint32_t{6} << 28 | std::uint32_t{fields.tos & 0xfcu} << 20 |
                           (fields.flow_label & 0xfffff);
  ip.next_header = kProtocolTcp;
  ip.hop_limit = fields.ttl;
  ip.source = fields.tuple.local.address.bytes;
  ip.destination = fields.tuple.remote.address.bytes;
  l4_offset_ = kL4OffsetV6;
  put(bytes_.data() + kL3Offset, ip);
}

void HeaderTemplate::fill_ipv4(std::size_t tcp_bytes, std::uint8_t ecn,
                               std::byte* out) const noexcept {
  auto* ip = reinterpret_cast<Ipv4Header*>(out + kL3Offset);
  const auto total = static_cast<std::uint16_t>(sizeof(Ipv4Header) + tcp_bytes);
  ip->total_length = total;
  ip->tos |= ecn;
  // The TOS byte is the low half of the header's first word.
  const auto sum = static_cast<std::uint16_t>(
      ~fold(ip_sum_ + network_order(total) + network_order(std::uint16_t{ecn})));
  std::memcpy(ip->checksum.data(), &sum, sizeof(sum));
}

void HeaderTemplate::fill_ipv6(std::size_t tcp_bytes, std::uint8_t ecn,
                               std::byte* out) const noexcept {
  auto* ip = reinterpret_cast<Ipv6Header*>(out + kL3Offset);
  ip->payload_length = static_cast<std::uint16_t>(tcp_bytes);
  // The traffic class lies across the first two bytes; ECN is the high half of the second.
  out[kL3Offset + 1] |= static_cast<std::byte>(ecn << 4);
}

std::size_t HeaderTemplate::write(const SegmentFields& segment, const TcpOptions& options,
                                  std::byte* out) const noexcept {
  SNP_ASSERT(segment.payload_len <= kMaxPayload);
  // Always the longer of the two sizes: a copy of constant length is a few vector moves.
  std::memcpy(out, bytes_.data(), bytes_.size());
  std::byte* const l4 = out + l4_offset_;
  auto* tcp = reinterpret_cast<TcpHeader*>(l4);
  const std::size_t header_bytes =
      sizeof(TcpHeader) + write_tcp_options(options, l4 + sizeof(TcpHeader));
  tcp->sequence = segment.seq.value();
  tcp->acknowledgment = segment.ack.value();
  tcp->data_offset = static_cast<std::uint8_t>(header_bytes / 4 << 4);
  tcp->flags = segment.flags;
  tcp->window = segment.wnd;

  const std::size_t tcp_bytes = header_bytes + segment.payload_len;
  const std::uint8_t ecn = segment.is_ect ? kEct0 : 0;
  if (is_v6())
    fill_ipv6(tcp_bytes, ecn, out);
  else
    fill_ipv4(tcp_bytes, ecn, out);
  store16(l4 + kTcpChecksumOffset,
          fold(pseudo_sum_ + network_order(static_cast<std::uint32_t>(tcp_bytes))));
  return l4_offset_ + header_bytes;
}

void finish_tcp_checksum(std::span<std::byte> headers, std::size_t l4_offset,
                         std::span<const std::byte> payload,
                         std::span<const std::byte> more_payload) noexcept {
  // The field holds the pseudo-header sum, so it is summed along with the header.
  PayloadSum sum(sum_of(headers.subspan(l4_offset)));
  sum.add(payload);
  sum.add(more_payload);
  store16(headers.data() + l4_offset + kTcpChecksumOffset, sum.finish());
}

}  // namespace snp
