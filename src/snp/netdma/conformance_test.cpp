// The contract, over the backends that are always there; and what only they promise.
#include <thread>

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
