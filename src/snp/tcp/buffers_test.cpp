// How much of the rings is used.
#include "test/support/tcp_steps.h"

namespace snp::tcp::testing {
namespace {

constexpr std::uint32_t kRing = 1u << 20;
constexpr std::uint32_t kBuffer = 64 * 1024;

Start tuned() {
  Start start;
  start.ring = kRing;
  start.limits.receive_buffer = start.limits.send_buffer = kBuffer;
  start.state.delegated.rcv_wnd = 20'000;
  return start;
}

// The peer sends `bytes`, the application reads them; one round trip of 10 ms.
void pass_round(Steps& steps, std::uint32_t& seq, std::uint32_t bytes) {
  // It echoes what we sent a round trip ago.
  const auto echo = static_cast<std::uint32_t>(
      70'001 - 10 + (steps.now() - Instant(seconds(5000))) / milliseconds(1));
  for (std::uint32_t end = seq + bytes; seq != end; seq += 1000)
    steps.receive({.seq = seq, .len = 1000, .gso = 1000, .ts_ecr = echo});
  steps.forget_output().consume(bytes).forget_output().pass(milliseconds(10)).forget_output();
}

TEST(Buffers, TheWindowBeginsWithTheBufferNotWithTheRing) {
  Steps steps(tuned());
  EXPECT_EQ(steps.connection().receive_buffer(), kBuffer);
  steps.receive({.len = 2000, .gso = 1000}).forget_output().consume(2000).forget_output();
  steps.receive({.seq = 2000, .len = 2000, .gso = 1000}).forget_output();
  EXPECT_LE(steps.connection().info().rcv_wnd, kBuffer);
}

TEST(Buffers, AReaderThatKeepsUpGetsALargerWindow) {
  Steps steps(tuned());
  std::uint32_t seq = 0;
  for (std::uint32_t bytes = 10'000; bytes <= 160'000; bytes *= 2) {
    for (int i = 0; i < 3; ++i)
      pass_round(steps, seq, std::min(bytes, steps.connection().receive_buffer() / 1200 * 1000));
  }
  EXPECT_GE(steps.connection().receive_buffer(), 4 * kBuffer);
  EXPECT_LE(steps.connection().receive_buffer(), kRing);
  EXPECT_GT(steps.connection().info().rcv_wnd, 2 * kBuffer);
}

TEST(Buffers, ASlowReaderDoesNot) {
  Steps steps(tuned());
  std::uint32_t seq = 0;
  for (int i = 0; i < 50; ++i)
    pass_round(steps, seq, 5'000);
  EXPECT_EQ(steps.connection().receive_buffer(), kBuffer);
}

// What was read in many round trips is not what a round trip carries.
TEST(Buffers, ReadingSeldomIsNotReadingFast) {
  Steps steps(tuned());
  std::uint32_t seq = 0;
  for (int i = 0; i < 20; ++i) {
    for (int part = 0; part < 50; ++part, seq += 1000)
      steps.receive({.seq = seq, .len = 1000}).forget_output().pass(milliseconds(10));
    steps.forget_output().consume(50'000).forget_output();
  }
  EXPECT_EQ(steps.connection().receive_buffer(), kBuffer);
}

TEST(Buffers, WithoutTimestampsTheWindowIsTheMeasure) {
  Start start = tuned();
  start.state.constant.timestamps = false;
  start.state.delegated.srtt_us = 0;
  start.state.delegated.rcv_wnd = 60'000;
  Steps steps(start);
  std::uint32_t seq = 0;
  for (int i = 0; i < 12; ++i)
    pass_round(steps, seq, steps.connection().receive_buffer() / 1200 * 1000);
  EXPECT_GE(steps.connection().receive_buffer(), 2 * kBuffer);
}

TEST(Buffers, WhatWasPromisedIsKept) {
  Start start = tuned();
  start.state.delegated.rcv_wnd = 200'000;
  Steps steps(start);
  EXPECT_GE(steps.connection().receive_buffer(), 200'000u);
  EXPECT_GE(steps.connection().info().rcv_wnd, 199'000u);
}

TEST(Buffers, AUsersSizeIsKept) {
  Start start = tuned();
  start.state.cached.receive_buffer = 30'000;
  start.state.cached.send_buffer = 40'000;
  start.state.delegated.cwnd_bytes = 60'000;
  Steps steps(start);
  std::uint32_t seq = 0;
  for (int i = 0; i < 10; ++i)
    pass_round(steps, seq, 15'000);
  EXPECT_EQ(steps.connection().receive_buffer(), 30'000u);
  EXPECT_EQ(steps.connection().send_buffer(), 40'000u);
  CachedState larger = start.state.cached;
  larger.receive_buffer = 100'000;
  steps.update(larger);
  EXPECT_EQ(steps.connection().receive_buffer(), 100'000u);
}

// Twice what was read in a round trip and sixteen segments; and as much ahead as it is more than
// before, for which a quarter of the buffer stands at first (Linux's tcp_rcv_space_adjust).
TEST(Buffers, TheWindowGrowsByWhatARoundTripBrings) {
  Steps steps(tuned());
  std::uint32_t seq = 0;
  pass_round(steps, seq, 1'000);
  EXPECT_EQ(steps.connection().receive_buffer(), kBuffer);
  pass_round(steps, seq, 20'000);  // 21'000 since the beginning
  constexpr std::uint32_t kTwice = 2 * 21'000 + 16 * 1'000;
  constexpr std::uint32_t kAhead = 2ull * kTwice * (21'000 - kBuffer / 4) / (kBuffer / 4);
  EXPECT_EQ(steps.connection().receive_buffer(), kTwice + kAhead);
  pass_round(steps, seq, 21'000);  // no more than before
  EXPECT_EQ(steps.connection().receive_buffer(), kTwice + kAhead);
  pass_round(steps, seq, 22'000);  // a little more: what it wants is less than there is
  EXPECT_EQ(steps.connection().receive_buffer(), kTwice + kAhead);
}

TEST(Buffers, NoWindowIsLargerThanTheRing) {
  Start start = tuned();
  start.ring = 2 * kBuffer;
  Steps steps(start);
  std::uint32_t seq = 0;
  for (const std::uint32_t bytes : {1'000u, 50'000u, 80'000u})
    pass_round(steps, seq, std::min(bytes, steps.connection().receive_buffer() / 1200 * 1000));
  EXPECT_EQ(steps.connection().receive_buffer(), 2 * kBuffer);
}

TEST(Buffers, AUsersSizeIsBoundedByTheRingAndALeast) {
  Steps steps(tuned());
  CachedState cached = tuned().state.cached;
  cached.receive_buffer = cached.send_buffer = 1;
  steps.update(cached);
  EXPECT_EQ(steps.connection().receive_buffer(), 2048u);
  EXPECT_EQ(steps.connection().send_buffer(), 2048u);
  cached.receive_buffer = cached.send_buffer = 2 * kRing;
  steps.update(cached);
  EXPECT_EQ(steps.connection().receive_buffer(), kRing);
  EXPECT_EQ(steps.connection().send_buffer(), kRing);
}

Start with_wide_window() {
  Start start = tuned();
  start.state.delegated.cwnd_bytes = 40'000;
  start.state.delegated.snd_wnd = start.state.delegated.max_snd_wnd = 500'000;
  start.state.constant.snd_wind_shift = 10;
  return start;
}

TEST(Buffers, AUsersSizeIsKeptWhenTheCongestionWindowGrows) {
  Start start = with_wide_window();
  start.state.cached.send_buffer = 30'000;
  Steps steps(start);
  steps.write(200'000).forget_output();
  for (std::uint32_t ack = 20'000; ack <= 100'000; ack += 20'000)
    steps.pass(milliseconds(10)).receive({.ack = ack, .wnd = 1000}).forget_output();
  ASSERT_GT(steps.connection().info().cwnd_bytes, 40'000u);
  EXPECT_EQ(steps.connection().send_buffer(), 30'000u);
}

// What is queued cannot be taken back, and the window comes up again.
TEST(Buffers, TheSendBufferStaysWhenTheCongestionWindowFalls) {
  Steps steps(with_wide_window());
  ASSERT_EQ(steps.connection().send_buffer(), 80'000u);
  steps.write(80'000).forget_output().pass(seconds(2)).forget_output();  // nothing arrives
  steps.receive({.ack = 1000, .wnd = 1000}).forget_output();
  ASSERT_LT(steps.connection().info().cwnd_bytes, 40'000u);
  EXPECT_EQ(steps.connection().send_buffer(), 80'000u);
}

TEST(Buffers, TheSendBufferIsNotLargerThanTheRing) {
  Start start = with_wide_window();
  start.ring = 1u << 17;
  Steps steps(start);
  steps.write(100'000).forget_output();
  for (std::uint32_t ack = 10'000; ack <= 100'000; ack += 10'000)
    steps.pass(milliseconds(10)).receive({.ack = ack, .wnd = 1000}).forget_output();
  ASSERT_GT(steps.connection().info().cwnd_bytes, start.ring / 2);
  EXPECT_EQ(steps.connection().send_buffer(), start.ring);
}

TEST(Buffers, TheSendBufferFollowsTheCongestionWindow) {
  Start start = tuned();
  start.state.delegated.cwnd_bytes = 40'000;
  start.state.delegated.snd_wnd = 500'000;
  start.state.delegated.max_snd_wnd = 500'000;
  start.state.constant.snd_wind_shift = 10;
  Steps steps(start);
  EXPECT_EQ(steps.connection().send_buffer(), 80'000u);
  steps.write(400'000).forget_output();
  for (std::uint32_t ack = 20'000; ack <= 100'000; ack += 20'000)
    steps.pass(milliseconds(10)).receive({.ack = ack, .wnd = 1000}).forget_output();
  EXPECT_EQ(steps.connection().send_buffer(), 2 * steps.connection().info().cwnd_bytes);
  EXPECT_GT(steps.connection().send_buffer(), 80'000u);
}

TEST(Buffers, NotsentLowatLeavesLittleUnsent) {
  Start start = tuned();
  start.state.cached.notsent_lowat = 20'000;
  start.state.delegated.cwnd_bytes = 5'000;
  Steps steps(start);
  EXPECT_EQ(steps.connection().send_buffer(), 20'000u);
  steps.write(20'000).forget_output();  // 5000 of it leave
  EXPECT_EQ(steps.connection().send_buffer(), 25'000u);
}

TEST(Buffers, TheWindowFieldIsTheLimitWithoutScaling) {
  Start start = tuned();
  start.state.constant.rcv_wind_shift = 0;
  start.state.constant.window_scaling = false;
  start.limits.receive_buffer = kRing;
  Steps steps(start);
  steps.receive({.len = 2000, .gso = 1000}).forget_output().consume(2000).forget_output();
  EXPECT_LE(steps.connection().info().rcv_wnd, 65'535u);
}

}  // namespace
}  // namespace snp::tcp::testing
