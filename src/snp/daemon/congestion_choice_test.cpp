#include "snp/daemon/congestion_choice.h"

#include <string>

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

std::string choice(std::string_view socket, std::string_view setting,
                   std::string_view system = "cubic") {
  CachedState cached;
  socket.copy(cached.congestion_control.data(), 15);
  choose_congestion_control(setting, system, cached);
  return cached.congestion_control.data();
}

TEST(CongestionChoice, FollowsTheHostByDefault) {
  EXPECT_EQ(choice("cubic", "host"), "cubic");
  EXPECT_EQ(choice("bbr", "host", "bbr"), "bbr");
  EXPECT_EQ(choice("reno", "host", "reno"), "newreno");
}

TEST(CongestionChoice, TheSettingDecidesForProgramsThatChoseNone) {
  EXPECT_EQ(choice("cubic", "bbr"), "bbr");
  EXPECT_EQ(choice("reno", "cubic", "reno"), "cubic");
}

TEST(CongestionChoice, AProgramsOwnChoiceGoesBeforeTheSetting) {
  EXPECT_EQ(choice("dctcp", "bbr"), "dctcp");
  EXPECT_EQ(choice("reno", "bbr"), "newreno");
}

TEST(CongestionChoice, WhatTheEngineDoesNotHaveIsReplaced) {
  EXPECT_EQ(choice("htcp", "bbr"), "bbr");
  EXPECT_EQ(choice("htcp", "host"), "cubic");
  EXPECT_EQ(choice("htcp", "host", "htcp"), "cubic");
  EXPECT_EQ(choice("", "host", ""), "cubic");
}

}  // namespace
}  // namespace snp::daemon
