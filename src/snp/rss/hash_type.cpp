#include "snp/rss/hash_type.h"

#include <algorithm>

namespace snp::rss {
namespace {

bool is_family_allowed(bool ip, bool tcp, bool udp) noexcept {
  return !(tcp && udp && !ip);  // {TCP|UDP} without IP is the one set that is not allowed
}

// The types of one family and transport, most specific first.
struct Candidates {
  HashType transport_ex{}, transport{}, address_ex{}, address{};
};

Candidates candidates_for(bool is_v4, Transport transport) noexcept {
  constexpr auto kNone = static_cast<HashType>(0);
  if (is_v4) {
    const HashType type = transport == Transport::kTcp   ? kTcpIpv4
                          : transport == Transport::kUdp ? kUdpIpv4
                                                         : kNone;
    return {kNone, type, kNone, kIpv4};
  }
  switch (transport) {
    case Transport::kTcp:
      return {kTcpIpv6Ex, kTcpIpv6, kIpv6Ex, kIpv6};
    case Transport::kUdp:
      return {kUdpIpv6Ex, kUdpIpv6, kIpv6Ex, kIpv6};
    case Transport::kOther:
      break;
  }
  return {kNone, kNone, kIpv6Ex, kIpv6};
}

class InputWriter {
 public:
  explicit InputWriter(HashType type) noexcept { input_.type = type; }
  void put(const IpAddress& address) noexcept {
    const std::size_t skip = address.is_v4() ? 12 : 0;
    for (std::size_t i = skip; i < address.bytes.size(); ++i)
      input_.bytes[input_.length++] = address.bytes[i];
  }
  void put(std::uint16_t port) noexcept {
    input_.bytes[input_.length++] = static_cast<std::uint8_t>(port >> 8);
    input_.bytes[input_.length++] = static_cast<std::uint8_t>(port & 0xff);
  }
  [[nodiscard]] const HashInput& input() const noexcept { return input_; }

 private:
  HashInput input_;
};

HashInput make_input(const PacketFields& packet, HashType type, bool is_ex,
                     bool with_ports) noexcept {
  InputWriter writer(type);
  writer.put(is_ex ? packet.home_address.value_or(packet.source) : packet.source);
  writer.put(is_ex ? packet.routing_type2_address.value_or(packet.destination)
                   : packet.destination);
  if (with_ports) {
    writer.put(packet.source_port);
    writer.put(packet.destination_port);
  }
  return writer.input();
}

}  // namespace

bool is_allowed(HashTypes types) noexcept {
  if ((types & ~(kAllIpv4 | kAllIpv6)) != 0) return false;
  const auto has = [types](HashTypes bits) { return (types & bits) != 0; };
  return is_family_allowed(has(kIpv4), has(kTcpIpv4), has(kUdpIpv4)) &&
         is_family_allowed(has(kIpv6 | kIpv6Ex), has(kTcpIpv6 | kTcpIpv6Ex),
                           has(kUdpIpv6 | kUdpIpv6Ex));
}

std::optional<HashInput> select_input(const PacketFields& packet, HashTypes enabled) noexcept {
  const bool is_v4 = packet.source.is_v4();
  if (is_v4 != packet.destination.is_v4()) return std::nullopt;
  // A fragment is hashed on addresses only, the first one too, so that all of them stay together.
  const Transport transport = packet.is_fragment ? Transport::kOther : packet.transport;
  const Candidates types = candidates_for(is_v4, transport);
  const auto on = [enabled](HashType type) { return (enabled & type) != 0; };
  if (on(types.transport_ex)) return make_input(packet, types.transport_ex, true, true);
  if (on(types.transport)) return make_input(packet, types.transport, false, true);
  if (on(types.address_ex)) return make_input(packet, types.address_ex, true, false);
  if (on(types.address)) return make_input(packet, types.address, false, false);
  return std::nullopt;
}

const char* to_string(HashType type) noexcept {
  switch (type) {
    case kIpv4:
      return "IPV4";
    case kTcpIpv4:
      return "TCP_IPV4";
    case kIpv6:
      return "IPV6";
    case kIpv6Ex:
      return "IPV6_EX";
    case kTcpIpv6:
      return "TCP_IPV6";
    case kTcpIpv6Ex:
      return "TCP_IPV6_EX";
    case kUdpIpv4:
      return "UDP_IPV4";
    case kUdpIpv6:
      return "UDP_IPV6";
    case kUdpIpv6Ex:
      return "UDP_IPV6_EX";
  }
  return "?";
}

}  // namespace snp::rss
