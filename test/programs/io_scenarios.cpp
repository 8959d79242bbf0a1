// Reading and writing, blocking and not, flags, ends of streams, errors.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test/programs/scenario.h"

namespace snp::test {
namespace {

void blocking_echo() {
  const Pair p = make_pair();
  std::thread echo([&p] {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(p.server, buffer, sizeof buffer)) > 0;)
      write_all(p.server, {buffer, buffer + n});
    ::shutdown(p.server, SHUT_WR);
  });
  std::uint64_t sum = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto message =
        pattern(1 + static_cast<std::size_t>(i) % 700, static_cast<std::uint64_t>(i));
    write_all(p.client, message);
    sum += read_exactly(p.client, message.size()) == message ? 1u : 0u;
  }
  ::shutdown(p.client, SHUT_WR);
  char byte = 0;
  say("equal", static_cast<long>(sum));
  say("end", ::read(p.client, &byte, 1));
  echo.join();
  close_pair(p);
}

void nonblocking() {
  const Pair p = make_pair();
  set_nonblocking(p.client);
  set_nonblocking(p.server);
  char buffer[65536] = {};
  say("read empty", ::read(p.server, buffer, sizeof buffer));
  say("recv empty", ::recv(p.server, buffer, sizeof buffer, 0));
  say("read nothing", ::read(p.server, buffer, 0));
  long sent = 0;
  ssize_t n = 0;
  for (int idle = 0; idle < 20;) {
    n = ::write(p.client, buffer, sizeof buffer);
    if (n > 0) sent += n;
    if (n < 0) {
      pause_ms(5);
      ++idle;
    }
  }
  say("write full", n);
  long received = 0;
  while (received < sent && wait_readable(p.server, 3000))
    while ((n = ::read(p.server, buffer, sizeof buffer)) > 0)
      received += n;
  say("all arrived", received == sent ? 1 : 0);
  say("read drained", ::read(p.server, buffer, sizeof buffer));
  const int off = 0;
  ::ioctl(p.server, FIONBIO, &off);
  say("blocking again", ::fcntl(p.server, F_GETFL) & O_NONBLOCK);
  while (::write(p.client, "late", 4) != 4)  // what was read may not be acknowledged yet
    pause_ms(1);
  say("blocking read", ::read(p.server, buffer, sizeof buffer));
  close_pair(p);
}

void half_close() {
  const Pair p = make_pair();
  write_all(p.client, pattern(3000));
  say("shutdown", ::shutdown(p.client, SHUT_WR));
  std::uint64_t total = 0;
  say("pattern", read_pattern_to_end(p.server, total) ? 1 : 0);
  say("total", static_cast<long>(total));
  char byte = 0;
  say("end again", ::read(p.server, &byte, 1));
  write_all(p.server, pattern(5000));
  say("back", read_exactly(p.client, 5000) == pattern(5000) ? 1 : 0);
  say("write after shutdown", ::send(p.client, "x", 1, MSG_NOSIGNAL));
  say("shutdown again", ::shutdown(p.client, SHUT_WR));
  say("shutdown wrong", ::shutdown(p.client, 7));
  ::close(p.server);
  say("end", ::read(p.client, &byte, 1));
  ::close(p.client);
}

void peek_and_flags() {
  const Pair p = make_pair();
  char buffer[64] = {};
  write_all(p.client, {'a', 'b', 'c', 'd', 'e', 'f'});
  wait_readable(p.server, 2000);
  say("peek", ::recv(p.server, buffer, 4, MSG_PEEK));
  say("peeked", std::string(buffer, 4));
  say("peek all", ::recv(p.server, buffer, sizeof buffer, MSG_PEEK));
  say("read", ::recv(p.server, buffer, 2, 0));
  say("was", std::string(buffer, 2));
  say("trunc", ::recv(p.server, nullptr, 2, MSG_TRUNC));
  say("rest", ::recv(p.server, buffer, sizeof buffer, 0));
  say("was", std::string(buffer, 2));
  say("dontwait", ::recv(p.server, buffer, 1, MSG_DONTWAIT));
  std::thread late([&p] {
    for (int i = 0; i < 5; ++i) {
      pause_ms(10);
      write_all(p.client, pattern(10, static_cast<std::uint64_t>(i) * 10));
    }
  });
  say("waitall", ::recv(p.server, buffer, 50, MSG_WAITALL));
  say("equal", std::memcmp(buffer, pattern(50).data(), 50) == 0 ? 1 : 0);
  late.join();
  write_all(p.client, {'l', 'a', 's', 't'});
  ::shutdown(p.client, SHUT_WR);
  say("waitall to the end", ::recv(p.server, buffer, 50, MSG_WAITALL));
  say("waitall at the end", ::recv(p.server, buffer, 50, MSG_WAITALL));
  close_pair(p);
}

