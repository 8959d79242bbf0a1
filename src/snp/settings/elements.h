// The elements of list settings, as text and as what they mean. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snp::settings {

enum class Element : std::uint8_t {
  kNone,         // the setting is no list
  kDevice,       // any text
  kPort,         // 1..65535
  kApplication,  // PATH=enabled, PATH=disabled; PATH alone is enabled
  kHashKey,      // 80 hexadecimal digits, or "symmetric"
  kPortPair,     // LOCAL:REMOTE, each a port or *
  kDeviceState,  // DEV=enabled, DEV=disabled, DEV=ipv4, DEV=ipv6; DEV alone is enabled
  kBackend,      // automatic, card, cpumap, rps or none; DEV=one of them
  kCpu,          // 0..1023
};

std::string_view allowed_element(Element) noexcept;  // in words, for error lines

// The one way to write an element ("0080" is "80"); nothing if the text is none.
std::optional<std::string> normal_form(Element, std::string_view text);

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept;  // 1..65535, digits only

// A row of the netsh table of applications.
struct ApplicationEntry {
  std::string path;  // absolute
  bool is_enabled = true;
};
std::optional<ApplicationEntry> parse_application(std::string_view text);
std::string to_string(const ApplicationEntry&);

// A row of the netsh table of ports; empty: any.
struct PortPair {
  std::optional<std::uint16_t> local, remote;
};
std::optional<PortPair> parse_port_pair(std::string_view text);
std::string to_string(const PortPair&);

// Chimney's switch of a device, as adapters had it in the original (reference 2.3).
struct DeviceSwitch {
  std::string device;
  bool is_ipv4_on = true, is_ipv6_on = true;
};
std::optional<DeviceSwitch> parse_device_switch(std::string_view text);
std::string to_string(const DeviceSwitch&);
std::string_view state_of(const DeviceSwitch&) noexcept;  // "enabled", "disabled", "ipv4", "ipv6"

// A list of ports as the registry has it (reference 2.2): separated by blanks, commas and the ends
// of the strings of a REG_MULTI_SZ, at most twelve; what is no port, and the thirteenth, is
// ignored; twice is once.
inline constexpr std::size_t kMaxPorts = 12;
struct PortList {
  std::vector<std::string> ports;    // in normal form
  std::vector<std::string> ignored;  // "'0': not 1 to 65535", "'99': after the twelfth"
};
PortList read_port_list(std::string_view text);

}  // namespace snp::settings
