// The contract, over the backends that are always there; and what only they promise.
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "snp/netdma/cpu_channel.h"
#include "snp/netdma/thread_channel.h"

#include "test/support/channel_conformance.h"

namespace snp::test {
namespace {

struct CpuLab {
  static constexpr bool kCanRemove = false;
  netdma::Channel& channel() { return *channel_; }
  void step() {}
  void remove() {}
  std::unique_ptr<netdma::Channel> channel_ = netdma::open_cpu_channel({64, 10000});
};

template <std::int64_t kSpinUs>
struct ThreadLab {
  static constexpr bool kCanRemove = false;
  ThreadLab() {
    netdma::ThreadOptions options;
    options.depth = 32;
    options.spin = microseconds(kSpinUs);
    options.streaming_from = 20000;
    channel_ = std::move(*netdma::open_thread_channel(options));
  }
  netdma::Channel& channel() { return *channel_; }
  void step() { std::this_thread::yield(); }
  void remove() {}
  std::unique_ptr<netdma::Channel> channel_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Cpu, ChannelConformance, CpuLab);
INSTANTIATE_TYPED_TEST_SUITE_P(Thread, ChannelConformance, ThreadLab<50>);
INSTANTIATE_TYPED_TEST_SUITE_P(ThreadThatAlwaysSleeps, ChannelConformance, ThreadLab<0>);

// An engine in software must not cost what an engine in hardware does not.
TEST(ThreadChannel, AnIdleOneUsesNoCpu) {
  ThreadLab<50> lab;
  std::vector<std::byte> from(4096), to(4096);
  const netdma::Transfer transfer{to.data(), from.data(), 4096, 0, 1};
  ASSERT_EQ(lab.channel().submit({&transfer, 1}), 1u);
  std::array<netdma::Outcome, 1> outcome;
  while (lab.channel().reap(outcome) == 0)
    lab.step();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the spin is over
  const auto used = [] {
    timespec ts{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return seconds(ts.tv_sec) + Duration(ts.tv_nsec);
  };
  const Duration before = used();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_LT(used() - before, milliseconds(4));  // 1 %, this thread's own waking included
}

// The CPUs on which the thread of this name may run.
cpu_set_t cpus_of(const std::string& name) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::getline(std::ifstream(task.path() / "comm"), comm);
    if (comm == name) ::sched_getaffinity(std::stoi(task.path().filename()), sizeof cpus, &cpus);
  }
  return cpus;
}

// The shard's CPU is the last where it should copy; and a single one is better than none.
TEST(ThreadChannel, KeepsAwayFromItsClientsCpu) {
  cpu_set_t all;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  netdma::ThreadOptions options;
  options.number = 4711;
  const auto channel = std::move(*netdma::open_thread_channel(options));
  std::vector<std::byte> from(64), to(64);
  const netdma::Transfer transfer{to.data(), from.data(), 64, 0, 1};
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    ASSERT_EQ(::sched_setaffinity(0, sizeof own, &own), 0);
    cpu_set_t expected = all;
    if (CPU_COUNT(&all) > 1) CPU_CLR(cpu, &expected);
    // The first may still be copied where it was.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    cpu_set_t found = cpus_of("snp-copy-4711");
    for (; !CPU_EQUAL(&found, &expected) && std::chrono::steady_clock::now() < give_up;
         found = cpus_of("snp-copy-4711")) {
      std::array<netdma::Outcome, 1> outcome;
      if (channel->submit({&transfer, 1}) == 0) break;
      while (channel->reap(outcome) == 0)
        std::this_thread::yield();
    }
    EXPECT_TRUE(CPU_EQUAL(&found, &expected)) << "CPU " << cpu;
  }
  ::sched_setaffinity(0, sizeof all, &all);
}

TEST(ThreadChannel, EndsWithTransfersOutstanding) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::byte> from(1 << 20), to(1 << 20);
    ThreadLab<0> lab;
    const netdma::Transfer transfer{to.data(), from.data(), 1 << 20, 0, 1};
    ASSERT_EQ(lab.channel().submit({&transfer, 1}), 1u);
  }
}

}  // namespace
}  // namespace snp::test
