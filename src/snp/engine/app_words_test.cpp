#include "snp/engine/app_words.h"

#include <gtest/gtest.h>

namespace snp::engine {
namespace {

constexpr std::uint64_t kP = ipc::kFirstPosition;

// 100 bytes of the transmit ring of 1000 in use, 50 readable.
constexpr Bounds kBounds{{0, kP + 100, kP}, kP, 1000, kP + 50};

TEST(AppWords, AcceptsWhatAnHonestApplicationCanDo) {
  EXPECT_TRUE(is_plausible({0, kP + 100, kP}, kBounds)) << "nothing new";
  EXPECT_TRUE(is_plausible({0, kP + 1000, kP}, kBounds)) << "a full ring";
  EXPECT_TRUE(is_plausible({0, kP + 100, kP + 50}, kBounds)) << "all read";
  EXPECT_TRUE(is_plausible({ipc::slot_flag::kShutdownWrite, kP + 200, kP}, kBounds));
}

TEST(AppWords, RefusesTheImpossible) {
  EXPECT_FALSE(is_plausible({0, kP + 1001, kP}, kBounds)) << "more than the ring";
  EXPECT_FALSE(is_plausible({0, kP + 99, kP}, kBounds)) << "unwritten";
  EXPECT_FALSE(is_plausible({0, 0, kP}, kBounds));
  EXPECT_FALSE(is_plausible({0, ~0ull, kP}, kBounds));
  EXPECT_FALSE(is_plausible({0, kP + 100, kP + 51}, kBounds)) << "read before it came";
  EXPECT_FALSE(is_plausible({0, kP + 100, kP - 1}, kBounds)) << "unread";
  EXPECT_FALSE(is_plausible({0, kP + 100, ~0ull}, kBounds));
  Bounds shut = kBounds;
  shut.accepted.flags = ipc::slot_flag::kShutdownWrite;
  EXPECT_FALSE(is_plausible({0, kP + 101, kP}, shut)) << "written after shutdown";
  EXPECT_TRUE(is_plausible({0, kP + 100, kP}, shut));
}

TEST(AppWords, BringsOptionsIntoRange) {
  ipc::SlotOptions raw;
  raw.keepalive = 255;
  raw.keepalive_idle_s = raw.keepalive_interval_s = raw.keepalive_probes = 0xffffffff;
  raw.user_timeout_ms = 0xffffffff;
  CachedState cached;
  apply_options(raw, true, cached);
  EXPECT_TRUE(cached.keepalive.enabled);
  EXPECT_EQ(cached.keepalive.idle_s, 32767u);
  EXPECT_EQ(cached.keepalive.interval_s, 32767u);
  EXPECT_EQ(cached.keepalive.probes, 127u);
  EXPECT_EQ(cached.user_timeout_ms, 0x7fffffffu);
  apply_options({}, true, cached);
  EXPECT_FALSE(cached.keepalive.enabled);
  EXPECT_EQ(cached.keepalive.idle_s, 32767u) << "0 means: as before";
}

TEST(AppWords, TakesTheHeaderFieldsOfItsFamily) {
  ipc::SlotOptions raw;
  raw.v4_tos = 0x28;
  raw.v4_ttl = 7;
  raw.v6_tos = 0xb8;
  CachedState cached;
  cached.ttl = 64;
  apply_options(raw, false, cached);
  EXPECT_EQ(cached.tos, 0xb8);
  EXPECT_EQ(cached.ttl, 64) << "nothing was said of it";
  apply_options(raw, true, cached);
  EXPECT_EQ(cached.tos, 0x28);
  EXPECT_EQ(cached.ttl, 7);
}

TEST(AppWords, TakesOnlyTheNamesOfCongestionControlsThatItHas) {
  ipc::SlotOptions raw;
  CachedState cached;
  const auto name = [&] { return std::string_view(cached.congestion_control.data()); };
  raw.congestion_control = {'d', 'c', 't', 'c', 'p'};
  apply_options(raw, true, cached);
  EXPECT_EQ(name(), "dctcp");
  raw.congestion_control.fill('x');  // no end
  apply_options(raw, true, cached);
  EXPECT_EQ(name(), "dctcp");
  raw.congestion_control.fill('\0');
  apply_options(raw, true, cached);
  EXPECT_EQ(name(), "dctcp");
}

}  // namespace
}  // namespace snp::engine
