// Two processes on one host, and what happens when one of them dies, stops, or lies.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/programs/scenario.h"

namespace snp::test {
namespace {

// This program once more, as a peer in the role that `roles` names.
pid_t start_peer(const char* role, std::uint16_t port) {
  const std::string number = std::to_string(port);
  char* const argv[] = {const_cast<char*>("switch_scenarios"), const_cast<char*>("peer"),
                        const_cast<char*>(role), const_cast<char*>(number.c_str()), nullptr};
  pid_t child = -1;
  if (::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, argv, environ) != 0) return -1;
  return child;
}

// Its exit status, or 128 and the signal.
int end_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The peer's end, after a byte each way and time to be offloaded.
int greet(int fd) {
  char byte = 'x';
  if (::write(fd, &byte, 1) != 1 || ::read(fd, &byte, 1) != 1) ::_exit(3);
  return fd;
}
int accept_from(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  greet(fd);
  pause_ms(10);
  return fd;
}

// --- roles ---

void echo_all(int fd) {
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    write_all(fd, {buffer, buffer + n});
  ::close(fd);
}

void play_echo(std::uint16_t port) {
  echo_all(greet(connect_to(port)));
}

// Writes the pattern until it is killed.
void play_flood(std::uint16_t port) {
  const int fd = greet(connect_to(port));
  pause_ms(10);  // for a hand-over that finds nothing in the queues
  for (std::uint64_t at = 0;; at += 3000)
    write_all(fd, pattern(3000, at));
}

// The same through small buffers, so that what is on its way fits into a ring.
void play_trickle(std::uint16_t port) {
  const int fd = connect_to(port);
  const int few = 8 * 1024;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &few, sizeof few);
  greet(fd);
  for (std::uint64_t at = 0;; at += 3000)
    write_all(fd, pattern(3000, at));
}

constexpr int kMany = 1000;

void allow_many_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 8192);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void play_many(std::uint16_t port) {
  allow_many_descriptors();
  std::vector<int> fds;
  for (int i = 0; i < kMany; ++i)
    fds.push_back(greet(connect_to(port)));
  for (int round = 0; round < 3; ++round) {
    for (const int fd : fds)
      write_all(fd, pattern(100, static_cast<std::uint64_t>(fd)));
    for (const int fd : fds)
      if (read_exactly(fd, 100) != pattern(100, static_cast<std::uint64_t>(fd))) ::_exit(1);
  }
}

// Everything that this process shares with a peer, as far as the addresses tell.
std::vector<std::pair<char*, std::size_t>> shared_memory() {
  std::vector<std::pair<char*, std::size_t>> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0;
    unsigned long end = 0;
    if (line.find("pair") == std::string::npos || line.find(" rw-s ") == std::string::npos)
      continue;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2)
      // NOLINTNEXTLINE(performance-no-int-to-ptr): an address from a text
      found.emplace_back(reinterpret_cast<char*>(begin), end - begin);
  }
  return found;
}

// Scribbles over the memory it shares, while it goes on talking.
void play_hostile(std::uint16_t port) {
  std::signal(SIGPIPE, SIG_IGN);
  std::vector<int> fds;
  for (int i = 0; i < 4; ++i)
    fds.push_back(greet(connect_to(port)));
  pause_ms(50);
  std::mt19937_64 random(std::random_device{}());
  const auto memory = shared_memory();
  // Where the words are, not the rings' hundreds of megabytes.
  constexpr std::size_t kWords = 6 * 1024 * 1024 / sizeof(std::uint64_t);
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  for (const long end = now.tv_sec * 1000 + now.tv_nsec / 1'000'000 + 700;
       now.tv_sec * 1000 + now.tv_nsec / 1'000'000 < end; ::clock_gettime(CLOCK_MONOTONIC, &now)) {
    for (const auto& [begin, size] : memory) {
      auto* words = reinterpret_cast<std::uint64_t*>(begin);
      const std::size_t count = std::min(size / sizeof(std::uint64_t), kWords);
      for (int i = 0; i < 2000; ++i)
        // The first connections' words more often than all others.
        std::atomic_ref(words[i % 2 == 0 ? 512 + random() % 256 : random() % count])
            .store(i % 3 == 0   ? ~0ull
                   : i % 3 == 1 ? random()
                                : (1ull << 40) + random() % 100'000);
    }
    for (const int fd : fds) {
      char buffer[1000] = {};
      static_cast<void>(::send(fd, buffer, sizeof buffer, MSG_DONTWAIT));
      static_cast<void>(::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
    }
  }
}

struct Role {
  const char* name;
  void (*play)(std::uint16_t port);
};
const Role roles[] = {{"echo", play_echo},
                      {"flood", play_flood},
                      {"trickle", play_trickle},
                      {"many", play_many},
                      {"hostile", play_hostile}};

// --- scenarios ---

void two_processes() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const pid_t peer = start_peer("echo", port);
  const int fd = accept_from(listener);
  int good = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto message = pattern(1 + i * 37 % 3000, i);
    write_all(fd, message);
    good += read_exactly(fd, message.size()) == message ? 1 : 0;
  }
  say("good", good);
  ::shutdown(fd, SHUT_WR);
  char byte = 0;
  say("end", ::read(fd, &byte, 1));
  say("peer", end_of(peer));
  ::close(fd);
  ::close(listener);
}

