// Descriptors that multiply and cross processes.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/programs/scenario.h"

namespace snp::test {
namespace {

void say_exit(const char* name, pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  say(name, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

bool is_echoed(const Pair& p) {
  write_all(p.client, pattern(300));
  if (read_exactly(p.server, 300) != pattern(300)) return false;
  write_all(p.server, pattern(400));
  return read_exactly(p.client, 400) == pattern(400);
}

void duplicates() {
  const Pair p = make_pair();
  const int second = ::dup(p.client);
  ::close(p.client);
  say("through the duplicate", is_echoed({second, p.server}) ? 1 : 0);
  const int third = ::fcntl(second, F_DUPFD_CLOEXEC, 100);
  ::close(second);
  say("through the third", is_echoed({third, p.server}) ? 1 : 0);
  const Pair q = make_pair();
  say("over another", ::dup2(third, q.client) == q.client ? 1 : 0);
  char byte = 0;
  say("the other is closed", ::read(q.server, &byte, 1));
  say("through dup2", is_echoed({q.client, p.server}) ? 1 : 0);
  say("bad", ::dup2(1000, third));
  say("still there", is_echoed({third, p.server}) ? 1 : 0);
  ::close(third);
  ::close(q.client);
  say("now it ends", ::read(p.server, &byte, 1));
  ::close(p.server);
  ::close(q.server);
}

void close_ranges() {
  const Pair p = make_pair();
  const Pair q = make_pair();
  const int high = ::fcntl(p.client, F_DUPFD_CLOEXEC, 400);
  ::close(p.client);
  say("close_range", ::close_range(static_cast<unsigned>(high), ~0u, 0));
  char byte = 0;
  say("ended", ::read(p.server, &byte, 1));
  say("others live", is_echoed(q) ? 1 : 0);
  const Pair r = make_pair();
  say("new ones too", is_echoed(r) ? 1 : 0);
  for (int fd = 500; fd < 1024; ++fd)
    ::close(fd);
  say("after a loop of close", is_echoed(q) && is_echoed(r) ? 1 : 0);
  ::close(p.server);
  close_pair(q);
  close_pair(r);
}

// The parent goes on as if nothing had happened; the child never touches.
void fork_child_does_not_touch() {
  const Pair p = make_pair();
  const pid_t child = ::fork();
  if (child == 0) {
    pause_ms(100);
    ::_exit(0);
  }
  say("parent", is_echoed(p) ? 1 : 0);
  say_exit("child", child);
  say("parent", is_echoed(p) ? 1 : 0);
  close_pair(p);
}

void fork_child_takes_over() {
  const Pair p = make_pair();
  write_all(p.client, pattern(100));
  pause_ms(20);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(p.client);
    const bool good = read_exactly(p.server, 100) == pattern(100);
    write_all(p.server, pattern(200));
    ::_exit(good ? 0 : 1);
  }
  ::close(p.server);
  say("from the child", read_exactly(p.client, 200) == pattern(200) ? 1 : 0);
  say_exit("child", child);
  char byte = 0;
  say("end when the child is gone", ::read(p.client, &byte, 1));
  ::close(p.client);
}

// The parent's close must not end the connection while a child has it.
void fork_parent_closes() {
  const Pair p = make_pair();
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(p.client);
    pause_ms(150);
    write_all(p.server, pattern(50));
    ::_exit(0);
  }
  ::close(p.server);
  say("later", read_exactly(p.client, 50) == pattern(50) ? 1 : 0);
  say_exit("child", child);
  ::close(p.client);
}

void fork_both_use() {
  const Pair p = make_pair();
  const pid_t child = ::fork();
  if (child == 0) {
    write_all(p.client, pattern(1000));
    ::_exit(0);
  }
  say("child's bytes", read_exactly(p.server, 1000) == pattern(1000) ? 1 : 0);
  say_exit("child", child);
  say("parent's", is_echoed(p) ? 1 : 0);
  close_pair(p);
}

void fork_child_makes_its_own() {
  const Pair p = make_pair();
  const pid_t child = ::fork();
  if (child == 0) {
    const Pair own = make_pair();
    const bool good = is_echoed(own);
    close_pair(own);
    ::_exit(good ? 0 : 1);
  }
  say_exit("child", child);
  say("parent", is_echoed(p) ? 1 : 0);
  close_pair(p);
}

void fork_child_waits_on_epoll() {
  const Pair p = make_pair();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 77;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, p.server, &event);
  int pipes[2];
  if (::pipe2(pipes, O_CLOEXEC) != 0) return;
  const pid_t child = ::fork();
  if (child == 0) {
    write_all(pipes[1], pattern(1));
    epoll_event got{};
    const int n = ::epoll_wait(epoll, &got, 1, 5000);
    const bool good = n == 1 && got.data.u64 == 77 && (got.events & EPOLLIN) != 0 &&
                      read_exactly(p.server, 10) == pattern(10);
    ::_exit(good ? 0 : 1);
  }
  read_exactly(pipes[0], 1);
  pause_ms(100);
  // The parent is in epoll_wait too: it puts registrations back where the child looks.
  std::thread writer([&p] {
    pause_ms(100);
    write_all(p.client, pattern(10));
  });
  epoll_event got{};
  ::epoll_wait(epoll, &got, 1, 50);
  writer.join();
  say_exit("child", child);
  close_pair(p);
  ::close(epoll);
}

void exec_inherits() {
  const Pair p = make_pair();
  const int inherited = ::dup(p.client);  // without close-on-exec
  const std::string command = "echo hello >&" + std::to_string(inherited);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  say("said", std::string(read_exactly(p.server, 5).data(), 5));
  say_exit("child", child);
  say("system", ::system(command.c_str()));
  read_exactly(p.server, 7);
  char* argv[] = {const_cast<char*>("sh"), const_cast<char*>("-c"), const_cast<char*>("echo there"),
                  nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, p.client, 1);
  pid_t spawned = 0;
  say("spawn", ::posix_spawn(&spawned, "/bin/sh", &actions, nullptr, argv, environ));
  ::posix_spawn_file_actions_destroy(&actions);
  say("said", std::string(read_exactly(p.server, 5).data(), 5));
  say_exit("spawned", spawned);
  say("parent", ::close(inherited));
  close_pair(p);
}

void vfork_and_exec() {
  const Pair p = make_pair();
  const pid_t child = ::vfork();
  if (child == 0) {
    ::close(p.client);
    ::dup2(p.server, 50);
    ::execl("/bin/true", "true", nullptr);
    ::_exit(127);
  }
  say_exit("child", child);
  say("parent", is_echoed(p) ? 1 : 0);
  close_pair(p);
}

void passed_to_another_process() {
  const Pair p = make_pair();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(p.client);
    ::close(p.server);
    char byte = 0;
    iovec iov{&byte, 1};
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    if (::recvmsg(ends[1], &message, 0) != 1) ::_exit(2);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    const bool good = read_exactly(fd, 10) == pattern(10);
    write_all(fd, pattern(20));
    ::_exit(good ? 0 : 1);
  }
  write_all(p.client, pattern(10));
  pause_ms(30);
  char byte = 'f';
  iovec iov{&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(c), &p.server, sizeof p.server);
  say("passed", ::sendmsg(ends[0], &message, 0));
  ::close(p.server);
  say("answer", read_exactly(p.client, 20) == pattern(20) ? 1 : 0);
  say_exit("child", child);
  ::close(p.client);
  ::close(ends[0]);
  ::close(ends[1]);
}

