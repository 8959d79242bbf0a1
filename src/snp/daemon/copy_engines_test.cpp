#include "snp/daemon/copy_engines.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using settings::Settings;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

using Kind = CopyBackend::Kind;

Settings with(std::initializer_list<std::pair<const char*, const char*>> values) {
  Settings settings;
  for (const auto& [name, value] : values)
    EXPECT_TRUE(settings.set(name, value)) << name;
  return settings;
}

TEST(CopyBackend, IsNamedByTheSetting) {
  EXPECT_EQ(parse_copy_backend("cpu", "")->kind, Kind::kCpu);
  EXPECT_EQ(parse_copy_backend("thread", "")->kind, Kind::kThread);
  const auto named = parse_copy_backend("dmadev:0000:00:04.0,wq0.1", "");
  ASSERT_TRUE(named);
  EXPECT_EQ(named->kind, Kind::kDmadev);
  EXPECT_THAT(named->devices, ElementsAre("0000:00:04.0", "wq0.1"));
  for (const char* wrong : {"", "dmadev", "dmadev:", "dmadev:,", "gpu"})
    EXPECT_FALSE(parse_copy_backend(wrong, "")) << wrong;
}

// The kernel's list of DSA's queues; only those that an administrator named for DPDK are ours.
TEST(CopyBackend, AutomaticTakesReservedQueuesOnly) {
  std::string folder = testing::TempDir() + "queues-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  EXPECT_EQ(parse_copy_backend("automatic", folder + "/none")->kind, Kind::kNone);
  for (const auto& [queue, name] : {std::pair{"wq0.1", "dpdk_b"},
                                    {"wq0.0", "dpdk_a"},
                                    {"wq0.2", "database"},
                                    {"engine0.0", "dpdk_"}}) {
    std::filesystem::create_directory(folder + "/" + queue);
    std::ofstream(folder + "/" + queue + "/name") << name << "\n";
  }
  const auto found = parse_copy_backend("automatic", folder);
  EXPECT_EQ(found->kind, Kind::kDmadev);
  EXPECT_THAT(found->devices, ElementsAre("wq0.0", "wq0.1"));
  std::filesystem::remove_all(folder);
}

TEST(CopyEngines, WithoutAnEngineNothingIsOpenedOrMeasured) {
  const Settings values = with({{"netdma_backend", "automatic"}});
  CopyEngines engines(values, 2);
  commands::NetdmaReport report;
  engines.fill(report);
  EXPECT_EQ(report.engine, "");
  EXPECT_EQ(report.fault, "");
  EXPECT_THAT(engines.copier_settings().is_worth, Each(false));
  EXPECT_EQ(engines.take_channel(0), nullptr);
  EXPECT_EQ(engines.take_channel(1), nullptr);
}

TEST(CopyEngines, EachShardHasAChannelAndTheFirstIsMeasured) {
  const Settings values = with({{"netdma_backend", "thread"}, {"netdma_break_even", "ignored"}});
  CopyEngines engines(values, 3);
  commands::NetdmaReport report;
  engines.fill(report);
  EXPECT_EQ(report.engine, "thread");
  EXPECT_EQ(report.channels, 3u);
  // On a busy machine the thread may be too late, and nothing is known but that.
  const netdma::Figures& figures = report.calibration.figures;
  if (figures.failure.empty()) {
    EXPECT_GT(figures.sizes.back().engine_ns, 0);
    EXPECT_GT(figures.sizes.back().shard_engine_ns, 0);
  }
  EXPECT_THAT(engines.copier_settings().is_worth, Each(true));
  for (std::uint32_t shard = 0; shard < 3; ++shard)
    EXPECT_NE(engines.take_channel(shard), nullptr);
}

TEST(CopyEngines, FollowsTheSettings) {
  Settings values = with({{"netdma_min_bytes", "3000"}, {"netdma_sync_below_bytes", "77"}});
  CopyEngines engines(values, 1);
  EXPECT_TRUE(engines.copier_settings().is_enabled);
  EXPECT_EQ(engines.copier_settings().min_bytes, 3000u);
  EXPECT_EQ(engines.copier_settings().sync_below_bytes, 77u);
  ASSERT_TRUE(values.set("netdma", "disabled"));
  EXPECT_FALSE(engines.copier_settings().is_enabled);
}

// Never a reason not to start.
TEST(CopyEngines, WhatCannotBeOpenedIsSaidOnce) {
  const std::pair<const char*, const char*> cases[] = {
      {"netdma_backend", "gpu"}, {"netdma_backend", "dmadev:wq7.7"}, {"netdma_cpu", "4x"}};
  for (const auto& [name, wrong] : cases) {
    const Settings values = with({{name, wrong}});
    CopyEngines engines(values, 1);
    commands::NetdmaReport report;
    engines.fill(report);
    EXPECT_EQ(report.engine, "");
    EXPECT_NE(report.fault, "") << wrong;
    EXPECT_EQ(report.fault.find('\n'), std::string::npos);
    EXPECT_EQ(engines.take_channel(0), nullptr);
  }
}

TEST(CopyEngines, MeasuresAgainWhileShardsWork) {
  auto loop = EventLoop::open();
  ASSERT_TRUE(loop);
  const Settings values = with({{"netdma_backend", "thread"}});
  CopyEngines engines(values, 1);
  int changes = 0;
  int answers = 0;
  ASSERT_TRUE(engines.start(**loop, [&] { ++changes; }));
  engines.calibrate([&](const Result<>& done) {
    EXPECT_TRUE(done);
    EXPECT_EQ(changes, 1);
    ++answers;
    (*loop)->stop();
  });
  engines.calibrate([&](const Result<>& done) {
    EXPECT_FALSE(done);
    ++answers;
  });
  EXPECT_EQ(answers, 1);  // the second, at once
  (*loop)->run();
  EXPECT_EQ(answers, 2);
}

TEST(CopyEngines, WithoutAnEngineThereIsNothingToMeasure) {
  const Settings values = with({{"netdma_backend", "automatic"}});
  CopyEngines engines(values, 1);
  std::string said;
  engines.calibrate([&](const Result<>& done) { said = done.error().message; });
  EXPECT_THAT(said, HasSubstr("there is no copy engine to measure"));
}

}  // namespace
}  // namespace snp::daemon
