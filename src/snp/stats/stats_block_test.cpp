#include "snp/stats/stats_block.h"

#include <algorithm>
#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace snp::stats {
namespace {

TEST(StatsBlock, CountsAndMerges) {
  EngineStats first, second;
  first.add(EngineMetric::kSegmentsIn);
  first.add(EngineMetric::kSegmentsIn, 2);
  second.add(EngineMetric::kSegmentsIn, 10);
  second.set(EngineMetric::kConnections, 7);
  second.set(EngineMetric::kConnections, 5);
  Snapshot<EngineMetric> sum = first.snapshot();
  sum.merge(second.snapshot());
  EXPECT_EQ(sum[EngineMetric::kSegmentsIn], 13u);
  EXPECT_EQ(sum[EngineMetric::kConnections], 5u);
  EXPECT_EQ(sum[EngineMetric::kBytesIn], 0u);
  EXPECT_EQ(first[EngineMetric::kSegmentsIn], 3u);
}

TEST(StatsBlock, ReadersSeeCountersGrow) {
  EngineStats block;
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested())
      block.add(EngineMetric::kTurns);
  });
  std::uint64_t last = 0;
  while (last < 1000) {
    const std::uint64_t now = block.snapshot()[EngineMetric::kTurns];
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(StatsBlock, ShardsDoNotShareCacheLines) {
  EXPECT_EQ(alignof(EngineStats) % 64, 0u);
}

template <class Metric>
class MetricTable : public testing::Test {};
using Tables = testing::Types<EngineMetric, PathMetric>;
TYPED_TEST_SUITE(MetricTable, Tables);

TYPED_TEST(MetricTable, RowsAreFitToPublish) {
  const auto table = metrics_of(TypeParam{});
  EXPECT_EQ(table.size(), static_cast<std::size_t>(TypeParam::kCount));
  std::set<std::string_view> names;
  for (const MetricInfo& row : table) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " stands twice";
    EXPECT_TRUE(std::all_of(row.name.begin(), row.name.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || c == '_';
    })) << row.name;
    EXPECT_EQ(row.sentence.back(), '.') << row.name;
    EXPECT_NE(to_string(row.unit), "?");
  }
}

TYPED_TEST(MetricTable, SnapshotsNameTheirRows) {
  Block<TypeParam> block;
  block.add(static_cast<TypeParam>(1), 42);
  std::size_t rows = 0;
  std::string found;
  block.snapshot().for_each([&](const MetricInfo& row, std::uint64_t value) {
    ++rows;
    if (value == 42) found = row.name;
  });
  EXPECT_EQ(rows, metrics_of(TypeParam{}).size());
  EXPECT_EQ(found, metrics_of(TypeParam{})[1].name);
}

}  // namespace
}  // namespace snp::stats
