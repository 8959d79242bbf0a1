#include "snp/host/packet_match.h"

#include <algorithm>

namespace snp::host {
namespace {

constexpr unsigned kV4Bits = 32, kV4Before = 96, kBits = 128;

Match match_device(const std::vector<std::string>& patterns, std::string_view name) {
  if (name.empty()) return Match::kMaybe;
  const bool is_there = std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) {
    return matches_device(pattern, name);
  });
  return is_there ? Match::kYes : Match::kNo;
}

Match match_address(const std::vector<AddressRange>& ranges, const IpAddress& address) {
  const bool is_there = std::any_of(ranges.begin(), ranges.end(),
                                    [&](const auto& range) { return range.contains(address); });
  return is_there ? Match::kYes : Match::kNo;
}

Match match_port(const std::vector<PortRange>& ranges, std::uint16_t port) {
  const bool is_there = std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) {
    return range.first <= port && port <= range.last;
  });
  return is_there ? Match::kYes : Match::kNo;
}

Match match_listed(const Condition& condition, const Packet& packet) {
  switch (condition.field) {
    case Field::kFamily:
      return packet.source.address.is_v4() == condition.is_v4 ? Match::kYes : Match::kNo;
    case Field::kSource:
      return match_address(condition.addresses, packet.source.address);
    case Field::kDestination:
      return match_address(condition.addresses, packet.destination.address);
    case Field::kSourcePort:
      return match_port(condition.ports, packet.source.port);
    case Field::kDestinationPort:
      return match_port(condition.ports, packet.destination.port);
    case Field::kInDevice:
      return match_device(condition.devices, packet.in_device);
    case Field::kState:
      return packet.is_established ? Match::kYes : Match::kMaybe;
    case Field::kOther:
      return Match::kMaybe;
    case Field::kOutDevice:
      break;
  }
  return match_device(condition.devices, packet.out_device);
}

}  // namespace

Match negated(Match match) noexcept {
  if (match == Match::kMaybe) return match;
  return match == Match::kYes ? Match::kNo : Match::kYes;
}

std::optional<AddressRange> range_of_prefix(const IpAddress& address, unsigned bits) {
  if (bits > (address.is_v4() ? kV4Bits : kBits)) return std::nullopt;
  const unsigned kept = bits + (address.is_v4() ? kV4Before : 0);
  AddressRange range{address, address};
  for (unsigned bit = kept; bit < kBits; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80u >> (bit % 8));
    range.first.bytes[bit / 8] &= static_cast<std::uint8_t>(~mask);
    range.last.bytes[bit / 8] |= mask;
  }
  return range;
}

Condition never() {
  Condition condition;
  condition.field = Field::kSource;  // no address is listed
  return condition;
}

bool is_never(const Condition& condition) noexcept {
  return condition.field == Field::kSource && condition.addresses.empty() && !condition.is_open &&
         !condition.is_negated;
}

Condition not_understood() {
  Condition condition;
  condition.field = Field::kOther;
  return condition;
}

bool matches_device(std::string_view pattern, std::string_view name) noexcept {
  if (pattern.empty() || pattern.back() != '*') return pattern == name;
  pattern.remove_suffix(1);
  return name.substr(0, pattern.size()) == pattern;
}

Packet packet_of(const FlowView& view, Heading heading) noexcept {
  // A packet of a local connection leaves and comes by lo; which of the two a rule may ask for
  // depends on its hook, so the other is not known.
  Packet packet{view.flow.remote, view.flow.local, view.device, {}};
  if (heading == Heading::kOut) packet = {view.flow.local, view.flow.remote, {}, view.device};
  packet.is_established = packet.is_count_nothing = view.is_acceptance_enough;
  return packet;
}

Match match(const Condition& condition, const Packet& packet) noexcept {
  Match found = match_listed(condition, packet);
  if (condition.is_open && found == Match::kNo) found = Match::kMaybe;
  return condition.is_negated ? negated(found) : found;
}

Match match(const std::vector<Condition>& conditions, const Packet& packet) noexcept {
  Match all = Match::kYes;
  for (const Condition& condition : conditions)
    all = std::min(all, match(condition, packet));
  return all;
}

}  // namespace snp::host
