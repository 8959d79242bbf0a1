// IP addresses, endpoints and the four-tuple that names a connection.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace snp {

// IPv6 form always; an IPv4 address is kept v4-mapped (::ffff:a.b.c.d), network byte order.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};

  static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
  }
  [[nodiscard]] constexpr bool is_v4() const noexcept {
    for (std::size_t i = 0; i < 10; ++i)
      if (bytes[i] != 0) return false;
    return bytes[10] == 0xff && bytes[11] == 0xff;
  }
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;  // host byte order
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// A connection as its owner sees it.
struct FourTuple {
  Endpoint local;
  Endpoint remote;
  friend auto operator<=>(const FourTuple&, const FourTuple&) = default;
};

constexpr FourTuple mirrored(const FourTuple& tuple) noexcept {
  return {tuple.remote, tuple.local};
}

// "10.0.0.1", "fe80::1"; "10.0.0.1:80", "[fe80::1]:80"; "LOCAL-REMOTE" with a dash between.
std::string to_string(const IpAddress&);
std::string to_string(const Endpoint&);
std::string to_string(const FourTuple&);
std::optional<IpAddress> parse_address(std::string_view);
std::optional<Endpoint> parse_endpoint(std::string_view);
std::optional<FourTuple> parse_four_tuple(std::string_view);

}  // namespace snp
