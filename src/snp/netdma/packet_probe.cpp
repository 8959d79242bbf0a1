#include "snp/netdma/packet_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

#include <sys/socket.h>

namespace snp::netdma {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPackets = 21;
constexpr std::uint32_t kLargest = 65536;

}  // namespace

PacketProbe::PacketProbe() : buffer_(kLargest) {
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) return;
  sender_.reset(pair[0]);
  receiver_.reset(pair[1]);
}

double PacketProbe::measure_ns(std::uint32_t bytes) {
  if (!receiver_.is_open() || bytes > buffer_.size()) return 0;
  std::array<double, kPackets> samples;
  for (double& sample : samples) {
    if (::send(sender_.get(), buffer_.data(), bytes, 0) < 0) return 0;
    const auto start = Clock::now();
    const ssize_t received = ::recv(receiver_.get(), buffer_.data(), bytes, 0);
    sample = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    if (received != static_cast<ssize_t>(bytes)) return 0;
  }
  std::nth_element(samples.begin(), samples.begin() + kPackets / 2, samples.end());
  return samples[kPackets / 2];
}

}  // namespace snp::netdma
