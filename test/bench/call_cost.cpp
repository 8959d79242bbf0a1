// call_cost [--calls 2000] [--rounds 500]
//
// What single calls on a TCP connection cost, in nanoseconds: run it on the kernel and under the
// switch with the connection in the host, and compare. Two sockets joined over loopback, one
// thread, so nothing waits. Prints one line of JSON: for each call the best of many short rounds,
// which a busy machine disturbs least.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <functional>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace {

using namespace snp::peer;

constexpr std::size_t kSize = 64;
constexpr int kPairs = 16;

struct Pair {
  int here = -1;
  int there = -1;
};

// By accept and connect, as a program has them: both ends are tracked by the switch.
Pair make_pair() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  Pair pair;
  pair.here = ::socket(AF_INET, SOCK_STREAM, 0);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener, generic, length) != 0 || ::listen(listener, 1) != 0 ||
      ::getsockname(listener, generic, &length) != 0 || ::connect(pair.here, generic, length) != 0)
    fail("a pair of sockets");
  pair.there = ::accept(listener, nullptr, nullptr);
  if (pair.there < 0) fail("accept");
  ::close(listener);
  const int on = 1;
  for (const int fd : {pair.here, pair.there}) {
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_non_blocking(fd);
  }
  return pair;
}

struct Bench {
  std::array<Pair, kPairs> pairs;
  int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::array<std::byte, kSize> buffer{};
  std::array<epoll_event, kPairs> events{};

  Bench() {
    for (Pair& pair : pairs) {
      pair = make_pair();
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.fd = pair.there;
      if (::epoll_ctl(epoll, EPOLL_CTL_ADD, pair.there, &event) != 0) fail("epoll_ctl");
    }
  }
  void expect(bool is_true, const char* what) const {
    if (!is_true) fail(what);
  }
  void make_ready(int count) {
    for (int i = 0; i < count; ++i)
      expect(::write(pairs[static_cast<std::size_t>(i)].here, buffer.data(), kSize) == kSize,
             "write");
  }
  void drain(int count) {
    for (int i = 0; i < count; ++i)
      expect(::read(pairs[static_cast<std::size_t>(i)].there, buffer.data(), kSize) == kSize,
             "read");
  }
};

// Nanoseconds of one call, the best of the rounds: whatever disturbs makes it longer.
double best_of(long rounds, long calls, const std::function<void()>& call) {
  double best = 1e18;
  for (long round = 0; round < rounds; ++round) {
    const std::uint64_t start = now_ns();
    for (long i = 0; i < calls; ++i)
      call();
    best = std::min(best, static_cast<double>(now_ns() - start) / static_cast<double>(calls));
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const auto calls = static_cast<long>(arguments.number("calls", 2000));
  const auto rounds = static_cast<long>(arguments.number("rounds", 500));
  Bench bench;
  const int fd = bench.pairs[0].there;
  const auto wait = [&bench](int expected) {
    bench.expect(::epoll_wait(bench.epoll, bench.events.data(), kPairs, 0) == expected,
                 "epoll_wait");
  };
  const double nothing = best_of(rounds, calls, [&] {
    bench.expect(::read(fd, bench.buffer.data(), kSize) < 0, "read of nothing");
  });
  const double transfer = best_of(rounds, calls / 4, [&] {
    bench.make_ready(1);
    bench.drain(1);
  });
  const double wait_none = best_of(rounds, calls, [&] { wait(0); });
  bench.make_ready(1);
  const double wait_one = best_of(rounds, calls, [&] { wait(1); });
  bench.drain(1);
  bench.make_ready(kPairs);
  const double wait_all = best_of(rounds, calls / 4, [&] { wait(kPairs); });
  std::printf(
      "{\"read_nothing_ns\": %.1f, \"write_and_read_ns\": %.1f, \"epoll_wait_none_ns\": %.1f, "
      "\"epoll_wait_1_ns\": %.1f, \"epoll_wait_%d_ns\": %.1f}\n",
      nothing, transfer, wait_none, wait_one, kPairs, wait_all);
  return 0;
}
