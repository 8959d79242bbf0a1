#include "snp/chimney/worth.h"

#include <cstring>

#include <gtest/gtest.h>

namespace snp::chimney {
namespace {

constexpr TargetKind kEngine = TargetKind::kEngine;
constexpr TargetKind kLocal = TargetKind::kLocal;

// Before anything is measured, the defaults of automatic_calls and automatic_bytes are what pays.
TEST(Worth, WhatIsAssumed) {
  const struct {
    const char* name;
    TargetKind kind;
    Carried carried;
    std::uint32_t rtt_us;
    bool pays;
  } rows[] = {
      {"nothing", kEngine, {0, 0}, 0, false},
      {"128 empty messages", kEngine, {128, 0}, 0, true},
      {"one less", kEngine, {127, 0}, 0, false},
      {"256 KiB at once", kEngine, {0, 262144}, 0, true},
      {"one byte less", kEngine, {0, 262143}, 0, false},
      {"half and half", kEngine, {64, 131072}, 0, true},
      {"a short way", kEngine, {128, 0}, 100, true},
      {"a long way: what is saved of it is nothing", kEngine, {128, 0}, 100'000, false},
      {"a long way, only CPU is saved", kEngine, {256, 0}, 100'000'000, true},
      {"on one host", kLocal, {64, 0}, 0, true},
      {"on one host, one less", kLocal, {63, 0}, 0, false},
      {"more than can be counted", kEngine, {~0ull, ~0ull}, 1, true},
  };
  const Economics figures;
  for (const auto& row : rows)
    EXPECT_EQ(figures.pays(row.kind, row.carried, row.rtt_us), row.pays) << row.name;
}

TEST(Worth, CostFollowsWhatWasMeasured) {
  Economics figures;
  EXPECT_EQ(figures.cost_us(kEngine), 256u);
  figures.paid(kEngine, 80, 16);
  EXPECT_EQ(figures.cost_us(kEngine), 236u);  // an eighth of the way to 96
  for (int i = 0; i < 100; ++i)
    figures.paid(kEngine, 80, 16);
  EXPECT_NEAR(static_cast<double>(figures.cost_us(kEngine)), 96, 1);
  EXPECT_EQ(figures.cost_us(kLocal), 256u);
  EXPECT_EQ(figures.hand_overs(kEngine), 101u);
  // A machine that was busy with something else for seconds is believed 2 ms.
  figures.paid(kEngine, 3'000'000, 0);
  EXPECT_NEAR(static_cast<double>(figures.cost_us(kEngine)), 96 + (2000 - 96) / 8.0, 2);
  // Nothing is free.
  for (int i = 0; i < 200; ++i)
    figures.paid(kEngine, 0, 0);
  EXPECT_GE(figures.cost_us(kEngine), 20u);
}

TEST(Worth, GainFollowsRoundTrips) {
  Economics figures;
  EXPECT_EQ(figures.gain_per_message_ns(kEngine, 0), 2000u);
  for (int i = 0; i < 100; ++i)
    figures.compared(kEngine, 60, 20);  // 40 us less for two messages
  EXPECT_NEAR(static_cast<double>(figures.gain_per_message_ns(kEngine, 60)), 21'000, 100);
  EXPECT_NEAR(static_cast<double>(figures.gain_per_message_ns(kEngine, 1000)), 3'000, 100);
  EXPECT_EQ(figures.gain_per_message_ns(kLocal, 0), 4000u);
  figures.compared(kEngine, 0, 20);  // not measured
  figures.compared(kEngine, 60, 0);
  EXPECT_NEAR(static_cast<double>(figures.gain_per_message_ns(kEngine, 60)), 21'000, 100);
  // Slower than the host: little is left, but some.
  for (int i = 0; i < 100; ++i)
    figures.compared(kEngine, 20, 1'000'000);
  EXPECT_EQ(figures.gain_per_message_ns(kEngine, 20), 500u);
  EXPECT_FALSE(figures.pays(kEngine, {128, 0}, 0));
}

TEST(Worth, TidyBoundsWhatADeadEngineLeft) {
  Economics figures;
  std::memset(static_cast<void*>(&figures), 0x7f, sizeof figures);
  figures.tidy();
  EXPECT_EQ(figures.cost_us(kEngine), 2000u);
  EXPECT_EQ(figures.gain_per_message_ns(kEngine, 0), 31'000u);
  std::memset(static_cast<void*>(&figures), 0xff, sizeof figures);
  figures.tidy();
  EXPECT_EQ(figures.cost_us(kLocal), 20u);
}

}  // namespace
}  // namespace snp::chimney
