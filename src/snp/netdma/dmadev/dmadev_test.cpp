// DPDK's software device through the library that snpd loads; errors, fences and a full queue by
// taking the place of the driver's functions. No root, no huge pages.
#include "snp/netdma/dmadev.h"

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <pthread.h>
#include <rte_dmadev.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/netdma/measure.h"

#include "test/support/channel_conformance.h"

namespace snp::netdma {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kDevice[] = "dma_skeleton";
constexpr auto kLimit = std::chrono::seconds(20);

std::unique_ptr<Channel> open(std::uint32_t depth = 64) {
  auto channel = open_dmadev({kDevice, depth});
  if (!channel) throw std::runtime_error(channel.error().message);
  return std::move(*channel);
}

std::vector<Outcome> reap(Channel& channel) {
  std::array<Outcome, 64> outcomes;
  const std::size_t count = channel.reap(outcomes);
  return {outcomes.begin(), outcomes.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::vector<Outcome> reap_all(Channel& channel) {
  std::vector<Outcome> all;
  const auto start = std::chrono::steady_clock::now();
  while (channel.outstanding() != 0 && std::chrono::steady_clock::now() - start < kLimit) {
    for (const Outcome& outcome : reap(channel))
      all.push_back(outcome);
    std::this_thread::yield();
  }
  return all;
}

struct Pieces {
  explicit Pieces(std::size_t pieces, std::uint32_t size) : bytes(size) {
    source.resize(pieces * bytes);
    destination.resize(source.size());
    for (std::size_t i = 0; i < source.size(); ++i)
      source[i] = static_cast<std::byte>(i * 31 + i / 256 + 1);
    for (std::size_t i = 0; i < pieces; ++i)
      transfers.push_back({&destination[i * bytes], &source[i * bytes], bytes, 0, i});
  }
  [[nodiscard]] bool is_copied() const { return source == destination; }
  std::uint32_t bytes;
  std::vector<std::byte> source, destination;
  std::vector<Transfer> transfers;
};

MATCHER_P(HasContext, context, "") {
  return arg.context == static_cast<std::uint64_t>(context);
}

std::size_t submit_all(Channel& channel, std::span<const Transfer> transfers) {
  return channel.submit(transfers);
}

TEST(Dmadev, CopiesInOrder) {
  const auto channel = open();
  EXPECT_EQ(channel->name(), "dmadev dma_skeleton");
  EXPECT_EQ(channel->capabilities().depth, 64u);
  EXPECT_TRUE(channel->capabilities().is_asynchronous);
  EXPECT_FALSE(channel->capabilities().needs_pinned_memory);
  Pieces pieces(64, 9000);
  EXPECT_EQ(submit_all(*channel, pieces.transfers), 64u);
  const auto outcomes = reap_all(*channel);
  ASSERT_EQ(outcomes.size(), 64u);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    EXPECT_EQ(outcomes[i].context, i);
    EXPECT_EQ(outcomes[i].status, Status::kDone);
  }
  EXPECT_TRUE(pieces.is_copied());
  EXPECT_EQ(channel->state(), ChannelState::kIdle);
}

// What each thread of the process but this one blocks.
std::vector<std::string> blocked_signals_of_others() {
  std::vector<std::string> lines;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() == std::to_string(::gettid())) continue;
    std::ifstream file(task.path() / "status");
    std::string line;
    while (std::getline(file, line))
      if (line.starts_with("SigBlk:")) lines.push_back(line);
  }
  return lines;
}

std::string line_of_status(const char* name) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with(name)) return line;
  return "";
}

std::uint64_t handled_signals() {
  return std::stoull(line_of_status("SigCgt:").substr(8), nullptr, 16);
}

// ctest gives each test a process: DPDK starts here.
TEST(Dmadev, LeavesTheProcessAlone) {
  cpu_set_t cpus_before, cpus;
  sigset_t blocked;
  ::pthread_getaffinity_np(::pthread_self(), sizeof cpus_before, &cpus_before);
  const std::uint64_t handled_before = handled_signals();
  const auto channel = open();
  ::pthread_getaffinity_np(::pthread_self(), sizeof cpus, &cpus);
  ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  EXPECT_TRUE(CPU_EQUAL(&cpus_before, &cpus));
  EXPECT_TRUE(::sigisemptyset(&blocked));
  // Those from 32 on are the C library's own, for pthread_cancel().
  EXPECT_EQ((handled_before ^ handled_signals()) & 0x7fffffff, 0u);
  const auto others = blocked_signals_of_others();
  EXPECT_GE(others.size(), 2u);
  for (const std::string& line : others)
    EXPECT_TRUE((std::stoull(line.substr(8), nullptr, 16) >> (SIGCHLD - 1)) & 1) << line;
}