// What a killed writer has written is there, up to some byte; then the end.
void killed_writer(bool has_unread) {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const pid_t peer = start_peer("flood", port);
  const int fd = accept_from(listener);
  if (has_unread) write_all(fd, pattern(100));
  std::atomic<std::uint64_t> total = 0;
  bool good = true;
  std::thread killer([peer, &total] {
    pause_ms(60);
    while (total == 0)
      pause_ms(1);
    ::kill(peer, SIGKILL);
  });
  ssize_t n = 0;
  for (std::vector<char> buffer(7000); (n = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    buffer.resize(static_cast<std::size_t>(n));
    good &= buffer == pattern(buffer.size(), total);
    total += buffer.size();
    buffer.resize(7000);
  }
  say("end", n);
  killer.join();
  say("killed", end_of(peer));
  say("good", good && total > 0 ? 1 : 0);
  char byte = 0;
  say("again", ::read(fd, &byte, 1));
  if (!has_unread) say("write", ::send(fd, &byte, 1, MSG_NOSIGNAL));
  pause_ms(50);
  say("write", ::send(fd, &byte, 1, MSG_NOSIGNAL));
  ::close(fd);
  ::close(listener);
}
void peer_killed() {
  killed_writer(false);
}
void peer_killed_with_unread() {
  killed_writer(true);
}

// A peer that is stopped anywhere in its calls, again and again, loses and repeats nothing.
void peer_stopped() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const int few = 16 * 1024;
  ::setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
  const pid_t peer = start_peer("trickle", port);
  const int fd = accept_from(listener);
  std::uint64_t total = 0;
  bool good = true;
  std::mt19937_64 random(std::random_device{}());
  for (int round = 0; round < 60; ++round) {
    ::kill(peer, SIGSTOP);
    // Read on while it stands still: what it has written must come, wherever it goes meanwhile.
    for (std::size_t left = 30'000 + random() % 30'000; left != 0 && wait_readable(fd, 3);) {
      std::vector<char> buffer(std::min<std::size_t>(left, 1 + random() % 9000));
      const ssize_t n = ::read(fd, buffer.data(), buffer.size());
      if (n <= 0) break;
      buffer.resize(static_cast<std::size_t>(n));
      good &= buffer == pattern(buffer.size(), total);
      total += buffer.size();
      left -= buffer.size();
    }
    ::kill(peer, SIGCONT);
    ::usleep(static_cast<useconds_t>(random() % 2000));
  }
  say("good", good && total > 100'000 ? 1 : 0);
  ::kill(peer, SIGKILL);
  say("killed", end_of(peer));
  ::close(fd);
  ::close(listener);
}

void many_connections() {
  allow_many_descriptors();
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const pid_t peer = start_peer("many", port);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<int> fds;
  for (int i = 0; i < kMany; ++i) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    greet(fd);
    set_nonblocking(fd);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    fds.push_back(fd);
  }
  long echoed = 0;
  for (int open = kMany; open > 0;) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll, events, 64, 10'000);
    if (n <= 0) break;
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      char buffer[300];
      const ssize_t got = ::read(fd, buffer, sizeof buffer);
      if (got > 0) write_all(fd, {buffer, buffer + got});
      if (got > 0) echoed += got;
      if (got == 0) ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
      if (got == 0) --open;
    }
  }
  say("echoed", echoed);
  say("peer", end_of(peer));
  for (const int fd : fds)
    ::close(fd);
  ::close(epoll);
  ::close(listener);
}

int count_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  int n = 0;
  while (::readdir(directory) != nullptr)
    ++n;
  ::closedir(directory);
  return n;
}
int count_mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<int>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

// Peers that come and go leave nothing behind. One waiter is an epoll instance, one a thread.
void short_lived_peers() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  int good = 0;
  int descriptors = 0;
  int mappings = 0;
  for (int i = 0; i < 70; ++i) {
    if (i == 20) {
      descriptors = count_descriptors();
      mappings = count_mappings();
    }
    const pid_t peer = start_peer("echo", port);
    const int fd = accept_from(listener);
    epoll_event event{};
    event.events = EPOLLIN;
    if (i % 2 == 0) ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    write_all(fd, pattern(500));
    if (i % 2 == 0) ::epoll_wait(epoll, &event, 1, 5000);
    good += read_exactly(fd, 500) == pattern(500) ? 1 : 0;
    ::shutdown(fd, SHUT_WR);
    char byte = 0;
    good += ::read(fd, &byte, 1) == 0 ? 1 : 0;
    good += end_of(peer) == 0 ? 1 : 0;
    ::close(fd);
  }
  say("good", good);
  pause_ms(150);
  close_pair(make_pair());
  say("descriptors left", count_descriptors() - descriptors > 15 ? 1 : 0);
  say("mappings left", count_mappings() - mappings > 15 ? 1 : 0);
  ::close(epoll);
  ::close(listener);
}