void vectors_and_messages() {
  const Pair p = make_pair();
  auto bytes = pattern(1000);
  iovec out[3] = {{bytes.data(), 100}, {bytes.data() + 100, 0}, {bytes.data() + 100, 900}};
  say("writev", ::writev(p.client, out, 3));
  std::vector<char> in(1000);
  iovec pieces[2] = {{in.data(), 300}, {in.data() + 300, 700}};
  msghdr message{};
  sockaddr_in name{};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  message.msg_name = &name;
  message.msg_namelen = sizeof name;
  say("recvmsg", ::recvmsg(p.server, &message, MSG_WAITALL));
  say("flags", message.msg_flags);
  say("name", static_cast<long>(message.msg_namelen));
  say("equal", in == bytes ? 1 : 0);
  mmsghdr many[2] = {};
  many[0].msg_hdr.msg_iov = &out[0];
  many[0].msg_hdr.msg_iovlen = 1;
  many[1].msg_hdr.msg_iov = &out[2];
  many[1].msg_hdr.msg_iovlen = 1;
  say("sendmmsg", ::sendmmsg(p.client, many, 2, 0));
  say("second", many[1].msg_len);
  say("readv", static_cast<long>(read_exactly(p.server, 1000) == bytes));
  socklen_t length = sizeof name;
  ::write(p.client, "z", 1);
  say("recvfrom",
      ::recvfrom(p.server, in.data(), 10, 0, reinterpret_cast<sockaddr*>(&name), &length));
  say("length", static_cast<long>(length));
  length = sizeof name;
  say("peer", ::getpeername(p.server, reinterpret_cast<sockaddr*>(&name), &length));
  close_pair(p);
}

