#include "snp/stats/netdma_stats.h"

#include <gtest/gtest.h>

namespace snp::stats {
namespace {

TEST(NetdmaStats, SizesFallIntoClassesByPowersOfTwo) {
  EXPECT_EQ(size_class_of(0), 0u);
  EXPECT_EQ(size_class_of(1023), 0u);
  EXPECT_EQ(size_class_of(1024), 1u);
  EXPECT_EQ(size_class_of(65535), kSizeClasses - 2);
  EXPECT_EQ(size_class_of(65536), kSizeClasses - 1);
  EXPECT_EQ(size_class_of(0xffffffff), kSizeClasses - 1);
  for (std::size_t i = 1; i < kSizeClasses; ++i) {
    EXPECT_EQ(size_class_of(size_class_floor(i)), i);
    EXPECT_EQ(size_class_of(size_class_floor(i) - 1), i - 1);
  }
}

TEST(NetdmaStats, LatenciesFallIntoBucketsByPowersOfTwo) {
  EXPECT_EQ(latency_bucket_of(Duration(-5)), 0u);
  EXPECT_EQ(latency_bucket_of(Duration(999)), 0u);
  EXPECT_EQ(latency_bucket_of(microseconds(1)), 1u);
  EXPECT_EQ(latency_bucket_of(microseconds(2)), 2u);
  EXPECT_EQ(latency_bucket_of(microseconds(3)), 2u);
  EXPECT_EQ(latency_bucket_of(seconds(1000)), kLatencyBuckets - 1);
}

TEST(NetdmaStats, CountsAndMerges) {
  NetdmaStats first, second;
  first.add_copy(CopyOutcome::kEngine, 3);
  first.add_bytes(CopyOutcome::kEngine, 3, 5000);
  second.add_copy(CopyOutcome::kEngine, 4);
  second.add_bytes(CopyOutcome::kEngine, 4, 10000);
  second.add_bytes(CopyOutcome::kShare, 4, 300);
  second.add_latency(microseconds(5));
  second.add(NetdmaMetric::kAborts);
  NetdmaSnapshot sum = first.snapshot();
  sum.merge(second.snapshot());
  EXPECT_EQ(sum.of(CopyOutcome::kEngine).copies, 2u);
  EXPECT_EQ(sum.of(CopyOutcome::kEngine).bytes, 15000u);
  EXPECT_EQ(sum.of(CopyOutcome::kShare).copies, 0u);
  EXPECT_EQ(sum.of(CopyOutcome::kShare).bytes, 300u);
  EXPECT_EQ(sum.latency[3], 1u);
  EXPECT_EQ(sum.metrics[NetdmaMetric::kAborts], 1u);
}

TEST(NetdmaStats, EachRowHasANameAndASentence) {
  for (const MetricInfo& info : metrics_of(NetdmaMetric{})) {
    EXPECT_FALSE(info.name.empty());
    EXPECT_EQ(info.sentence.back(), '.');
  }
  ASSERT_EQ(copy_outcomes().size(), kCopyOutcomes);
  for (const OutcomeInfo& info : copy_outcomes())
    EXPECT_EQ(info.sentence.back(), '.');
}

}  // namespace
}  // namespace snp::stats
