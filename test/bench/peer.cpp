#include "test/bench/peer.h"

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

namespace snp::peer {

void fail(const std::string& what) {
  const int error = errno;
  std::fprintf(stderr, "%s%s%s\n", what.c_str(), error != 0 ? ": " : "",
               error != 0 ? strerrordesc_np(error) : "");
  std::exit(1);  // NOLINT(concurrency-mt-unsafe): the program is over, whoever else runs
}

double cpu_seconds() noexcept {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Arguments::Arguments(int argc, char** argv) {
  errno = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      positional_.push_back(word);
      continue;
    }
    if (i + 1 == argc) fail("option " + word + " needs a value");
    options_[word.substr(2)] = argv[++i];
  }
}

const std::string& Arguments::positional(std::size_t index, const char* name) const {
  if (index >= positional_.size()) fail(std::string("missing argument ") + name);
  return positional_[index];
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = options_.find(name);
  return found == options_.end() ? otherwise : found->second;
}

std::uint64_t Arguments::number(const std::string& name, std::uint64_t otherwise) const {
  const auto found = options_.find(name);
  return found == options_.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 0);
}

double Arguments::real(const std::string& name, double otherwise) const {
  const auto found = options_.find(name);
  return found == options_.end() ? otherwise : std::strtod(found->second.c_str(), nullptr);
}

std::uint16_t port_of(const std::string& text) {
  const auto port = std::strtoul(text.c_str(), nullptr, 10);
  if (port == 0 || port > 65535) fail("not a port: " + text);
  return static_cast<std::uint16_t>(port);
}

int listen_on(std::uint16_t port, bool reuse_port) {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (listen(fd, 1024) != 0) fail("listen");
  return fd;
}

int connect_to(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    fail("not an address: " + host);
  const std::uint64_t give_up = now_ns() + 2'000'000'000u;
  for (;;) {
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (connect(fd, found->ai_addr, found->ai_addrlen) == 0) {
      freeaddrinfo(found);
      set_no_delay(fd);
      return fd;
    }
    if (errno != ECONNREFUSED || now_ns() > give_up) fail("connect to " + host);
    close(fd);
    usleep(10'000);
  }
}

void set_non_blocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
}

void set_no_delay(int fd) {
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
}

std::size_t Histogram::bucket_of(std::uint64_t ns) noexcept {
  constexpr std::uint64_t kSteps = 1u << kStepBits;
  if (ns < kSteps) return static_cast<std::size_t>(ns);
  const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kStepBits;
  return static_cast<std::size_t>(((shift + 1) << kStepBits) + ((ns >> shift) & (kSteps - 1)));
}

double Histogram::middle_of(std::size_t bucket) noexcept {
  constexpr std::size_t kSteps = 1u << kStepBits;
  if (bucket < kSteps) return static_cast<double>(bucket);
  const std::size_t shift = (bucket >> kStepBits) - 1;
  const double width = static_cast<double>(1ull << shift);
  return (static_cast<double>(kSteps + (bucket & (kSteps - 1))) + 0.5) * width;
}

void Histogram::add(std::uint64_t ns) noexcept {
  ++buckets_[bucket_of(ns)];
  ++count_;
}

double Histogram::quantile_us(double q) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen > wanted) return middle_of(i) / 1e3;
  }
  return 0;
}

}  // namespace snp::peer
