// Runs one scenario on the kernel and under the switch with the fake snpd, and compares what the
// program saw: switch_differential LIBSNP SCENARIOS NAME [SEED]. Modes: without snpd, offloaded to
// an engine, local, moved at random between host and target, and local with an snpd that vanishes.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snp/base/assert.h"
#include "snp/base/unique_fd.h"
#include "snp/chimney/reason.h"
#include "snp/switch/connection.h"

#include "test/programs/fake_snpd.h"

// The switch gives reasons by number: it links nothing of chimney.
using snp::chimney::Reason;
using snp::switch_::SlotAnswer;
using snp::switch_::Why;
static_assert(static_cast<int>(Why::kSharedDescriptor) ==
              static_cast<int>(Reason::kSharedDescriptor));
static_assert(static_cast<int>(Why::kUnsupportedCall) ==
              static_cast<int>(Reason::kUnsupportedCall));
static_assert(static_cast<int>(Why::kTooManyWaiters) == static_cast<int>(Reason::kWaiters));
static_assert(static_cast<int>(SlotAnswer::kNotAskedYet) == static_cast<int>(Reason::kNotAskedYet));
static_assert(static_cast<int>(SlotAnswer::kTargetFull) == static_cast<int>(Reason::kTargetFull));
static_assert(static_cast<int>(SlotAnswer::kArenaFull) == static_cast<int>(Reason::kArenaFull));
static_assert(static_cast<int>(SlotAnswer::kBusy) == static_cast<int>(Reason::kBusy));
static_assert(static_cast<int>(SlotAnswer::kNotEarned) == static_cast<int>(Reason::kNotEarned));
static_assert(static_cast<int>(SlotAnswer::kIdle) == static_cast<int>(Reason::kIdle));

namespace {

struct Outcome {
  std::string transcript;
  double seconds = 0;
  int status = 0;
};

// `preload` empty: on the kernel alone.
Outcome run(const std::string& program, const std::string& scenario, const std::string& preload,
            const std::string& control_name) {
  const auto start = std::chrono::steady_clock::now();
  int pipes[2];
  SNP_ASSERT(::pipe2(pipes, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipes[1], 1);
    if (!preload.empty()) ::setenv("LD_PRELOAD", preload.c_str(), 1);
    ::setenv("SNP_CONTROL_SOCKET", control_name.c_str(), 1);
    ::execl(program.c_str(), program.c_str(), scenario.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(pipes[1]);
  const snp::UniqueFd output(pipes[0]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(output.get(), buffer, sizeof buffer)) > 0;)
    outcome.transcript.append(buffer, static_cast<std::size_t>(n));
  ::waitpid(child, &outcome.status, 0);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

bool compare(const char* mode, const Outcome& kernel, const Outcome& switched) {
  std::printf("%s: %.1f s, kernel %.1f s\n", mode, switched.seconds, kernel.seconds);
  if (kernel.status == switched.status && kernel.transcript == switched.transcript) return true;
  std::printf("--- %s differs from the kernel (wait status %#x)\n%s--- kernel (%#x)\n%s", mode,
              static_cast<unsigned>(switched.status), switched.transcript.c_str(),
              static_cast<unsigned>(kernel.status), kernel.transcript.c_str());
  return false;
}

// Does something of it happen in the host only, so that connections must go there on the way?
bool needs_snpd(const std::string& scenario) {
  for (const char* name :
       {"urgent", "splice_goes_home", "standard_io", "passed_to_another_process", "exec_inherits",
        "vfork_and_exec", "fork_", "writes_before_reads", "epoll_edge", "epoll_nested"})
    if (scenario.rfind(name, 0) == 0) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string library = argv[1];
  const std::string program = argv[2];
  const std::string scenario = argv[3];
  const std::uint64_t seed =
      argc > 4 ? std::strtoull(argv[4], nullptr, 10) : std::uint64_t{std::random_device{}()};
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  const std::string name = "snp.test." + std::to_string(::getpid());

  const Outcome kernel = run(program, scenario, "", name);
  if (kernel.status != 0 || kernel.transcript.empty()) {
    std::printf("the scenario fails on the kernel: %#x\n%s", static_cast<unsigned>(kernel.status),
                kernel.transcript.c_str());
    return 1;
  }
  bool good = compare("without snpd", kernel, run(program, scenario, library, name));
  // What a process that dies leaves behind, the fake's engine does not know.
  const bool only_local = scenario.rfind("peer_killed", 0) == 0;
  for (const bool is_local : {false, true}) {
    if (only_local && !is_local) continue;
    const snp::test::FakeSnpd snpd({.control_name = name, .is_local = is_local, .seed = seed});
    const char* mode = is_local ? "local" : "offloaded";
    // On a busy machine a short program is over before the fake has looked at it; or the hand-over
    // comes late, between two looks of the program, and tells an edge once more.
    const int most_wrong = scenario == "epoll_edge" ? 3 : 1;
    int wrong = 0;
    for (int tries = 0; tries < 20 && wrong < most_wrong; ++tries) {
      const bool is_same = compare(mode, kernel, run(program, scenario, library, name));
      if (is_same && snpd.offloads() != 0) break;
      wrong += is_same ? 0 : 1;
    }
    good &= wrong < most_wrong;
    if (snpd.offloads() == 0) {
      std::printf("nothing was offloaded: %s\n", mode);
      good = false;
    }
  }
  // A hand-over may tell an edge once more: edges are counted only where connections stay.
  for (const bool is_local : {false, true}) {
    if (scenario == "epoll_edge") break;
    if (only_local && !is_local) continue;
    const snp::test::FakeSnpd snpd(
        {.control_name = name, .is_local = is_local, .moves_at_random = true, .seed = seed});
    const char* mode = is_local ? "local, moved at random" : "moved at random";
    good &= compare(mode, kernel, run(program, scenario, library, name));
    std::printf("%s: %llu offloads, %llu uploads\n", mode,
                static_cast<unsigned long long>(snpd.offloads()),
                static_cast<unsigned long long>(snpd.uploads()));
  }
  if (!needs_snpd(scenario)) {
    snp::test::FakeSnpd snpd({.control_name = name, .is_local = true, .seed = seed});
    std::thread killer([&snpd, seed] {
      ::usleep(static_cast<useconds_t>(15'000 + seed % 60'000));
      snpd.vanish();
    });
    good &= compare("local, snpd vanishes", kernel, run(program, scenario, library, name));
    killer.join();
  }
  return good ? 0 : 1;
}
