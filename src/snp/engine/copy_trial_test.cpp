// The trial fills in what calibration judges, leaves the channel as new, and says when the engine
// did not do its work. Nothing is said about time.
#include "snp/engine/copy_trial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/engine/clock.h"
#include "snp/netdma/cpu_channel.h"

#include "test/support/scripted_channel.h"

namespace snp::engine {
namespace {

using testing::Each;

netdma::Figures measured() {
  netdma::Figures figures;
  figures.is_asynchronous = true;
  for (std::size_t i = 0; i < figures.sizes.size(); ++i)
    figures.sizes[i].bytes = netdma::kCalibrationSizes[i];
  return figures;
}

constexpr Duration kQuick = milliseconds(1);

TEST(CopyTrial, MeasuresEachSize) {
  const auto channel = netdma::open_cpu_channel();
  netdma::Figures figures = measured();
  measure_shard(*channel, kQuick, figures);
  EXPECT_EQ(figures.failure, "");
  for (const netdma::SizeFigures& size : figures.sizes) {
    EXPECT_GT(size.shard_cpu_ns, 0) << size.bytes;
    EXPECT_GT(size.shard_engine_ns, 0) << size.bytes;
  }
  EXPECT_EQ(channel->outstanding(), 0u);
  EXPECT_EQ(channel->state(), netdma::ChannelState::kArmed);
}

TEST(CopyTrial, LooksOnlyAtWhatWasMeasured) {
  auto channel = netdma::open_cpu_channel();
  netdma::Figures figures = measured();
  figures.sizes[3].bytes = 0;
  measure_shard(*channel, kQuick, figures);
  EXPECT_EQ(figures.failure, "");
  EXPECT_EQ(figures.sizes[3].shard_cpu_ns, 0);
  EXPECT_GT(figures.sizes[2].shard_cpu_ns, 0);
}

TEST(CopyTrial, AnEngineThatIsOutOfTheQuestionIsNotTried) {
  auto channel = netdma::open_cpu_channel();
  netdma::Figures synchronous = measured();
  synchronous.is_asynchronous = false;
  netdma::Figures failed = measured();
  failed.failure = "it failed";
  for (netdma::Figures* figures : {&synchronous, &failed}) {
    measure_shard(*channel, kQuick, *figures);
    EXPECT_EQ(figures->sizes[0].shard_cpu_ns, 0);
  }
  EXPECT_EQ(failed.failure, "it failed");
}

TEST(CopyTrial, AnEngineThatFailsGetsNothing) {
  const auto judged = [](test::ScriptedChannel& channel) {
    netdma::Figures figures = measured();
    measure_shard(channel, kQuick, figures);
    EXPECT_EQ(channel.outstanding(), 0u);
    EXPECT_THAT(netdma::judge(figures).classes, Each(netdma::Worth::kFailed));
    return figures.failure;
  };
  test::ScriptedChannel fails(monotonic_now), sticks(monotonic_now), goes(monotonic_now);
  fails.fail_next = 1;
  EXPECT_EQ(judged(fails), "the engine failed in the trial of a shard");
  sticks.is_stuck = true;
  EXPECT_EQ(judged(sticks), "the engine failed in the trial of a shard");
  goes.cannot_reset = true;
  EXPECT_EQ(judged(goes), "the engine cannot be reset: the engine is gone");
}

}  // namespace
}  // namespace snp::engine
