// Readiness: epoll in all its modes, poll, select.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/programs/scenario.h"

namespace snp::test {
namespace {

int control(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return ::epoll_ctl(epoll, operation, fd, &event);
}

// One wait that tells what came.
void wait_and_say(const char* name, int epoll, int timeout_ms) {
  epoll_event events[8];
  const int n = ::epoll_wait(epoll, events, 8, timeout_ms);
  say(name, n);
  for (int i = 0; i < n; ++i)
    say_events(("  " + std::to_string(events[i].data.u64)).c_str(), events[i].events);
}

void epoll_level() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  say("add", control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN, 7));
  say("add again", control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN, 7));
  say("modify unknown", control(epoll, EPOLL_CTL_MOD, p.client, EPOLLIN, 8));
  say("delete unknown", control(epoll, EPOLL_CTL_DEL, p.client, EPOLLIN, 8));
  wait_and_say("empty", epoll, 0);
  write_all(p.client, pattern(10));
  wait_and_say("data", epoll, 2000);
  wait_and_say("still", epoll, 2000);
  read_exactly(p.server, 4);
  wait_and_say("rest", epoll, 2000);
  read_exactly(p.server, 6);
  wait_and_say("drained", epoll, 20);
  say("modify", control(epoll, EPOLL_CTL_MOD, p.server, EPOLLIN | EPOLLOUT, 9));
  wait_and_say("writable", epoll, 2000);
  say("delete", control(epoll, EPOLL_CTL_DEL, p.server, 0, 0));
  write_all(p.client, pattern(10));
  wait_and_say("deleted", epoll, 30);
  say("add full", control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN, 10));
  wait_and_say("at once", epoll, 2000);
  ::close(p.server);
  wait_and_say("closed", epoll, 20);
  say("no room for events", ::epoll_wait(epoll, nullptr, 0, 0));
  ::close(p.client);
  ::close(epoll);
}

void epoll_edge() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN | EPOLLET, 1);
  wait_and_say("empty", epoll, 20);
  write_all(p.client, pattern(10));
  wait_and_say("first", epoll, 2000);
  wait_and_say("no new edge", epoll, 30);
  read_exactly(p.server, 5);
  wait_and_say("half read", epoll, 30);
  write_all(p.client, pattern(10));
  wait_and_say("second", epoll, 2000);
  read_exactly(p.server, 15);
  control(epoll, EPOLL_CTL_MOD, p.server, EPOLLIN | EPOLLET, 1);
  wait_and_say("modified, nothing there", epoll, 30);
  ::shutdown(p.client, SHUT_WR);
  control(epoll, EPOLL_CTL_MOD, p.server, EPOLLIN | EPOLLET | EPOLLRDHUP, 1);
  pause_ms(50);
  wait_and_say("half closed", epoll, 2000);
  close_pair(p);
  ::close(epoll);
}

// Edges for writing: after EAGAIN, one when there is room. Programs also wait for it after a write
// that took a part (nginx).
enum class WaitsAfter { kNothingTaken, kPartTaken };
void write_by_edges(WaitsAfter waits) {
  const Pair p = make_pair();
  set_nonblocking(p.client);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.client, EPOLLOUT | EPOLLET, 1);
  wait_and_say("room", epoll, 2000);
  constexpr std::size_t kTotal = 12 * 1024 * 1024;
  std::uint64_t total = 0;
  bool good = false;
  std::thread reader([&] {
    pause_ms(50);
    good = read_pattern_to_end(p.server, total);
  });
  std::size_t sent = 0;
  int timeouts = 0;
  while (sent < kTotal && timeouts == 0) {
    const auto piece = pattern(std::min<std::size_t>(100'000, kTotal - sent), sent);
    const ssize_t n = ::write(p.client, piece.data(), piece.size());
    if (n > 0) sent += static_cast<std::size_t>(n);
    const bool is_whole = n == static_cast<ssize_t>(piece.size());
    if (is_whole || (n > 0 && waits == WaitsAfter::kNothingTaken)) continue;
    epoll_event event{};
    if (::epoll_wait(epoll, &event, 1, 5000) != 1) ++timeouts;
  }
  say("timeouts", timeouts);
  ::shutdown(p.client, SHUT_WR);
  reader.join();
  say("good", good && total == kTotal ? 1 : 0);
  close_pair(p);
  ::close(epoll);
}

void epoll_edge_write() {
  write_by_edges(WaitsAfter::kNothingTaken);
}
void epoll_edge_partial_write() {
  write_by_edges(WaitsAfter::kPartTaken);
}

void epoll_oneshot() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN | EPOLLONESHOT, 1);
  write_all(p.client, pattern(10));
  wait_and_say("first", epoll, 2000);
  wait_and_say("silent", epoll, 30);
  write_all(p.client, pattern(10));
  wait_and_say("still silent", epoll, 30);
  control(epoll, EPOLL_CTL_MOD, p.server, EPOLLIN | EPOLLONESHOT, 2);
  wait_and_say("armed", epoll, 2000);
  wait_and_say("silent again", epoll, 30);
  close_pair(p);
  ::close(epoll);
}

