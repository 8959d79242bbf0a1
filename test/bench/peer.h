// What the benchmark and torture programs share: plain kernel sockets, arguments, latencies.
// These programs know nothing of snp, on purpose; they include nothing of src/.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

namespace snp::peer {

// Says what failed (with errno when it is set) and ends the program with status 1.
[[noreturn]] void fail(const std::string& what);

inline std::uint64_t now_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

// User and system time of this process, all threads.
double cpu_seconds() noexcept;

// "PROGRAM positional... --name value...": every option takes a value.
class Arguments {
 public:
  Arguments(int argc, char** argv);
  [[nodiscard]] const std::string& positional(std::size_t index, const char* name) const;
  [[nodiscard]] std::string text(const std::string& name, const std::string& otherwise) const;
  [[nodiscard]] std::uint64_t number(const std::string& name, std::uint64_t otherwise) const;
  [[nodiscard]] double real(const std::string& name, double otherwise) const;

 private:
  std::vector<std::string> positional_;
  std::map<std::string, std::string> options_;
};

std::uint16_t port_of(const std::string& text);

// A listening socket on the wildcard address of both families.
int listen_on(std::uint16_t port, bool reuse_port = false);

// A connected blocking socket; Nagle off. Tries for two seconds, so that it may start first.
int connect_to(const std::string& host, std::uint16_t port);

void set_non_blocking(int fd);
void set_no_delay(int fd);

// A log-linear histogram of nanoseconds: 32 steps per power of two, about 3 % wide.
class Histogram {
 public:
  void add(std::uint64_t ns) noexcept;
  [[nodiscard]] double quantile_us(double q) const noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
  static constexpr unsigned kStepBits = 5;
  static std::size_t bucket_of(std::uint64_t ns) noexcept;
  static double middle_of(std::size_t bucket) noexcept;
  std::array<std::uint64_t, 64u << kStepBits> buckets_{};
  std::uint64_t count_ = 0;
};

}  // namespace snp::peer
