#include "snp/wire/address.h"

#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace snp {
namespace {

// inet_pton and inet_ntop only convert text; they ask the system nothing. They want a C string.
constexpr std::size_t kTextSize = INET6_ADDRSTRLEN;
using AddressText = std::array<char, kTextSize>;

bool to_c_string(std::string_view text, AddressText& out) {
  if (text.empty() || text.size() >= out.size()) return false;
  if (text.find('\0') != std::string_view::npos) return false;
  text.copy(out.data(), text.size());
  out[text.size()] = '\0';
  return true;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end || text.empty()) return std::nullopt;
  return port;
}

}  // namespace

std::string to_string(const IpAddress& address) {
  AddressText text{};
  const bool v4 = address.is_v4();
  ::inet_ntop(v4 ? AF_INET : AF_INET6, address.bytes.data() + (v4 ? 12 : 0), text.data(),
              kTextSize);
  return text.data();
}

std::string to_string(const Endpoint& endpoint) {
  const std::string address = to_string(endpoint.address);
  const std::string port = std::to_string(endpoint.port);
  return endpoint.address.is_v4() ? address + ":" + port : "[" + address + "]:" + port;
}

std::string to_string(const FourTuple& tuple) {
  return to_string(tuple.local) + "-" + to_string(tuple.remote);
}

std::optional<IpAddress> parse_address(std::string_view text) {
  AddressText c_string{};
  if (!to_c_string(text, c_string)) return std::nullopt;
  IpAddress address = IpAddress::v4(0, 0, 0, 0);
  if (::inet_pton(AF_INET, c_string.data(), address.bytes.data() + 12) == 1) return address;
  if (::inet_pton(AF_INET6, c_string.data(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool has_brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (has_brackets) host = host.substr(1, host.size() - 2);
  // A bare IPv6 address with a port would be ambiguous: "::1:80".
  if (host.find(':') != std::string_view::npos && !has_brackets) return std::nullopt;
  const auto address = parse_address(host);
  if (!port || !address) return std::nullopt;
  return Endpoint{*address, *port};
}

std::optional<FourTuple> parse_four_tuple(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto local = parse_endpoint(text.substr(0, dash));
  const auto remote = parse_endpoint(text.substr(dash + 1));
  if (!local || !remote) return std::nullopt;
  return FourTuple{*local, *remote};
}

}  // namespace snp
