// Small tools for the scenarios: pairs of connected sockets and a transcript of what happened. A
// scenario prints only what must be the same on the kernel and on the rings.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace snp::test {

struct Pair {
  int client = -1;
  int server = -1;
};

// A listening socket on 127.0.0.1; the port is in network order.
int listen_on_loopback(std::uint16_t& port);
int connect_to(std::uint16_t port);
// Connected through loopback; both sides have exchanged a byte and had time to be offloaded.
Pair make_pair();
void close_pair(const Pair& pair);

// "name: result" with the name of errno when the result is negative.
void say(const char* name, long result);
void say(const char* name, const std::string& text);
void say_events(const char* name, std::uint32_t events);
std::string errno_name(int error);

void set_nonblocking(int fd);
void pause_ms(int ms);  // for what the other side needs time
bool wait_readable(int fd, int ms);

// Bytes that depend on their position only.
std::vector<char> pattern(std::size_t length, std::uint64_t from = 0);
void write_all(int fd, const std::vector<char>& bytes);
std::vector<char> read_exactly(int fd, std::size_t length);
// Reads until the end of file; false when a byte differs from pattern(). Adds to `total`.
bool read_pattern_to_end(int fd, std::uint64_t& total);

struct Scenario {
  const char* name;
  void (*run)();
};
const std::vector<Scenario>& io_scenarios();
const std::vector<Scenario>& event_scenarios();
const std::vector<Scenario>& process_scenarios();
const std::vector<Scenario>& local_scenarios();

// The other process of a scenario; its exit status.
int play_peer(const std::string& role, std::uint16_t port);

}  // namespace snp::test