TEST(Dmadev, ADeviceServesOneChannelAtATime) {
  auto channel = open();
  const auto second = open_dmadev({kDevice});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, "dmadev dma_skeleton: another shard has it; name one for each");
  channel.reset();
  EXPECT_NO_THROW(open());
}

TEST(Dmadev, ADeviceThatIsNotThereIsOneLine) {
  const auto channel = open_dmadev({"wq9.9"});
  ASSERT_FALSE(channel);
  EXPECT_THAT(channel.error().message, HasSubstr("dmadev wq9.9: DPDK knows no such device"));
  EXPECT_EQ(channel.error().message.find('\n'), std::string::npos);
}

// Stopped and started again under it; nothing is lost, nothing reported twice.
TEST(Dmadev, SuspendLosesNothing) {
  const auto channel = open();
  for (int round = 0; round < 20; ++round) {
    Pieces pieces(40, 20'000);
    std::span<const Transfer> transfers = pieces.transfers;
    ASSERT_EQ(submit_all(*channel, transfers.first(30)), 30u);
    std::vector<Outcome> outcomes = reap(*channel);
    ASSERT_TRUE(channel->suspend());
    EXPECT_EQ(channel->state(), ChannelState::kSuspended);
    EXPECT_EQ(submit_all(*channel, transfers.subspan(30)), 10u);
    ASSERT_TRUE(channel->resume());
    for (const Outcome& outcome : reap_all(*channel))
      outcomes.push_back(outcome);
    ASSERT_EQ(outcomes.size(), 40u);
    for (std::size_t i = 0; i < outcomes.size(); ++i)
      ASSERT_EQ(outcomes[i].context, i);
    ASSERT_TRUE(pieces.is_copied());
  }
}

TEST(Dmadev, AbortTouchesNothingAfterIt) {
  const auto channel = open();
  for (int round = 0; round < 20; ++round) {
    Pieces pieces(64, 60'000);
    submit_all(*channel, pieces.transfers);
    channel->abort();
    const std::vector<std::byte> then = pieces.destination;
    EXPECT_EQ(channel->state(), ChannelState::kHalted);
    EXPECT_EQ(submit_all(*channel, pieces.transfers), 0u);
    std::size_t number = 0;
    for (const Outcome& outcome : reap_all(*channel)) {
      EXPECT_EQ(outcome.context, number++);
      if (outcome.status != Status::kDone) continue;
      const std::size_t at = outcome.context * pieces.bytes;
      EXPECT_EQ(std::memcmp(&pieces.destination[at], &pieces.source[at], pieces.bytes), 0);
    }
    EXPECT_EQ(number, 64u);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(pieces.destination, then);
    ASSERT_TRUE(channel->reset());
    EXPECT_EQ(channel->state(), ChannelState::kArmed);
  }
  Pieces pieces(8, 1000);
  submit_all(*channel, pieces.transfers);
  EXPECT_EQ(reap_all(*channel).size(), 8u);
  EXPECT_TRUE(pieces.is_copied());
}

TEST(Dmadev, NullTransfersAreReportedInTheirTurn) {
  const auto channel = open();
  Pieces pieces(3, 5000);
  std::vector<Transfer> list = {{nullptr, nullptr, 0, transfer_flag::kNull, 100},
                                pieces.transfers[0],
                                pieces.transfers[1],
                                {nullptr, nullptr, 9, transfer_flag::kNull, 101},
                                pieces.transfers[2],
                                {nullptr, nullptr, 0, transfer_flag::kNull, 102}};
  EXPECT_EQ(submit_all(*channel, list), list.size());
  const auto outcomes = reap_all(*channel);
  EXPECT_THAT(outcomes, ElementsAre(HasContext(100), HasContext(0), HasContext(1), HasContext(101),
                                    HasContext(2), HasContext(102)));
  EXPECT_TRUE(pieces.is_copied());
}

TEST(Dmadev, TooLargeATransferIsNotTaken) {
  const auto channel = open();
  std::array<std::byte, 16> memory{};
  const Transfer transfer{memory.data(), memory.data(),
                          channel->capabilities().largest_transfer + 1, 0, 0};
  EXPECT_EQ(channel->submit({&transfer, 1}), 0u);
}

TEST(Dmadev, CanBeCalibrated) {
  const auto channel = open();
  const Figures figures = measure(*channel, {milliseconds(1), seconds(5)});
  EXPECT_EQ(figures.failure, "");
  EXPECT_GT(figures.sizes.back().engine_ns, 0);
}

// A driver of ours in the place of the device's.
class Driver {
 public:
  Driver() : object_(rte_dma_fp_objs[rte_dma_get_dev_id_by_name(kDevice)]), before_(object_) {
    state() = {};
    object_.copy = copy;
    object_.submit = [](void*, std::uint16_t) { return 0; };
    object_.completed = completed;
    object_.completed_status = completed_status;
  }
  ~Driver() { object_ = before_; }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  struct State {
    std::vector<std::uint64_t> flags;
    std::size_t room = 1000;
    std::vector<rte_dma_status_code> finished;  // to be reported
  };
  static State& state() {
    static State the_state;
    return the_state;
  }

 private:
  static int copy(void*, std::uint16_t, rte_iova_t, rte_iova_t, std::uint32_t,
                  std::uint64_t flags) {
    if (state().room == 0) return -ENOSPC;
    --state().room;
    state().flags.push_back(flags);
    return 0;
  }
  // As DPDK says: those that succeeded, up to the first that did not.
  static std::uint16_t completed(void*, std::uint16_t, std::uint16_t most, std::uint16_t*,
                                 bool* has_error) {
    auto& finished = state().finished;
    std::uint16_t count = 0;
    for (; count < most && !finished.empty(); finished.erase(finished.begin()), ++count) {
      *has_error = finished.front() != RTE_DMA_STATUS_SUCCESSFUL;
      if (*has_error) break;
    }
    return count;
  }
  static std::uint16_t completed_status(void*, std::uint16_t, std::uint16_t most, std::uint16_t*,
                                        rte_dma_status_code* codes) {
    auto& finished = state().finished;
    std::uint16_t count = 0;
    for (; count < most && !finished.empty(); finished.erase(finished.begin()))
      codes[count++] = finished.front();
    return count;
  }

  rte_dma_fp_object& object_;
  const rte_dma_fp_object before_;
};

constexpr auto kGood = RTE_DMA_STATUS_SUCCESSFUL;

TEST(Dmadev, AnErrorHaltsAndLeavesTheRestToTheClient) {
  const auto channel = open();
  {
    const Driver driver;
    Pieces pieces(5, 100);
    submit_all(*channel, pieces.transfers);
    Driver::state().finished = {kGood, kGood, RTE_DMA_STATUS_PAGE_FAULT, kGood};
    const auto outcomes = reap(*channel);
    ASSERT_EQ(outcomes.size(), 5u);
    EXPECT_EQ(outcomes[1].status, Status::kDone);
    EXPECT_EQ(outcomes[2].status, Status::kFailed);
    EXPECT_EQ(outcomes[3].status, Status::kAborted);
    EXPECT_EQ(channel->state(), ChannelState::kHalted);
    EXPECT_FALSE(channel->suspend());
    EXPECT_FALSE(channel->resume());
  }
  ASSERT_TRUE(channel->reset());
  Pieces pieces(5, 100);
  submit_all(*channel, pieces.transfers);
  EXPECT_EQ(reap_all(*channel).size(), 5u);
  EXPECT_TRUE(pieces.is_copied());
}

// SERIALIZE_TRANSFER holds the next one back; DPDK's flag makes one wait for those before it.
TEST(Dmadev, AFenceIsOnTheNextCopy) {
  const auto channel = open();
  const Driver driver;
  Pieces pieces(5, 100);
  pieces.transfers[1].flags = transfer_flag::kFence;
  pieces.transfers[3].flags = transfer_flag::kFence | transfer_flag::kNull;
  submit_all(*channel, std::span(pieces.transfers).first(2));
  submit_all(*channel, std::span(pieces.transfers).subspan(2));
  EXPECT_THAT(Driver::state().flags,
              ElementsAre(0, 0, RTE_DMA_OP_FLAG_FENCE, RTE_DMA_OP_FLAG_FENCE));
}

TEST(Dmadev, WhatTheDeviceHasNoRoomForWaits) {
  const auto channel = open();
  const Driver driver;
  Driver::state().room = 2;
  Pieces pieces(5, 100);
  EXPECT_EQ(submit_all(*channel, pieces.transfers), 5u);
  EXPECT_EQ(Driver::state().flags.size(), 2u);
  Driver::state().finished = {kGood, kGood};
  Driver::state().room = 2;
  EXPECT_THAT(reap(*channel), ElementsAre(HasContext(0), HasContext(1)));
  EXPECT_EQ(Driver::state().flags.size(), 4u);
  Driver::state().finished = {kGood, kGood};
  Driver::state().room = 2;
  EXPECT_EQ(reap(*channel).size(), 2u);
  Driver::state().finished = {kGood};
  EXPECT_THAT(reap(*channel), ElementsAre(HasContext(4)));
  EXPECT_EQ(channel->outstanding(), 0u);
}

}  // namespace
}  // namespace snp::netdma

namespace snp::test {
namespace {

struct SkeletonLab {
  static constexpr bool kCanRemove = false;
  netdma::Channel& channel() { return *channel_; }
  void step() { std::this_thread::yield(); }
  void remove() {}
  std::unique_ptr<netdma::Channel> channel_ = netdma::open(32);
};

INSTANTIATE_TYPED_TEST_SUITE_P(DmaSkeleton, ChannelConformance, SkeletonLab);

}  // namespace
}  // namespace snp::test