void epoll_hang_up() {
  const Pair p = make_pair();
  const Pair q = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN | EPOLLRDHUP | EPOLLOUT, 1);
  ::shutdown(p.client, SHUT_WR);
  pause_ms(50);
  wait_and_say("peer half closed", epoll, 2000);
  ::shutdown(p.server, SHUT_WR);
  pause_ms(50);
  wait_and_say("both closed", epoll, 2000);
  control(epoll, EPOLL_CTL_DEL, p.server, 0, 0);
  control(epoll, EPOLL_CTL_ADD, q.server, 0, 2);
  const ::linger hard{1, 0};
  ::setsockopt(q.client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(q.client);
  pause_ms(50);
  wait_and_say("reset, no interest", epoll, 2000);
  control(epoll, EPOLL_CTL_MOD, q.server, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 2);
  wait_and_say("reset", epoll, 2000);
  char byte = 0;
  say("recv", ::recv(q.server, &byte, 1, 0));
  wait_and_say("error taken", epoll, 2000);
  close_pair(p);
  ::close(q.server);
  ::close(epoll);
}

void epoll_fairness() {
  std::vector<Pair> pairs(6);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = make_pair();
    control(epoll, EPOLL_CTL_ADD, pairs[i].server, EPOLLIN, i);
    write_all(pairs[i].client, pattern(3));
  }
  pause_ms(50);
  std::vector<int> seen(pairs.size());
  const auto all_had = [&seen] { return *std::min_element(seen.begin(), seen.end()) > 0; };
  // One that is being moved just now has its turn a little later.
  for (int round = 0; round < 60 || (!all_had() && round < 400); ++round) {
    if (round >= 60) pause_ms(5);
    epoll_event events[2];
    const int n = ::epoll_wait(epoll, events, 2, 2000);
    for (int i = 0; i < n; ++i)
      ++seen[events[i].data.u64];
  }
  say("every one had its turn", all_had() ? 1 : 0);
  for (const Pair& p : pairs)
    close_pair(p);
  ::close(epoll);
}

// However connections move meanwhile: one call tells of each at most once. A program closes what
// has come to its end, and does not look whether the next event is of the same descriptor.
void epoll_tells_once() {
  std::array<Pair, 16> pairs;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = make_pair();
    control(epoll, EPOLL_CTL_ADD, pairs[i].server, EPOLLIN, i);
    write_all(pairs[i].client, pattern(3));
  }
  long twice = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (std::chrono::steady_clock::now() < end) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll, events, 64, 20);
    std::array<int, pairs.size()> told{};
    for (int i = 0; i < n; ++i)
      twice += ++told[events[i].data.u64] > 1 ? 1 : 0;
  }
  say("told twice", twice);
  for (const Pair& p : pairs)
    close_pair(p);
  ::close(epoll);
}

// Other descriptors in the same set, and connections that are busy all the time.
void epoll_mixed() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  const int event = ::eventfd(0, EFD_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN, 1);
  control(epoll, EPOLL_CTL_ADD, event, EPOLLIN, 2);
  write_all(p.client, pattern(1));
  wait_and_say("connection", epoll, 2000);
  const std::uint64_t one = 1;
  static_cast<void>(::write(event, &one, sizeof one));
  bool both = false;
  // One that is being moved just now has its turn a little later.
  for (int i = 0; i < 400 && !both; ++i) {
    if (i >= 50) pause_ms(5);
    epoll_event events[8];
    const int n = ::epoll_wait(epoll, events, 8, 2000);
    both = n == 2;
  }
  say("both in the end", both ? 1 : 0);
  read_exactly(p.server, 1);
  wait_and_say("event only", epoll, 2000);
  close_pair(p);
  ::close(event);
  ::close(epoll);
}

