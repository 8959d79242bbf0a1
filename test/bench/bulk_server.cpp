// bulk_server PORT [--chunk 131072] [--rate BYTES]
//
// The far end of the bulk benchmark, one connection after the other: the first byte says what the
// client wants: 's' it sends and we read until its end of file, 'r' we send until it goes away.
// --rate: most bytes a second, 0 for no limit: a slow side.
#include <cerrno>
#include <csignal>
#include <cstddef>

#include <poll.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace {

// Sleeps until `bytes` since `start_ns` are no more than the rate allows.
void keep_rate(double rate, double bytes, std::uint64_t start_ns) {
  if (rate <= 0) return;
  const double ahead = bytes / rate - static_cast<double>(snp::peer::now_ns() - start_ns) / 1e9;
  if (ahead > 0) ::usleep(static_cast<useconds_t>(ahead * 1e6));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace snp::peer;
  const Arguments arguments(argc, argv);
  const int listener = listen_on(port_of(arguments.positional(0, "PORT")));
  std::vector<std::byte> chunk(static_cast<std::size_t>(arguments.number("chunk", 128 * 1024)));
  const auto rate = static_cast<double>(arguments.number("rate", 0));
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail for SIGPIPE
  for (;;) {
    pollfd waiting{listener, POLLIN, 0};
    if (poll(&waiting, 1, -1) < 0) fail("poll");
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == ECONNABORTED) continue;
      fail("accept4");
    }
    char wish = 0;
    if (read(fd, &wish, 1) == 1) {
      const std::uint64_t start_ns = now_ns();
      double total = 0;
      for (ssize_t n = 1; n > 0; total += static_cast<double>(n)) {
        keep_rate(rate, total, start_ns);
        n = wish == 's' ? read(fd, chunk.data(), chunk.size())
                        : write(fd, chunk.data(), chunk.size());
      }
    }
    close(fd);
  }
}
