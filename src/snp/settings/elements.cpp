#include "snp/settings/elements.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace snp::settings {
namespace {

constexpr std::string_view kEnabled = "enabled";
constexpr std::string_view kDisabled = "disabled";
constexpr std::string_view kIpv4 = "ipv4";
constexpr std::string_view kIpv6 = "ipv6";
constexpr std::size_t kDeviceName = 15;  // IFNAMSIZ, less the end

bool is_separator(char c) {
  return c == ' ' || c == ',' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

// False: neither a port nor *.
bool parse_side(std::string_view text, std::optional<std::uint16_t>& side) {
  side = parse_port(text);
  return side || text == "*";
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

constexpr std::size_t kHashKeyDigits = 80;  // 40 bytes (reference 5.2)

bool is_hash_key(std::string_view text) {
  const std::string lower = lower_case(text);
  return lower == "symmetric" || (lower.size() == kHashKeyDigits &&
                                  lower.find_first_not_of("0123456789abcdef") == std::string::npos);
}

bool is_backend(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == 0) return false;
  const std::string_view name = equals == std::string_view::npos ? text : text.substr(equals + 1);
  constexpr std::string_view kNames[] = {"automatic", "card", "cpumap", "rps", "none"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

constexpr std::uint16_t kLastCpu = 1023;

std::optional<std::string> cpu_text(std::string_view text) {
  std::uint16_t cpu = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  if (error != std::errc{} || end != text.data() + text.size() || cpu > kLastCpu)
    return std::nullopt;
  return std::to_string(cpu);
}

std::string side_text(const std::optional<std::uint16_t>& side) {
  return side ? std::to_string(*side) : "*";
}

}  // namespace

std::string_view allowed_element(Element element) noexcept {
  switch (element) {
    case Element::kPort:
      return "ports, 1..65535";
    case Element::kApplication:
      return "PATH=enabled or PATH=disabled, PATH from the root";
    case Element::kPortPair:
      return "LOCAL:REMOTE, each 1..65535 or *";
    case Element::kDeviceState:
      return "DEV=enabled, DEV=disabled, DEV=ipv4 or DEV=ipv6";
    case Element::kHashKey:
      return "80 hexadecimal digits or symmetric";
    case Element::kBackend:
      return "automatic, card, cpumap, rps or none, or DEV= and one of them";
    case Element::kCpu:
      return "numbers of CPUs, 0..1023";
    case Element::kDevice:
    case Element::kNone:
      break;
  }
  return "DEV or DEV,driver=NAME";
}

std::optional<std::string> normal_form(Element element, std::string_view text) {
  const bool is_printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c != 127; });
  if (text.empty() || !is_printable || text.find(';') != std::string_view::npos)
    return std::nullopt;
  switch (element) {
    case Element::kPort:
      if (const auto port = parse_port(text)) return std::to_string(*port);
      return std::nullopt;
    case Element::kApplication:
      if (const auto entry = parse_application(text)) return to_string(*entry);
      return std::nullopt;
    case Element::kPortPair:
      if (const auto pair = parse_port_pair(text)) return to_string(*pair);
      return std::nullopt;
    case Element::kDeviceState:
      if (const auto entry = parse_device_switch(text)) return to_string(*entry);
      return std::nullopt;
    case Element::kHashKey:
      if (is_hash_key(text)) return lower_case(text);
      return std::nullopt;
    case Element::kBackend:
      if (is_backend(text)) return std::string(text);
      return std::nullopt;
    case Element::kCpu:
      return cpu_text(text);
    case Element::kDevice:
    case Element::kNone:
      break;
  }
  return std::string(text);
}

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::optional<ApplicationEntry> parse_application(std::string_view text) {
  ApplicationEntry entry;
  const std::size_t equals = text.rfind('=');
  if (equals != std::string_view::npos) {
    const std::string_view state = text.substr(equals + 1);
    if (state != kEnabled && state != kDisabled) return std::nullopt;
    entry.is_enabled = state == kEnabled;
    text = text.substr(0, equals);
  }
  if (text.size() < 2 || text.front() != '/' || text.back() == '/') return std::nullopt;
  entry.path = text;
  return entry;
}

std::string to_string(const ApplicationEntry& entry) {
  return entry.path + "=" + std::string(entry.is_enabled ? kEnabled : kDisabled);
}

std::optional<DeviceSwitch> parse_device_switch(std::string_view text) {
  DeviceSwitch entry;
  const std::size_t equals = text.find('=');
  entry.device = text.substr(0, equals);
  if (entry.device.empty() || entry.device.size() > kDeviceName ||
      entry.device.find_first_of("/: ") != std::string::npos)
    return std::nullopt;
  if (equals == std::string_view::npos) return entry;
  const std::string_view state = text.substr(equals + 1);
  entry.is_ipv4_on = state == kEnabled || state == kIpv4;
  entry.is_ipv6_on = state == kEnabled || state == kIpv6;
  if (!entry.is_ipv4_on && !entry.is_ipv6_on && state != kDisabled) return std::nullopt;
  return entry;
}

std::string_view state_of(const DeviceSwitch& entry) noexcept {
  if (entry.is_ipv4_on) return entry.is_ipv6_on ? kEnabled : kIpv4;
  return entry.is_ipv6_on ? kIpv6 : kDisabled;
}

std::string to_string(const DeviceSwitch& entry) {
  return entry.device + "=" + std::string(state_of(entry));
}

std::optional<PortPair> parse_port_pair(std::string_view text) {
  const std::size_t colon = text.find(':');
  PortPair pair;
  if (colon == std::string_view::npos || !parse_side(text.substr(0, colon), pair.local) ||
      !parse_side(text.substr(colon + 1), pair.remote))
    return std::nullopt;
  return pair;
}

std::string to_string(const PortPair& pair) {
  return side_text(pair.local) + ":" + side_text(pair.remote);
}

PortList read_port_list(std::string_view text) {
  PortList list;
  while (!text.empty()) {
    const auto begin = std::find_if_not(text.begin(), text.end(), is_separator);
    const auto end = std::find_if(begin, text.end(), is_separator);
    const std::string_view word(begin, end);
    text = std::string_view(end, text.end());
    if (word.empty()) break;
    const auto port = parse_port(word);
    const std::string shown = "'" + std::string(word) + "'";
    if (!port) {
      list.ignored.push_back(shown + ": not 1 to 65535");
      continue;
    }
    std::string normal = std::to_string(*port);
    if (std::find(list.ports.begin(), list.ports.end(), normal) != list.ports.end()) continue;
    if (list.ports.size() == kMaxPorts)
      list.ignored.push_back(shown + ": after the twelfth");
    else
      list.ports.push_back(std::move(normal));
  }
  return list;
}

}  // namespace snp::settings
