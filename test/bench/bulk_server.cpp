// bulk_server PORT [--chunk 131072]
//
// The far end of the bulk benchmark, one connection after the other: the first byte says what the
// client wants: 's' it sends and we read until its end of file, 'r' we send until it goes away.
#include <cerrno>
#include <csignal>
#include <cstddef>

#include <poll.h>
#include <unistd.h>

#include "test/bench/peer.h"

int main(int argc, char** argv) {
  using namespace snp::peer;
  const Arguments arguments(argc, argv);
  const int listener = listen_on(port_of(arguments.positional(0, "PORT")));
  std::vector<std::byte> chunk(static_cast<std::size_t>(arguments.number("chunk", 128 * 1024)));
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
      while ((wish == 's' ? read(fd, chunk.data(), chunk.size())
                          : write(fd, chunk.data(), chunk.size())) > 0) {
      }
    }
    close(fd);
  }
}