// Both write more than a ring holds before either reads: the host's queues take that.
void writes_before_reads() {
  constexpr std::size_t kBytes = 300'000;
  for (const bool nonblocking : {false, true}) {
    const Pair p = make_pair();
    const int ends[2] = {p.client, p.server};
    for (const int fd : ends) {
      if (nonblocking) set_nonblocking(fd);
      const auto bytes = pattern(kBytes);
      for (std::size_t done = 0; done < kBytes;) {
        const ssize_t n = ::write(fd, bytes.data() + done, kBytes - done);
        if (n > 0) done += static_cast<std::size_t>(n);
        pollfd poll{fd, POLLOUT, 0};
        if (n < 0 && ::poll(&poll, 1, 5000) != 1) say("no room", static_cast<long>(done));
        if (n < 0 && (poll.revents & POLLOUT) == 0) break;
      }
    }
    say("written", 1);
    for (const int fd : ends) {
      const int flags = ::fcntl(fd, F_GETFL);
      ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
      say("equal", read_exactly(fd, kBytes) == pattern(kBytes) ? 1 : 0);
    }
    close_pair(p);
  }
}

// The same with the edges of epoll.
void writes_before_reads_by_edges() {
  constexpr std::size_t kBytes = 300'000;
  const Pair p = make_pair();
  set_nonblocking(p.client);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, p.client, &event);
  const auto bytes = pattern(kBytes);
  int timeouts = 0;
  for (std::size_t done = 0; done < kBytes && timeouts == 0;) {
    const ssize_t n = ::write(p.client, bytes.data() + done, kBytes - done);
    if (n > 0)
      done += static_cast<std::size_t>(n);
    else
      timeouts += ::epoll_wait(epoll, &event, 1, 5000) == 1 ? 0 : 1;
  }
  say("timeouts", timeouts);
  say("equal", read_exactly(p.server, kBytes) == bytes ? 1 : 0);
  close_pair(p);
  ::close(epoll);
}

// Its connections may end in any way; those with others go on.
void hostile_peer() {
  std::signal(SIGPIPE, SIG_IGN);
  std::uint16_t port = 0;
  std::uint16_t other_port = 0;
  const int listener = listen_on_loopback(port);
  const int other_listener = listen_on_loopback(other_port);
  const pid_t good_peer = start_peer("echo", port);
  const int good = accept_from(listener);
  const pid_t bad_peer = start_peer("hostile", other_port);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<int> bad;
  for (int i = 0; i < 4; ++i) {
    bad.push_back(::accept4(other_listener, nullptr, nullptr, SOCK_CLOEXEC));
    greet(bad.back());
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.fd = bad.back();
    if (i != 0) ::epoll_ctl(epoll, EPOLL_CTL_ADD, bad.back(), &event);
  }
  const timeval patience{0, 20'000};
  ::setsockopt(bad[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(bad[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  std::atomic<bool> stop{false};
  std::thread blocked([&] {
    char buffer[3000] = {};
    while (!stop.load()) {
      if (::read(bad[0], buffer, sizeof buffer) <= 0) ::usleep(100);
      static_cast<void>(::write(bad[0], buffer, sizeof buffer));
    }
  });
  int echoed = 0;
  int status = 0;
  bool is_over = false;
  for (std::uint64_t i = 0; !is_over || echoed <= 20; ++i) {
    is_over = is_over || ::waitpid(bad_peer, &status, WNOHANG) != 0;
    const auto message = pattern(1 + i % 3000, i);
    write_all(good, message);
    if (read_exactly(good, message.size()) == message) ++echoed;
    epoll_event events[8];
    const int n = ::epoll_wait(epoll, events, 8, 0);
    for (int k = 0; k < n; ++k) {
      char buffer[5000] = {};
      static_cast<void>(::recv(events[k].data.fd, buffer, sizeof buffer, MSG_DONTWAIT));
      static_cast<void>(::send(events[k].data.fd, buffer, 2000, MSG_DONTWAIT));
    }
  }
  stop.store(true);
  blocked.join();
  say("went on", echoed > 20 ? 1 : 0);
  for (const int fd : bad)
    ::close(fd);
  ::shutdown(good, SHUT_WR);
  char byte = 0;
  say("end", ::read(good, &byte, 1));
  say("good peer", end_of(good_peer));
  ::close(good);
  ::close(epoll);
  ::close(listener);
  ::close(other_listener);
}

}  // namespace

int play_peer(const std::string& role, std::uint16_t port) {
  for (const Role& r : roles)
    if (role == r.name) {
      r.play(port);
      return 0;
    }
  return 2;
}

const std::vector<Scenario>& local_scenarios() {
  static const std::vector<Scenario> kList{
      {"two_processes", two_processes},
      {"peer_killed", peer_killed},
      {"peer_killed_with_unread", peer_killed_with_unread},
      {"peer_stopped", peer_stopped},
      {"many_connections", many_connections},
      {"short_lived_peers", short_lived_peers},
      {"writes_before_reads", writes_before_reads},
      {"writes_before_reads_by_edges", writes_before_reads_by_edges},
      {"hostile_peer", hostile_peer},
  };
  return kList;
}

}  // namespace snp::test
