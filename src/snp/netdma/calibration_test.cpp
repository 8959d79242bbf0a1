#include "snp/netdma/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snp::netdma {
namespace {

using stats::kSizeClasses;
using stats::size_class_floor;
using stats::size_class_of;
using testing::Each;
using testing::HasSubstr;

constexpr double kCall = 2000;
constexpr double kFrame = 100;  // what the shard does with a frame besides

// A CPU that copies a byte a nanosecond after 5 ns; an engine that costs its caller `hand_over`,
// and needs `lag` longer than the CPU. A packet is a call and another copy.
Figures machine(double hand_over_ns, double lag_ns = 0) {
  Figures figures;
  figures.is_asynchronous = true;
  for (std::size_t i = 0; i < figures.sizes.size(); ++i) {
    SizeFigures& size = figures.sizes[i];
    size.bytes = kCalibrationSizes[i];
    size.copy_ns = 5 + size.bytes;
    size.copy_read_ns = size.streaming_read_ns = size.bytes / 2.0;
    size.streaming_ns = 2 * size.copy_ns;
    size.hand_over_ns = hand_over_ns;
    size.packet_ns = kCall + size.bytes;
    size.engine_ns = size.copy_ns + lag_ns;
    size.shard_cpu_ns = kFrame + size.copy_ns;
    size.shard_engine_ns = kFrame + size.hand_over_ns;
  }
  return figures;
}

TEST(Calibration, EachClassOfTheStatisticsIsMeasured) {
  std::array<bool, kSizeClasses> has_size{};
  for (const std::uint32_t size : kCalibrationSizes)
    has_size[size_class_of(size)] = true;
  EXPECT_THAT(has_size, Each(true));
}

TEST(Calibration, TheBreakEvenIsWhereAFrameCostsTheShardATwentiethLess) {
  // 3100 ns with the engine: 95 % of 3105 ns (3000 bytes) are less, of 4201 ns (4096 bytes) more.
  const Calibration calibration = judge(machine(3000));
  EXPECT_EQ(calibration.min_bytes, size_class_floor(size_class_of(4096)));
  EXPECT_FALSE(calibration.is_worth(3000));
  EXPECT_TRUE(calibration.is_worth(4096));
  EXPECT_TRUE(calibration.is_worth(1'000'000));
  EXPECT_EQ(calibration.classes[size_class_of(1500)], Worth::kDear);
}

// What the copy costs by itself decides nothing: the whole frame does.
TEST(Calibration, WhatTheShardDoesBesidesCounts) {
  Figures figures = machine(1000);
  EXPECT_TRUE(judge(figures).is_worth(1500));
  for (SizeFigures& size : figures.sizes)
    size.shard_engine_ns += 2000;
  EXPECT_EQ(judge(figures).min_bytes, judge(machine(3000)).min_bytes);
}

TEST(Calibration, WithoutATrialOfTheShardNothingIsWorthIt) {
  Figures figures = machine(1);
  for (SizeFigures& size : figures.sizes)
    size.shard_cpu_ns = size.shard_engine_ns = 0;
  EXPECT_THAT(judge(figures).classes, Each(Worth::kNotMeasured));
}

TEST(Calibration, ADearerHandOverNeverLowersTheBreakEven) {
  std::uint32_t before = 0;
  double hand_over = 1;
  for (int step = 0; step < 47; ++step, hand_over *= 1.3) {
    const std::uint32_t now = judge(machine(hand_over)).min_bytes;
    EXPECT_GE(now, before) << hand_over;
    before = now;
  }
  EXPECT_EQ(before, kNoSize);
}

TEST(Calibration, AnEngineThatWouldHoldTheStreamUpIsLeftAlone) {
  // The packet's work hides the engine's lag, and the more of it the larger the packet is.
  EXPECT_EQ(judge(machine(1, kCall)).min_bytes, 0u);
  const Calibration slow = judge(machine(1, kCall + 1000));
  EXPECT_EQ(slow.classes[0], Worth::kSlow);
  EXPECT_EQ(slow.classes[size_class_of(1500)], Worth::kYes);
  EXPECT_EQ(slow.min_bytes, size_class_floor(size_class_of(1500)));
  EXPECT_EQ(judge(machine(1, 1e6)).min_bytes, kNoSize);
}

TEST(Calibration, ASynchronousEngineIsNeverWorthIt) {
  Figures figures = machine(1);
  figures.is_asynchronous = false;
  const Calibration calibration = judge(figures);
  EXPECT_THAT(calibration.classes, Each(Worth::kSynchronous));
  EXPECT_EQ(calibration.min_bytes, kNoSize);
}

// In the middle one class that is not worth it: the threshold lies above it, and what is below is
// judged by itself.
TEST(Calibration, TheThresholdLiesAboveTheLastClassThatLoses) {
  Figures figures = machine(1);
  const std::size_t odd = size_class_of(9000);
  for (SizeFigures& size : figures.sizes)
    if (size_class_of(size.bytes) == odd) size.shard_engine_ns = 1e6;
  const Calibration calibration = judge(figures);
  EXPECT_EQ(calibration.min_bytes, size_class_floor(odd + 1));
  EXPECT_TRUE(calibration.is_worth(4096));
  EXPECT_FALSE(calibration.is_worth(9000));
}

TEST(Calibration, EverySizeOfAClassMustBeWorthIt) {
  // 64 bytes lose by it, 256 win: both are of the lowest class.
  const Calibration calibration = judge(machine(190));
  EXPECT_EQ(calibration.classes[0], Worth::kDear);
  EXPECT_THAT(explain(calibration, 0), HasSubstr("64 bytes"));
}

TEST(Calibration, WithoutFiguresNothingIsWorthIt) {
  EXPECT_THAT(judge(Figures{}).classes, Each(Worth::kNotMeasured));
  Figures failed = machine(1);
  failed.failure = "a copy was not finished in time";
  const Calibration calibration = judge(failed);
  EXPECT_THAT(calibration.classes, Each(Worth::kFailed));
  EXPECT_EQ(calibration.min_bytes, kNoSize);
  EXPECT_EQ(calibration.streaming_from_bytes, kNoSize);
  EXPECT_EQ(explain(calibration, 3), "the CPU copies: a copy was not finished in time");
}

TEST(Calibration, StreamingCountsTheReadersSideToo) {
  Figures figures = machine(1);
  EXPECT_EQ(judge(figures).streaming_from_bytes, kNoSize);
  // Cheaper to write, but dearer to read.
  for (SizeFigures& size : figures.sizes) {
    size.streaming_ns = size.copy_ns / 2;
    size.streaming_read_ns = size.copy_read_ns + size.copy_ns;
  }
  EXPECT_EQ(judge(figures).streaming_from_bytes, kNoSize);
  // A gain from 16 KiB on; one below it that is followed by a loss does not count.
  for (SizeFigures& size : figures.sizes)
    if (size.bytes >= 16384 || size.bytes == 1500) size.streaming_read_ns = size.copy_read_ns;
  EXPECT_EQ(judge(figures).streaming_from_bytes, 16384);
}

TEST(Calibration, SaysWhyWithItsFigures) {
  const Calibration calibration = judge(machine(3000));
  EXPECT_EQ(
      explain(calibration, size_class_of(1500)),
      "the CPU copies: a frame of 1500 bytes costs the shard 1605 ns, with the engine 3100 ns");
  EXPECT_EQ(
      explain(calibration, size_class_of(65536)),
      "the engine copies: a frame of 65536 bytes costs the shard 3100 ns, without it 65641 ns");
  EXPECT_EQ(explain(judge(machine(1, 1e6)), size_class_of(65536)),
            "the CPU copies: the engine needs 1065541 ns for 65536 bytes, the CPU 65541 ns and the "
            "next packet "
            "67536 ns");
}

}  // namespace
}  // namespace snp::netdma