void standard_io() {
  const Pair p = make_pair();
  FILE* file = ::fdopen(p.client, "r+");
  write_all(p.server, {'l', 'i', 'n', 'e', '\n'});
  char line[20] = {};
  say("gets", std::fgets(line, sizeof line, file) != nullptr ? line : "nothing");
  std::fputs("answer\n", file);
  std::fflush(file);
  say("answer", std::string(read_exactly(p.server, 7).data(), 6));
  std::fclose(file);
  char byte = 0;
  say("end", ::read(p.server, &byte, 1));
  ::close(p.server);
  const Pair again = make_pair();
  say("number used again", is_echoed(again) ? 1 : 0);
  close_pair(again);
}

void splice_goes_home() {
  const Pair p = make_pair();
  int pipes[2];
  if (::pipe2(pipes, O_CLOEXEC) != 0) return;
  write_all(p.client, pattern(100));
  pause_ms(30);
  say("splice", ::splice(p.server, nullptr, pipes[1], nullptr, 100, 0));
  say("equal", read_exactly(pipes[0], 100) == pattern(100) ? 1 : 0);
  say("after", is_echoed(p) ? 1 : 0);
  close_pair(p);
  ::close(pipes[0]);
  ::close(pipes[1]);
}

// Many short connections: slots, descriptors and registrations are given back.
void many_short_connections() {
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  int good = 0;
  for (int i = 0; i < 3000; ++i) {
    const int client = connect_to(port);
    const int server = ::accept(listener, nullptr, nullptr);
    write_all(client, pattern(20));
    good += read_exactly(server, 20) == pattern(20) ? 1 : 0;
    ::close(client);
    char byte = 0;
    good += ::read(server, &byte, 1) == 0 ? 1 : 0;
    ::close(server);
  }
  say("good", good);
  ::close(listener);
}

}  // namespace

const std::vector<Scenario>& process_scenarios() {
  static const std::vector<Scenario> kList{
      {"duplicates", duplicates},
      {"close_ranges", close_ranges},
      {"fork_child_does_not_touch", fork_child_does_not_touch},
      {"fork_child_takes_over", fork_child_takes_over},
      {"fork_parent_closes", fork_parent_closes},
      {"fork_both_use", fork_both_use},
      {"fork_child_makes_its_own", fork_child_makes_its_own},
      {"fork_child_waits_on_epoll", fork_child_waits_on_epoll},
      {"exec_inherits", exec_inherits},
      {"vfork_and_exec", vfork_and_exec},
      {"passed_to_another_process", passed_to_another_process},
      {"standard_io", standard_io},
      {"splice_goes_home", splice_goes_home},
      {"many_short_connections", many_short_connections},
  };
  return kList;
}

}  // namespace snp::test
