// Ethernet/IP/TCP frames for tests, made byte by byte and so independent of the code under test.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "snp/wire/address.h"

namespace snp::test {

using Bytes = std::vector<std::uint8_t>;

struct TcpFrame {
  std::array<std::uint8_t, 6> destination_mac{};
  std::array<std::uint8_t, 6> source_mac{};
  Endpoint source, destination;
  std::uint32_t seq = 1, ack = 1;
  std::uint8_t flags = 0x10;  // ACK
  std::uint16_t window = 1000;
  Bytes ip_options;  // IPv4, a multiple of 4 bytes
  Bytes extensions;  // IPv6: whole extension headers; the last one must name TCP (6)
  std::uint8_t first_extension = 0;
  std::uint16_t fragment = 0;  // IPv4: flags and offset
  Bytes tcp_options;           // a multiple of 4 bytes
  Bytes payload;
  bool is_checksum_partial = false;  // only the pseudo-header's sum

  [[nodiscard]] bool is_v4() const { return source.address.is_v4(); }
};

inline void append16(Bytes& out, std::size_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}
inline void append32(Bytes& out, std::uint32_t value) {
  append16(out, value >> 16);
  append16(out, value & 0xffff);
}
template <class Range>
void append(Bytes& out, const Range& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

inline std::uint32_t add_up(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += i % 2 == 0 ? static_cast<std::uint32_t>(bytes[i] << 8) : bytes[i];
  return sum;
}
inline std::uint16_t fold(std::uint32_t sum) {
  while (sum >> 16 != 0)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}
inline void put16(Bytes& out, std::size_t at, std::uint16_t value) {
  out[at] = static_cast<std::uint8_t>(value >> 8);
  out[at + 1] = static_cast<std::uint8_t>(value);
}

inline void append_address(Bytes& out, const IpAddress& address) {
  append(out, std::span(address.bytes).subspan(address.is_v4() ? 12 : 0));
}

inline void append_ip(Bytes& out, const TcpFrame& frame, std::size_t tcp_bytes) {
  const std::size_t start = out.size();
  if (frame.is_v4()) {
    const std::size_t header = 20 + frame.ip_options.size();
    append16(out, (0x40 + header / 4) << 8);
    append16(out, header + tcp_bytes);
    append16(out, 0x1234);
    append16(out, frame.fragment);
    append16(out, 64 << 8 | 6);
    append16(out, 0);
    append_address(out, frame.source.address);
    append_address(out, frame.destination.address);
    append(out, frame.ip_options);
    put16(out, start + 10,
          static_cast<std::uint16_t>(~fold(add_up(std::span(out).subspan(start)))));
    return;
  }
  append32(out, 0x60000000);
  append16(out, frame.extensions.size() + tcp_bytes);
  out.push_back(frame.extensions.empty() ? 6 : frame.first_extension);
  out.push_back(64);
  append_address(out, frame.source.address);
  append_address(out, frame.destination.address);
  append(out, frame.extensions);
}

inline std::uint16_t pseudo_sum(const TcpFrame& frame, std::size_t tcp_bytes) {
  Bytes pseudo;
  append_address(pseudo, frame.source.address);
  append_address(pseudo, frame.destination.address);
  append32(pseudo, static_cast<std::uint32_t>(tcp_bytes));
  append32(pseudo, 6);
  return fold(add_up(pseudo));
}

// Where the TCP header begins in what make_frame() gives.
inline std::size_t tcp_offset(const TcpFrame& frame) {
  return 14 + (frame.is_v4() ? 20 + frame.ip_options.size() : 40 + frame.extensions.size());
}

inline Bytes make_frame(const TcpFrame& frame) {
  Bytes out;
  append(out, frame.destination_mac);
  append(out, frame.source_mac);
  append16(out, frame.is_v4() ? 0x0800 : 0x86dd);
  const std::size_t header = 20 + frame.tcp_options.size();
  append_ip(out, frame, header + frame.payload.size());
  const std::size_t tcp = out.size();
  append16(out, frame.source.port);
  append16(out, frame.destination.port);
  append32(out, frame.seq);
  append32(out, frame.ack);
  append16(out, header / 4 << 12 | frame.flags);
  append16(out, frame.window);
  append32(out, 0);
  append(out, frame.tcp_options);
  append(out, frame.payload);
  const std::uint16_t pseudo = pseudo_sum(frame, header + frame.payload.size());
  const std::uint16_t whole = fold(add_up(std::span(out).subspan(tcp), pseudo));
  put16(out, tcp + 16, frame.is_checksum_partial ? pseudo : static_cast<std::uint16_t>(~whole));
  return out;
}

// A TCP frame's checksum as it stands is right.
inline bool has_right_checksum(const TcpFrame& like, std::span<const std::uint8_t> bytes) {
  const auto tcp = bytes.subspan(tcp_offset(like));
  return fold(add_up(tcp, pseudo_sum(like, tcp.size()))) == 0xffff;
}

inline std::span<const std::byte> view(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

}  // namespace snp::test
