// udp_flood send HOST PORT [--flows 32] [--seconds 3] [--size 18]
// udp_flood sink PORT [--flows 32]
//
// Small datagrams as fast as they go, each flow to a port of its own from PORT on; and the sockets
// that they arrive at, which nobody reads: what is measured is the host's receive path up to there.
// The sender prints one line of JSON.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace {

using namespace snp::peer;

constexpr std::size_t kBurst = 32;

int udp_socket() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

sockaddr_in address_of(const std::string& host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) fail(host + " is no address");
  return address;
}

std::uint16_t port_after(std::uint16_t first, std::uint64_t number) {
  return static_cast<std::uint16_t>(first + number);
}

int sink(const Arguments& arguments) {
  const std::uint16_t first = port_of(arguments.positional(1, "PORT"));
  const std::uint64_t flows = arguments.number("flows", 32);
  for (std::uint64_t i = 0; i < flows; ++i) {
    const sockaddr_in address = address_of("0.0.0.0", port_after(first, i));
    if (::bind(udp_socket(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fail("bind");
  }
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;)
    ::pause();
}

int send(const Arguments& arguments) {
  const std::string& host = arguments.positional(1, "HOST");
  const std::uint16_t first = port_of(arguments.positional(2, "PORT"));
  std::vector<int> sockets;
  for (std::uint64_t i = 0; i < arguments.number("flows", 32); ++i) {
    const sockaddr_in address = address_of(host, port_after(first, i));
    sockets.push_back(udp_socket());
    if (::connect(sockets.back(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fail("connect");
  }
  std::vector<std::byte> payload(arguments.number("size", 18));
  iovec part{payload.data(), payload.size()};
  std::array<mmsghdr, kBurst> messages{};
  for (mmsghdr& message : messages) {
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
  }
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(arguments.real("seconds", 3) * 1e9);
  std::uint64_t sent = 0;
  for (std::size_t i = 0; now_ns() < end; ++i) {
    const int count = ::sendmmsg(sockets[i % sockets.size()], messages.data(), kBurst, 0);
    if (count < 0 && errno != ENOBUFS && errno != ECONNREFUSED) fail("sendmmsg");
    if (count > 0) sent += static_cast<std::uint64_t>(count);
  }
  const double seconds = static_cast<double>(now_ns() - start) * 1e-9;
  std::printf("{\"seconds\": %.3f, \"packets\": %llu, \"packets_per_second\": %.1f}\n", seconds,
              static_cast<unsigned long long>(sent), static_cast<double>(sent) / seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::string& what = arguments.positional(0, "send or sink");
  if (what == "sink") return sink(arguments);
  if (what == "send") return send(arguments);
  fail("give send or sink");
}
