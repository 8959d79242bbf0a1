// bulk_client HOST PORT --direction send|receive [--seconds 3] [--warmup 0.5] [--chunk 131072]
//
// One connection, as fast as it goes, blocking calls. Prints one line of JSON about the time after
// the warm-up. With --direction send the bytes are those that the socket took.
#include <cstddef>
#include <cstdio>

#include <unistd.h>

#include "test/bench/peer.h"

int main(int argc, char** argv) {
  using namespace snp::peer;
  const Arguments arguments(argc, argv);
  const std::string direction = arguments.text("direction", "send");
  if (direction != "send" && direction != "receive") fail("--direction must be send or receive");
  const bool sending = direction == "send";
  const int fd =
      connect_to(arguments.positional(0, "HOST"), port_of(arguments.positional(1, "PORT")));
  std::vector<std::byte> chunk(static_cast<std::size_t>(arguments.number("chunk", 128 * 1024)));
  const char wish = sending ? 's' : 'r';
  if (write(fd, &wish, 1) != 1) fail("write");

  const auto move_for = [&](double seconds) {
    const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    std::uint64_t bytes = 0;
    while (now_ns() < end) {
      const auto moved =
          sending ? write(fd, chunk.data(), chunk.size()) : read(fd, chunk.data(), chunk.size());
      if (moved <= 0) fail("the connection ended");
      bytes += static_cast<std::uint64_t>(moved);
    }
    return static_cast<double>(bytes);
  };
  move_for(arguments.real("warmup", 0.5));
  const double cpu = cpu_seconds();
  const std::uint64_t start = now_ns();
  const double bytes = move_for(arguments.real("seconds", 3));
  const double elapsed = static_cast<double>(now_ns() - start) * 1e-9;
  std::printf(
      "{\"direction\": \"%s\", \"seconds\": %.3f, \"bytes\": %.0f, \"gigabits_per_second\": %.3f, "
      "\"cpu_seconds\": %.4f}\n",
      direction.c_str(), elapsed, bytes, bytes * 8e-9 / elapsed, cpu_seconds() - cpu);
  close(fd);
}
