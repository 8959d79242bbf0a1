#include "test/path/frame_mark.h"

#include <cstdint>

namespace snp::path {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr unsigned kCe = 3;

unsigned at(std::span<const std::byte> frame, std::size_t i) {
  return std::to_integer<unsigned>(frame[i]);
}

unsigned ether_type(std::span<const std::byte> frame) {
  return frame.size() < kEthernet ? 0 : at(frame, 12) << 8 | at(frame, 13);
}

bool is_v4(std::span<const std::byte> frame) {
  return ether_type(frame) == 0x0800 && frame.size() >= kEthernet + 20;
}

bool is_v6(std::span<const std::byte> frame) {
  return ether_type(frame) == 0x86dd && frame.size() >= kEthernet + 40;
}

unsigned ecn_of(std::span<const std::byte> frame) {
  return is_v4(frame) ? at(frame, kEthernet + 1) & 3 : at(frame, kEthernet + 1) >> 4 & 3;
}

}  // namespace

bool is_ip(std::span<const std::byte> frame) {
  return is_v4(frame) || is_v6(frame);
}

bool is_neighbour_discovery(std::span<const std::byte> frame) {
  if (!is_v6(frame) || at(frame, kEthernet + 6) != 58 || frame.size() < kEthernet + 41)
    return false;
  const unsigned type = at(frame, kEthernet + 40);
  return type >= 133 && type <= 137;
}

bool is_ecn_capable(std::span<const std::byte> frame) {
  if (!is_ip(frame)) return false;
  const unsigned ecn = ecn_of(frame);
  return ecn == 1 || ecn == 2;
}

void set_congestion_experienced(std::span<std::byte> frame) {
  if (!is_v4(frame)) {
    frame[kEthernet + 1] |= std::byte{kCe << 4};
    return;
  }
  // RFC 1624: the sum's complement changes by what the word grew.
  const unsigned old_word = at(frame, kEthernet) << 8 | at(frame, kEthernet + 1);
  frame[kEthernet + 1] |= std::byte{kCe};
  const unsigned new_word = at(frame, kEthernet) << 8 | at(frame, kEthernet + 1);
  const unsigned old_sum = at(frame, kEthernet + 10) << 8 | at(frame, kEthernet + 11);
  unsigned sum = (~old_sum & 0xffff) + (~old_word & 0xffff) + new_word;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  const unsigned folded = ~sum & 0xffff;
  frame[kEthernet + 10] = static_cast<std::byte>(folded >> 8);
  frame[kEthernet + 11] = static_cast<std::byte>(folded & 0xff);
}

}  // namespace snp::path
