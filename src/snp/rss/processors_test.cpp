// Keyword ranges, profiles and the choice of CPUs (reference 5.6).
#include "snp/rss/processors.h"

#include <gtest/gtest.h>

namespace snp::rss {
namespace {

using Cpus = std::vector<CpuId>;

// Two nodes, two hyper-threads a core: CPU i and i + 4 share core i; node 0 has cores 0 and 1.
std::vector<Processor> machine() {
  std::vector<Processor> processors;
  for (CpuId cpu = 0; cpu < 8; ++cpu)
    processors.push_back({cpu, cpu % 4 / 2, cpu % 4, cpu % 4 / 2 == 1 ? 10u : 20u});
  return processors;
}

Cpus choose(const ProcessorKeywords& keywords) {
  return choose_processors(keywords, machine()).value();
}

TEST(Processors, TheRangeExampleOfTheReference) {
  ProcessorKeywords keywords;
  keywords.base = {1, 16};
  keywords.max = {3, 8};
  for (const ProcessorNumber cpu :
       {ProcessorNumber{1, 16}, {1, 31}, {2, 0}, {2, 63}, {3, 0}, {3, 8}})
    EXPECT_TRUE(is_in_range(keywords, cpu)) << cpu.group << ":" << cpu.number;
  for (const ProcessorNumber cpu :
       {ProcessorNumber{0, 0}, {0, 32}, {1, 0}, {1, 15}, {3, 9}, {3, 31}, {4, 0}})
    EXPECT_FALSE(is_in_range(keywords, cpu)) << cpu.group << ":" << cpu.number;
}

TEST(Processors, GroupsHave64Cpus) {
  EXPECT_EQ(processor_number(63), (ProcessorNumber{0, 63}));
  EXPECT_EQ(processor_number(64), (ProcessorNumber{1, 0}));
}

TEST(Processors, OneHyperThreadOfACore) {
  EXPECT_EQ(choose({.profile = Profile::kBalanced}).size(), 4u);
}

TEST(Processors, ClosestTakesTheAdaptersNodeFirst) {
  EXPECT_EQ(choose({.profile = Profile::kClosest}), (Cpus{2, 3, 0, 1}));
  EXPECT_EQ(choose({.profile = Profile::kClosestStatic, .node = 0}), (Cpus{0, 1, 2, 3}));
}

TEST(Processors, NumaScalingGoesRoundTheNodesAndIgnoresTheNodeKeyword) {
  EXPECT_EQ(choose({.profile = Profile::kNumaScaling, .node = 1}), (Cpus{0, 2, 1, 3}));
  EXPECT_EQ(choose({.profile = Profile::kNumaScalingStatic}), (Cpus{0, 2, 1, 3}));
}

TEST(Processors, BaseMaxAndCountBoundTheSet) {
  EXPECT_EQ(choose({.profile = Profile::kClosest, .base = {0, 1}, .max = {0, 2}}), (Cpus{2, 1}));
  EXPECT_EQ(choose({.max_processors = 2}), (Cpus{0, 2}));
}

TEST(Processors, BalancedExcludesTheRangeAndTheNode) {
  EXPECT_EQ(choose({.profile = Profile::kBalanced, .base = {0, 3}, .node = 0}), (Cpus{2, 3, 0, 1}));
}

TEST(Processors, RefusesWhatLeavesNoCpu) {
  const auto backwards = choose_processors({.base = {1, 0}, .max = {0, 5}}, machine());
  ASSERT_FALSE(backwards);
  EXPECT_NE(backwards.error().message.find("INVALID_PARAMETER"), std::string::npos);
  const auto outside = choose_processors({.base = {2, 0}}, machine());
  ASSERT_FALSE(outside);
  EXPECT_NE(outside.error().message.find("INVALID_DATA"), std::string::npos);
  EXPECT_FALSE(choose_processors({.max_processors = 0}, machine()));
}

TEST(Processors, ProfilesSayWhetherTheyBalance) {
  for (const Profile profile :
       {Profile::kClosest, Profile::kNumaScaling, Profile::kConservative, Profile::kBalanced})
    EXPECT_TRUE(is_dynamic(profile)) << to_string(profile);
  for (const Profile profile : {Profile::kClosestStatic, Profile::kNumaScalingStatic})
    EXPECT_FALSE(is_dynamic(profile)) << to_string(profile);
  EXPECT_TRUE(grows_with_load(Profile::kConservative));
}

TEST(Processors, SpreadsInTurn) {
  const Cpus cpus = {3, 1, 2};
  EXPECT_EQ(spread(cpus, 4), (Cpus{3, 1, 2, 3}));
}

}  // namespace
}  // namespace snp::rss
