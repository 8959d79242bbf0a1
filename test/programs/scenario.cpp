#include "test/programs/scenario.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace snp::test {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "scenario: %s: %s\n", what, strerrordesc_np(errno));
  std::exit(2);
}

}  // namespace

int listen_on_loopback(std::uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(fd, 64) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    die("listen");
  port = address.sin_port;
  return fd;
}

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = port;
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    die("connect");
  return fd;
}

Pair make_pair() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  Pair pair;
  pair.client = connect_to(port);
  pair.server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (pair.server < 0) die("accept");
  ::close(listener);
  char byte = 'x';
  if (::write(pair.client, &byte, 1) != 1 || ::read(pair.server, &byte, 1) != 1 ||
      ::write(pair.server, &byte, 1) != 1 || ::read(pair.client, &byte, 1) != 1)
    die("first byte");
  pause_ms(10);
  return pair;
}

void close_pair(const Pair& pair) {
  ::close(pair.client);
  ::close(pair.server);
}

std::string errno_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name != nullptr ? name : "0";
}

void say(const char* name, long result) {
  const int error = errno;
  if (result >= 0)
    std::printf("%s: %ld\n", name, result);
  else
    std::printf("%s: %ld %s\n", name, result, errno_name(error).c_str());
}

void say(const char* name, const std::string& text) {
  std::printf("%s: %s\n", name, text.c_str());
}

void say_events(const char* name, std::uint32_t events) {
  std::string text;
  const std::pair<std::uint32_t, const char*> names[] = {
      {EPOLLIN, " IN"},   {EPOLLOUT, " OUT"}, {EPOLLRDHUP, " RDHUP"},
      {EPOLLHUP, " HUP"}, {EPOLLERR, " ERR"}, {EPOLLPRI, " PRI"}};
  for (const auto& [bit, bit_name] : names)
    if ((events & bit) != 0) text += bit_name;
  std::printf("%s:%s\n", name, text.c_str());
}

void set_nonblocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void pause_ms(int ms) {
  ::usleep(static_cast<useconds_t>(ms) * 1000);
}

bool wait_readable(int fd, int ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, ms) == 1;
}

std::vector<char> pattern(std::size_t length, std::uint64_t from) {
  std::vector<char> bytes(length);
  for (std::size_t i = 0; i < length; ++i) {
    const std::uint64_t at = from + i;
    bytes[i] = static_cast<char>(at * 31 + (at >> 8) * 7 + (at >> 16));
  }
  return bytes;
}

void write_all(int fd, const std::vector<char>& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0) die("write");
    done += static_cast<std::size_t>(n);
  }
}

std::vector<char> read_exactly(int fd, std::size_t length) {
  std::vector<char> bytes(length);
  for (std::size_t done = 0; done < length;) {
    const ssize_t n = ::read(fd, bytes.data() + done, length - done);
    if (n <= 0) die("read");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

bool read_pattern_to_end(int fd, std::uint64_t& total) {
  char buffer[50000];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0) die("read");
    if (n == 0) return true;
    const std::vector<char> expected = pattern(static_cast<std::size_t>(n), total);
    if (std::memcmp(expected.data(), buffer, expected.size()) != 0) return false;
    total += static_cast<std::uint64_t>(n);
  }
}

}  // namespace snp::test