void epoll_wakes_sleeper() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN, 1);
  for (int i = 0; i < 5; ++i) {
    std::thread late([&p] {
      pause_ms(30);
      write_all(p.client, pattern(1));
    });
    wait_and_say("woken", epoll, 5000);
    late.join();
    read_exactly(p.server, 1);
  }
  std::thread registrar([&] {
    pause_ms(30);
    write_all(p.server, pattern(1));
    pause_ms(30);
    control(epoll, EPOLL_CTL_ADD, p.client, EPOLLIN, 2);
  });
  wait_and_say("woken by registration", epoll, 5000);
  registrar.join();
  close_pair(p);
  ::close(epoll);
}

// Threads that sleep in an empty set before the first connection is registered: each gets an event,
// with its data, also while the other one is busy.
void epoll_sleeps_before() {
  for (int round = 0; round < 5; ++round) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    std::atomic<int> asleep{0}, told{0};
    std::atomic<std::uint64_t> sum{0};
    const auto sleep = [&] {
      ++asleep;
      epoll_event event{};
      if (::epoll_wait(epoll, &event, 1, 8000) != 1) return;
      sum += event.data.u64;
      ++told;
      for (int ms = 0; told != 2 && ms < 8000; ++ms)
        pause_ms(1);
    };
    std::thread one(sleep);
    std::thread two(sleep);
    while (asleep != 2)
      pause_ms(1);
    pause_ms(5);  // most likely they sleep by now; whether or not must make no difference
    const Pair pairs[2] = {make_pair(), make_pair()};
    for (const Pair& p : pairs) {
      control(epoll, EPOLL_CTL_ADD, p.server, EPOLLIN | EPOLLONESHOT,
              static_cast<std::uint64_t>(1 + (&p - pairs)));
      pause_ms(round);
      write_all(p.client, pattern(1));
    }
    one.join();
    two.join();
    say("told", told.load());
    say("sum", static_cast<long>(sum.load()));
    for (const Pair& p : pairs)
      close_pair(p);
    ::close(epoll);
  }
}

void epoll_threads() {
  constexpr int kPairs = 16;
  constexpr int kRounds = 300;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Pair> pairs;
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(make_pair());
    set_nonblocking(pairs.back().server);
    control(epoll, EPOLL_CTL_ADD, pairs.back().server, EPOLLIN | EPOLLONESHOT,
            static_cast<std::uint64_t>(i));
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  workers.reserve(3);
  for (int w = 0; w < 3; ++w)
    workers.emplace_back([&] {
      while (!stop.load()) {
        epoll_event event{};
        if (::epoll_wait(epoll, &event, 1, 50) != 1) continue;
        const int fd = pairs[event.data.u64].server;
        char buffer[100];
        for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
          write_all(fd, {buffer, buffer + n});
        control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, event.data.u64);
      }
    });
  int good = 0;
  for (int r = 0; r < kRounds; ++r) {
    for (const Pair& p : pairs)
      write_all(p.client, pattern(50, static_cast<std::uint64_t>(r)));
    for (const Pair& p : pairs)
      good += read_exactly(p.client, 50) == pattern(50, static_cast<std::uint64_t>(r)) ? 1 : 0;
  }
  stop.store(true);
  for (auto& t : workers)
    t.join();
  say("good", good);
  for (const Pair& p : pairs)
    close_pair(p);
  ::close(epoll);
}

// Registered before connect() has begun.
void epoll_before_connect() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  say("add", control(epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, 5));
  wait_and_say("unconnected", epoll, 2000);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = port;
  say("connect", ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address));
  const int peer = ::accept(listener, nullptr, nullptr);
  control(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLIN, 6);
  wait_and_say("connected", epoll, 2000);
  int error = -1;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  say("error", error);
  control(epoll, EPOLL_CTL_MOD, fd, EPOLLIN, 6);
  for (int i = 0; i < 20; ++i) {
    write_all(fd, pattern(10));
    read_exactly(peer, 10);
    write_all(peer, pattern(10));
    epoll_event event{};
    if (::epoll_wait(epoll, &event, 1, 5000) != 1 || event.data.u64 != 6) say("lost", i);
    read_exactly(fd, 10);
    pause_ms(2);
  }
  say("refused", 0);
  ::close(fd);
  ::close(peer);
  ::close(listener);
  ::close(epoll);
}

// An epoll descriptor inside another, and in poll().
void epoll_nested() {
  const Pair p = make_pair();
  const int inner = ::epoll_create1(EPOLL_CLOEXEC);
  const int outer = ::epoll_create1(EPOLL_CLOEXEC);
  control(inner, EPOLL_CTL_ADD, p.server, EPOLLIN, 1);
  control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2);
  for (int i = 0; i < 3; ++i) {
    write_all(p.client, pattern(1));
    wait_and_say("outer", outer, 5000);
    wait_and_say("inner", inner, 5000);
    read_exactly(p.server, 1);
    wait_and_say("inner drained", inner, 0);
  }
  write_all(p.client, pattern(1));
  pollfd poll{inner, POLLIN, 0};
  say("poll", ::poll(&poll, 1, 5000));
  close_pair(p);
  ::close(inner);
  ::close(outer);
}

