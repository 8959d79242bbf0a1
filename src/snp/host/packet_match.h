// Whether a rule of the host can match the packets of a connection: conditions of firewalls, NAT
// and IPsec policies, reduced to addresses, ports and devices. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snp/host/features.h"
#include "snp/wire/address.h"

namespace snp::host {

enum class Match : std::uint8_t { kNo, kMaybe, kYes };
Match negated(Match match) noexcept;

enum class Field : std::uint8_t {
  kFamily,
  kSource,
  kDestination,
  kSourcePort,
  kDestinationPort,
  kInDevice,
  kOutDevice,
  kState,  // conntrack's: the rule names "established"
  kOther,  // not understood: it may match
};

// Both ends belong to it.
struct AddressRange {
  IpAddress first, last;
  [[nodiscard]] bool contains(const IpAddress& address) const noexcept {
    return first <= address && address <= last;
  }
};
// `bits` of an IPv4 address count from its own first bit. nullopt: more bits than it has.
std::optional<AddressRange> range_of_prefix(const IpAddress& address, unsigned bits);

struct PortRange {
  std::uint16_t first = 0, last = 0;  // host byte order
};

// One of the lists counts, by the field.
struct Condition {
  Field field = Field::kFamily;
  bool is_negated = false;
  bool is_open = false;  // more than is listed may match
  bool is_v4 = true;     // kFamily
  std::vector<AddressRange> addresses;
  std::vector<PortRange> ports;
  std::vector<std::string> devices;  // names; a '*' at the end stands for any rest
};

// The packets of one direction of a connection.
struct Packet {
  Endpoint source, destination;
  std::string_view in_device, out_device;  // empty: not known
  // FlowView::is_acceptance_enough:
  bool is_established = false;    // conntrack will say so, whoever has carried the connection
  bool is_count_nothing = false;  // a rule that only counts is none
};
enum class Heading : std::uint8_t { kIn, kOut };
Packet packet_of(const FlowView& view, Heading heading) noexcept;

Match match(const Condition& condition, const Packet& packet) noexcept;
// All of them. Without any: kYes.
Match match(const std::vector<Condition>& conditions, const Packet& packet) noexcept;

// What no packet of a connection that exists meets, and what any may.
Condition never();
bool is_never(const Condition& condition) noexcept;
Condition not_understood();

bool matches_device(std::string_view pattern, std::string_view name) noexcept;

}  // namespace snp::host