void timeouts() {
  const Pair p = make_pair();
  const timeval time{0, 50'000};
  say("set", ::setsockopt(p.server, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  char buffer[8];
  timespec a{};
  timespec b{};
  ::clock_gettime(CLOCK_MONOTONIC, &a);
  say("recv", ::recv(p.server, buffer, sizeof buffer, 0));
  ::clock_gettime(CLOCK_MONOTONIC, &b);
  const long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1'000'000;
  say("not early", ms >= 49 ? 1 : 0);
  write_all(p.client, {'h', 'i'});
  wait_readable(p.server, 5000);  // the limit is short for a busy machine
  say("recv", ::recv(p.server, buffer, sizeof buffer, 0));
  write_all(p.client, {'h', 'i'});
  wait_readable(p.server, 5000);
  say("waitall", ::recv(p.server, buffer, sizeof buffer, MSG_WAITALL));
  close_pair(p);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the handler counts here
std::atomic<int> signals{0};
void count_signal(int) {
  signals.fetch_add(1);
}
void handle(int signal, int flags) {
  struct sigaction action {};
  action.sa_handler = count_signal;
  action.sa_flags = flags;
  ::sigaction(signal, &action, nullptr);
}
// Does the thread sleep in a system call?
bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() && text[end + 2] == 'S';
}

// Sends a signal to the thread that makes it as soon as that sleeps in the call that follows; then
// calls `then`.
class Interrupter {
 public:
  template <class Then>
  explicit Interrupter(Then then)
      : thread_([this, sleeper = ::gettid(), then] {
          while (!is_called_)
            std::this_thread::yield();
          while (!is_asleep(sleeper))
            std::this_thread::yield();
          ::syscall(SYS_tgkill, ::getpid(), sleeper, SIGUSR1);
          then();
          // One that was lost: say so instead of waiting for ever.
          for (int ms = 0; !has_ended_; ++ms) {
            pause_ms(1);
            if (ms != 5000) continue;
            std::printf("the signal was lost\n");
            ::_exit(1);
          }
        }) {}
  long interrupt(long (*call)(int fd), int fd) {
    is_called_ = true;
    const long result = call(fd);
    const int error = errno;
    has_ended_ = true;
    thread_.join();
    errno = error;
    return result;
  }

 private:
  std::atomic<bool> is_called_{false}, has_ended_{false};
  std::thread thread_;
};

// Whatever happens to a connection meanwhile: a signal ends a call that sleeps, or it goes on.
void interrupted() {
  const Pair p = make_pair();
  const auto receive = [](int fd) -> long {
    char buffer[8];
    return ::recv(fd, buffer, sizeof buffer, 0);
  };
  const auto wait = [](int fd) -> long {
    pollfd readable{fd, POLLIN, 0};
    return ::poll(&readable, 1, -1);
  };
  handle(SIGUSR1, 0);
  int ended = 0;
  for (int i = 0; i < 60; ++i)
    for (const auto call : {+receive, +wait})
      if (Interrupter([] {}).interrupt(call, p.server) == -1 && errno == EINTR) ++ended;
  say("ended", ended);
  say("signals", signals.load());
  handle(SIGUSR1, SA_RESTART);
  Interrupter interrupter([&p] {
    while (signals.load() != 121)
      pause_ms(1);
    write_all(p.client, {'o', 'k'});
  });
  say("recv restarted", interrupter.interrupt(receive, p.server));
  say("signals", signals.load());
  close_pair(p);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): the handler counts here
std::atomic<int> elsewhere{0};
void count_where(int) {
  elsewhere.fetch_add(::gettid() == ::getpid() ? 0 : 1);
  signals.fetch_add(1);
}

// One byte there and back, both ends asleep in between.
void toss(int fd, const std::atomic<bool>& ends) {
  char byte = 0;
  while (::read(fd, &byte, 1) == 1 && !ends)
    write_all(fd, {byte});
  ::shutdown(fd, SHUT_WR);
}

// A signal to the process interrupts its first thread, however busy the others are with calls that
// sleep: who waits for it there (Python runs its handlers there) would wait for ever.
void first_thread_is_interrupted() {
  struct sigaction action {};
  action.sa_handler = count_where;
  ::sigaction(SIGUSR1, &action, nullptr);
  constexpr int kSignals = 300;
  std::atomic<bool> ends{false};
  std::atomic<int> started{0};  // a thread that starts changes its mask, too
  std::vector<Pair> pairs(4);
  std::vector<std::thread> threads;
  for (Pair& p : pairs) {
    p = make_pair();
    for (const int fd : {p.client, p.server})
      threads.emplace_back([fd, &ends, &started] {
        ++started;
        toss(fd, ends);
      });
    write_all(p.client, {'x'});
  }
  threads.emplace_back([first = ::getpid(), &started] {
    while (started < 8)
      pause_ms(1);
    for (int sent = 0; sent < kSignals; ++sent) {
      while (!is_asleep(first))
        std::this_thread::yield();
      ::kill(first, SIGUSR1);
      while (signals == sent)
        std::this_thread::yield();
    }
  });
  while (signals < kSignals)
    pause_ms(1);
  ends = true;
  for (auto& thread : threads)
    thread.join();
  say("signals", signals.load());
  say("elsewhere", elsewhere.load());
  for (const Pair& p : pairs)
    close_pair(p);
}

void broken_pipe() {
  handle(SIGPIPE, 0);
  const Pair p = make_pair();
  const ::linger hard{1, 0};
  ::setsockopt(p.client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(p.client);
  pause_ms(50);
  char byte = 0;
  say("recv", ::recv(p.server, &byte, 1, 0));
  say("recv again", ::recv(p.server, &byte, 1, 0));
  say("send nosignal", ::send(p.server, &byte, 1, MSG_NOSIGNAL));
  say("signals", signals.load());
  say("write", ::write(p.server, &byte, 1));
  say("signals", signals.load());
  say("shutdown", ::shutdown(p.server, SHUT_WR));
  ::close(p.server);
}

void reset_tells_so_error() {
  const Pair p = make_pair();
  const ::linger hard{1, 0};
  ::setsockopt(p.client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(p.client);
  pause_ms(50);
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(p.server, SOL_SOCKET, SO_ERROR, &error, &length);
  say("error", errno_name(error));
  ::getsockopt(p.server, SOL_SOCKET, SO_ERROR, &error, &length);
  say("error again", errno_name(error));
  char byte = 0;
  say("recv", ::recv(p.server, &byte, 1, 0));
  ::close(p.server);
}

void close_with_unread() {
  const Pair p = make_pair();
  write_all(p.client, pattern(100));
  wait_readable(p.server, 2000);
  ::close(p.server);
  pause_ms(50);
  char byte = 0;
  say("recv", ::recv(p.client, &byte, 1, 0));
  say("recv again", ::recv(p.client, &byte, 1, 0));
  ::close(p.client);
}

void read_after_close() {
  const Pair p = make_pair();
  write_all(p.client, pattern(20000));
  ::close(p.client);
  pause_ms(50);
  std::uint64_t total = 0;
  say("pattern", read_pattern_to_end(p.server, total) ? 1 : 0);
  say("total", static_cast<long>(total));
  ::close(p.server);
}

void shutdown_read() {
  const Pair p = make_pair();
  write_all(p.client, pattern(10));
  wait_readable(p.server, 2000);
  say("shutdown", ::shutdown(p.server, SHUT_RD));
  char buffer[64];
  say("what was there", ::recv(p.server, buffer, sizeof buffer, 0));
  say("then", ::recv(p.server, buffer, sizeof buffer, 0));
  write_all(p.server, pattern(10));
  say("other direction", ::recv(p.client, buffer, sizeof buffer, 0));
  close_pair(p);
}

void back_pressure() {
  constexpr std::size_t kTotal = 24 * 1024 * 1024;
  const Pair p = make_pair();
  std::uint64_t totals[2] = {0, 0};
  bool good[2] = {false, false};
  const auto send = [](int fd) {
    for (std::size_t at = 0; at < kTotal; at += 1 << 20)
      write_all(fd, pattern(1 << 20, at));
    ::shutdown(fd, SHUT_WR);
  };
  std::thread a(send, p.client);
  std::thread b(send, p.server);
  std::thread c([&] { good[0] = read_pattern_to_end(p.client, totals[0]); });
  std::thread d([&] { good[1] = read_pattern_to_end(p.server, totals[1]); });
  for (std::thread* t : {&a, &b, &c, &d})
    t->join();
  say("client", good[0] && totals[0] == kTotal ? 1 : 0);
  say("server", good[1] && totals[1] == kTotal ? 1 : 0);
  close_pair(p);
}

void many_threads_many_pairs() {
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    const Pair p = make_pair();
    threads.emplace_back([p] {
      for (std::size_t at = 0; at < 2'000'000; at += 20'000)
        write_all(p.client, pattern(20'000, at));
      ::close(p.client);
    });
    threads.emplace_back([p, &good] {
      std::uint64_t total = 0;
      if (read_pattern_to_end(p.server, total) && total == 2'000'000) good.fetch_add(1);
      ::close(p.server);
    });
  }
  for (auto& t : threads)
    t.join();
  say("good", good.load());
}

// Several readers and writers share one connection: every byte goes to exactly one reader.
void threads_share_a_connection() {
  const Pair p = make_pair();
  std::atomic<std::uint64_t> sum{0};
  std::atomic<std::uint64_t> count{0};
  std::vector<std::thread> readers;
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&p] { write_all(p.client, pattern(500'000)); });
    readers.emplace_back([&] {
      unsigned char buffer[3000];
      for (ssize_t n = 0; (n = ::read(p.server, buffer, sizeof buffer)) > 0;) {
        count.fetch_add(static_cast<std::uint64_t>(n));
        for (ssize_t k = 0; k < n; ++k)
          sum.fetch_add(buffer[k], std::memory_order_relaxed);
      }
    });
  }
  for (auto& t : writers)
    t.join();
  ::shutdown(p.client, SHUT_WR);
  for (auto& t : readers)
    t.join();
  std::uint64_t expected = 0;
  for (const char byte : pattern(500'000))
    expected += 4 * static_cast<unsigned char>(byte);
  say("count", static_cast<long>(count.load()));
  say("sum", sum.load() == expected ? 1 : 0);
  close_pair(p);
}

int make_file(const std::vector<char>& bytes) {
  FILE* file = std::tmpfile();
  const int fd = ::dup(::fileno(file));
  std::fclose(file);
  write_all(fd, bytes);
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

void send_files() {
  const Pair p = make_pair();
  constexpr std::size_t kSize = 3'000'000;
  const int file = make_file(pattern(kSize));
  std::uint64_t total = 0;
  bool good = false;
  std::thread reader([&] { good = read_pattern_to_end(p.server, total); });
  off_t offset = 0;
  say("blocking", ::sendfile(p.client, file, &offset, 1'000'000));
  say("offset", offset);
  set_nonblocking(p.client);
  ::lseek(file, offset, SEEK_SET);
  long sent = offset;
  for (int idle = 0; sent < static_cast<long>(kSize) && idle < 4000;) {
    const ssize_t n = ::sendfile(p.client, file, nullptr, kSize);
    if (n > 0) sent += n;
    if (n < 0) {
      ++idle;
      pause_ms(1);
    }
  }
  say("sent", sent);
  say("position", ::lseek(file, 0, SEEK_CUR));
  say("at the end", ::sendfile(p.client, file, nullptr, 100));
  ::shutdown(p.client, SHUT_WR);
  reader.join();
  say("good", good && total == kSize ? 1 : 0);
  ::close(file);
  close_pair(p);
}

void queue_sizes() {
  const Pair p = make_pair();
  int n = -1;
  say("nothing", ::ioctl(p.server, FIONREAD, &n));
  say("bytes", n);
  write_all(p.client, pattern(1234));
  pause_ms(50);
  say("some", ::ioctl(p.server, FIONREAD, &n));
  say("bytes", n);
  for (int i = 0; i < 100; ++i) {
    ::ioctl(p.client, SIOCOUTQ, &n);
    if (n == 0) break;
    pause_ms(10);
  }
  say("sent", n);
  say("mark", ::ioctl(p.server, SIOCATMARK, &n));
  say("at mark", n);
  close_pair(p);
}

void options() {
  const Pair p = make_pair();
  const int on = 1;
  int value = 0;
  socklen_t length = sizeof value;
  for (const int name : {SO_KEEPALIVE, SO_RCVLOWAT}) {
    say("set", ::setsockopt(p.client, SOL_SOCKET, name, &on, sizeof on));
    say("get", ::getsockopt(p.client, SOL_SOCKET, name, &value, &length));
    say("value", value);
  }
  for (const int name : {TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE}) {
    say("set", ::setsockopt(p.client, IPPROTO_TCP, name, &on, sizeof on));
    say("get", ::getsockopt(p.client, IPPROTO_TCP, name, &value, &length));
    say("value", value);
  }
  const int off = 0;
  ::setsockopt(p.client, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
  say("wrong length", ::setsockopt(p.client, IPPROTO_TCP, TCP_NODELAY, &on, 1));
  say("unknown", ::setsockopt(p.client, IPPROTO_TCP, 9999, &on, sizeof on));
  ::setsockopt(p.client, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof off);
  ::getsockopt(p.client, SOL_SOCKET, SO_KEEPALIVE, &value, &length);
  say("keepalive off", value);
  ::getsockopt(p.client, SOL_SOCKET, SO_TYPE, &value, &length);
  say("type", value == SOCK_STREAM ? 1 : 0);
  write_all(p.client, pattern(100));
  say("still works", read_exactly(p.server, 100) == pattern(100) ? 1 : 0);
  close_pair(p);
}

void low_water() {
  const Pair p = make_pair();
  const int low_at = 100;
  ::setsockopt(p.server, SOL_SOCKET, SO_RCVLOWAT, &low_at, sizeof low_at);
  write_all(p.client, pattern(60));
  pause_ms(30);
  say("below", wait_readable(p.server, 0) ? 1 : 0);
  std::thread late([&p] {
    pause_ms(50);
    write_all(p.client, pattern(60, 60));
  });
  char buffer[500];
  say("above", wait_readable(p.server, 5000) ? 1 : 0);
  say("recv", ::recv(p.server, buffer, sizeof buffer, 0));
  late.join();
  write_all(p.client, pattern(5));
  say("asks less", ::recv(p.server, buffer, 5, 0));
  close_pair(p);
}

void urgent() {
  const Pair p = make_pair();
  write_all(p.client, pattern(10));
  say("oob", ::send(p.client, "!", 1, MSG_OOB));
  pause_ms(50);
  char byte = 0;
  say("recv oob", ::recv(p.server, &byte, 1, MSG_OOB));
  say("was", std::string(1, byte));
  say("stream", read_exactly(p.server, 10) == pattern(10) ? 1 : 0);
  say("none", ::recv(p.server, &byte, 1, MSG_OOB));
  close_pair(p);
}

}  // namespace

const std::vector<Scenario>& io_scenarios() {
  static const std::vector<Scenario> kList{
      {"blocking_echo", blocking_echo},
      {"nonblocking", nonblocking},
      {"half_close", half_close},
      {"peek_and_flags", peek_and_flags},
      {"vectors_and_messages", vectors_and_messages},
      {"timeouts", timeouts},
      {"interrupted", interrupted},
      {"first_thread_is_interrupted", first_thread_is_interrupted},
      {"broken_pipe", broken_pipe},
      {"reset_tells_so_error", reset_tells_so_error},
      {"close_with_unread", close_with_unread},
      {"read_after_close", read_after_close},
      {"shutdown_read", shutdown_read},
      {"back_pressure", back_pressure},
      {"many_threads_many_pairs", many_threads_many_pairs},
      {"threads_share_a_connection", threads_share_a_connection},
      {"send_files", send_files},
      {"queue_sizes", queue_sizes},
      {"options", options},
      {"low_water", low_water},
      {"urgent", urgent},
  };
  return kList;
}

}  // namespace snp::test