void poll_all() {
  const Pair p = make_pair();
  int pipes[2];
  if (::pipe2(pipes, O_CLOEXEC) != 0) return;
  pollfd polls[3] = {{p.server, POLLIN, 0}, {pipes[0], POLLIN, 0}, {p.client, POLLOUT, 0}};
  say("out", ::poll(polls, 3, 2000));
  say_events("client", static_cast<std::uint32_t>(polls[2].revents));
  polls[2].events = POLLIN;
  say("nothing", ::poll(polls, 3, 30));
  std::thread late([&] {
    pause_ms(30);
    write_all(p.client, pattern(5));
  });
  say("woken", ::poll(polls, 3, 5000));
  say_events("server", static_cast<std::uint32_t>(polls[0].revents));
  late.join();
  write_all(pipes[1], pattern(1));
  say("both", ::poll(polls, 3, 5000));
  read_exactly(p.server, 5);
  say("pipe", ::poll(polls, 3, 5000));
  say_events("server", static_cast<std::uint32_t>(polls[0].revents));
  polls[1].fd = -1;
  ::shutdown(p.client, SHUT_WR);
  pause_ms(30);
  polls[0].events = POLLIN | POLLRDHUP;
  say("end", ::poll(polls, 1, 5000));
  say_events("server", static_cast<std::uint32_t>(polls[0].revents));
  const int closed = ::dup(pipes[0]);
  ::close(closed);
  polls[1] = {closed, POLLIN, 0};
  say("closed", ::poll(polls, 2, 0));
  say("nval", polls[1].revents == POLLNVAL ? 1 : 0);
  close_pair(p);
  ::close(pipes[0]);
  ::close(pipes[1]);
}

void select_all() {
  const Pair p = make_pair();
  fd_set in;
  fd_set out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(p.server, &in);
  FD_SET(p.client, &out);
  const int count = std::max(p.server, p.client) + 1;
  timeval time{2, 0};
  say("out", ::select(count, &in, &out, nullptr, &time));
  say("in set", FD_ISSET(p.server, &in) ? 1 : 0);
  say("out set", FD_ISSET(p.client, &out) ? 1 : 0);
  FD_SET(p.server, &in);
  time = {0, 30'000};
  say("nothing", ::select(count, &in, nullptr, nullptr, &time));
  say("left", time.tv_sec * 1'000'000 + time.tv_usec);
  std::thread late([&p] {
    pause_ms(30);
    write_all(p.client, pattern(5));
  });
  FD_SET(p.server, &in);
  time = {5, 0};
  say("woken", ::select(count, &in, nullptr, nullptr, &time));
  say("in set", FD_ISSET(p.server, &in) ? 1 : 0);
  say("time went", time.tv_sec < 5 ? 1 : 0);
  late.join();
  const timespec limit{1, 0};
  say("pselect", ::pselect(count, &in, nullptr, nullptr, &limit, nullptr));
  FD_ZERO(&in);
  FD_SET(p.server, &in);
  const int closed = ::dup(p.client);
  ::close(closed);
  FD_SET(closed, &in);
  say("bad", ::select(std::max(count, closed + 1), &in, nullptr, nullptr, &time));
  close_pair(p);
}

}  // namespace

const std::vector<Scenario>& event_scenarios() {
  static const std::vector<Scenario> kList{
      {"epoll_level", epoll_level},
      {"epoll_edge", epoll_edge},
      {"epoll_edge_write", epoll_edge_write},
      {"epoll_edge_partial_write", epoll_edge_partial_write},
      {"epoll_oneshot", epoll_oneshot},
      {"epoll_hang_up", epoll_hang_up},
      {"epoll_fairness", epoll_fairness},
      {"epoll_tells_once", epoll_tells_once},
      {"epoll_mixed", epoll_mixed},
      {"epoll_wakes_sleeper", epoll_wakes_sleeper},
      {"epoll_sleeps_before", epoll_sleeps_before},
      {"epoll_threads", epoll_threads},
      {"epoll_before_connect", epoll_before_connect},
      {"epoll_nested", epoll_nested},
      {"poll_all", poll_all},
      {"select_all", select_all},
  };
  return kList;
}

}  // namespace snp::test
