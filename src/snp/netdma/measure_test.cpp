#include "snp/netdma/measure.h"

#include <cstring>
#include <deque>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snp::netdma {
namespace {

using testing::Each;
using testing::Field;
using testing::Gt;
using testing::HasSubstr;

// Copies at once; says that it is asynchronous, so that its figures are looked at.
class CopyNow final : public Channel {
 public:
  enum class Trouble { kNone, kNeverDone, kFails, kCopiesNothing, kCannotReset };
  explicit CopyNow(Trouble trouble = Trouble::kNone) : trouble_(trouble) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "copy-now"; }
  [[nodiscard]] const Capabilities& capabilities() const noexcept override { return capabilities_; }
  std::size_t submit(std::span<const Transfer> transfers) noexcept override {
    std::size_t taken = 0;
    for (const Transfer& transfer : transfers) {
      if (queue_.size() == capabilities_.depth) break;
      if (trouble_ != Trouble::kCopiesNothing)
        std::memcpy(transfer.destination, transfer.source, transfer.size);
      queue_.push_back(transfer.context);
      ++taken;
    }
    return taken;
  }
  std::size_t reap(std::span<Outcome> outcomes) noexcept override {
    if (trouble_ == Trouble::kNeverDone) return 0;
    std::size_t count = 0;
    for (; count < outcomes.size() && !queue_.empty(); queue_.pop_front())
      outcomes[count++] = {queue_.front(),
                           trouble_ == Trouble::kFails ? Status::kFailed : Status::kDone};
    return count;
  }
  [[nodiscard]] ChannelState state() const noexcept override { return ChannelState::kIdle; }
  [[nodiscard]] std::size_t outstanding() const noexcept override { return queue_.size(); }
  Result<> suspend() noexcept override { return {}; }
  Result<> resume() noexcept override { return {}; }
  void abort() noexcept override { has_aborted = true; }
  Result<> reset() noexcept override {
    queue_.clear();
    if (trouble_ == Trouble::kCannotReset) return fail(Errc::kNotFound, "it is gone");
    return {};
  }

  bool has_aborted = false;

 private:
  const Trouble trouble_;
  const Capabilities capabilities_{8, 1u << 20, false, true};  // less than a round needs
  std::deque<std::uint64_t> queue_;
};

constexpr MeasureOptions kQuick{milliseconds(1), milliseconds(200)};

TEST(Measure, FillsEachFigure) {
  CopyNow channel;
  const Figures figures = measure(channel, kQuick);
  EXPECT_EQ(figures.failure, "");
  EXPECT_TRUE(figures.is_asynchronous);
  for (std::size_t i = 0; i < figures.sizes.size(); ++i)
    EXPECT_EQ(figures.sizes[i].bytes, kCalibrationSizes[i]);
  // What takes a clock's tick or less may come out as nothing; what takes microseconds may not.
  const SizeFigures& large = figures.sizes.back();
  EXPECT_GT(large.copy_ns, 0);
  EXPECT_GT(large.copy_read_ns, 0);
  EXPECT_GT(large.streaming_ns, 0);
  EXPECT_GT(large.streaming_read_ns, 0);
  EXPECT_GT(large.hand_over_ns, 0);
  EXPECT_GT(large.packet_ns, 0);
  EXPECT_GE(large.engine_ns, large.hand_over_ns);
  EXPECT_GT(figures.rested_latency_ns, 0);
  EXPECT_EQ(channel.outstanding(), 0u);
  EXPECT_FALSE(channel.has_aborted);
}

TEST(Measure, AnEngineThatFailsIsAbortedAndLeftEmpty) {
  using Trouble = CopyNow::Trouble;
  const std::pair<Trouble, const char*> cases[] = {
      {Trouble::kNeverDone, "the engine did not finish its copies during the calibration"},
      {Trouble::kFails, "the engine failed during the calibration"},
      {Trouble::kCopiesNothing, "the engine copied something else than it was told"}};
  for (const auto& [trouble, sentence] : cases) {
    CopyNow channel(trouble);
    const Figures figures = measure(channel, {milliseconds(1), milliseconds(5)});
    EXPECT_EQ(figures.failure, sentence);
    EXPECT_TRUE(channel.has_aborted);
    EXPECT_EQ(channel.outstanding(), 0u);
    EXPECT_THAT(judge(figures).classes, Each(Worth::kFailed));
  }
}

TEST(Measure, AnEngineThatCannotBeResetIsNotUsed) {
  CopyNow channel(CopyNow::Trouble::kCannotReset);
  EXPECT_THAT(measure(channel, kQuick).failure, HasSubstr("it is gone"));
}

}  // namespace
}  // namespace snp::netdma
