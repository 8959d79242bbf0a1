#include "snp/cli/run.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snp/base/own_folder.h"
#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/ipc/message_socket.h"

namespace snp::cli {
namespace {

Result<std::string> find_library() {
  const std::string folder = own_folder();
  for (const std::string& path : {folder + "/../lib/libsnp.so", folder + "/../lib/snp/libsnp.so",
                                  std::string("/usr/lib/snp/libsnp.so")}) {
    std::array<char, 4096> real{};
    // The program may change its folder before it starts others: no relative path.
    if (::realpath(path.c_str(), real.data()) != nullptr) return std::string(real.data());
  }
  return fail(Errc::kNotFound, "libsnp.so is neither beside snp nor in /usr/lib/snp; install it");
}

void preload(const std::string& library) {
  // One thread only, before exec.
  const char* before = std::getenv("LD_PRELOAD");  // NOLINT(concurrency-mt-unsafe)
  std::string value = library;
  if (before != nullptr && before[0] != '\0') value += std::string(":") + before;
  ::setenv("LD_PRELOAD", value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
}

[[noreturn]] void become_snpd(pid_t program, int ready_fd) {
  ::setsid();
  const std::string path = own_folder() + "/snpd";
  const std::string pid = std::to_string(program);
  const std::string ready = std::to_string(ready_fd);
  ::fcntl(ready_fd, F_SETFD, 0);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(null, 1);
  ::execl(path.c_str(), "snpd", "--private", pid.c_str(), "--ready-fd", ready.c_str(),
          "--log-level", "warning", nullptr);
  std::fprintf(stderr, "snp: cannot start %s: %s\n", path.c_str(), ::strerrordesc_np(errno));
  ::_exit(1);
}

// A snpd that ends with this process (which becomes the program) and its offspring. Not our child:
// the program must not find a child that it did not start.
bool start_private_snpd() {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return false;
  UniqueFd ready(pipe[0]);
  UniqueFd ready_writer(pipe[1]);
  const pid_t self = ::getpid();
  const pid_t middle = ::fork();
  if (middle < 0) return false;
  if (middle == 0) {
    if (::fork() == 0) become_snpd(self, ready_writer.get());
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(middle, &status, 0);
  ready_writer.reset();
  char byte = 0;
  return ::read(ready.get(), &byte, 1) == 1;
}

bool is_served() {
  return ipc::connect_control().has_value();
}

}  // namespace

int run_program(char** program) {
  bool is_accelerated = is_served();
  if (!is_accelerated && ::geteuid() == 0) {
    is_accelerated = start_private_snpd();
    if (!is_accelerated)
      std::fprintf(stderr, "snp: snpd did not start; %s runs without it\n", program[0]);
  } else if (!is_accelerated) {
    std::fprintf(stderr,
                 "snp: no snpd serves this network namespace and only root may start one; "
                 "%s runs without it\n",
                 program[0]);
  }
  if (is_accelerated) {
    const auto library = find_library();
    if (library)
      preload(*library);
    else
      std::fprintf(stderr, "snp: %s; %s runs without it\n", library.error().message.c_str(),
                   program[0]);
  }
  ::execvp(program[0], program);
  std::fprintf(stderr, "snp: cannot run %s: %s\n", program[0], ::strerrordesc_np(errno));
  return 1;
}

}  // namespace snp::cli
