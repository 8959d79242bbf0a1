#include "snp/ipc/slot_gate.h"

#include <thread>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

namespace snp::ipc {
namespace {

TEST(SlotGate, ModeWordCarriesModeAndGeneration) {
  Slot slot;
  EXPECT_EQ(mode_of(slot.engine.mode_word), SlotMode::kInHost);
  set_mode(slot, SlotMode::kOffloading);
  set_mode(slot, SlotMode::kOffloaded);
  EXPECT_EQ(mode_of(slot.engine.mode_word), SlotMode::kOffloaded);
  EXPECT_EQ(generation_of(slot.engine.mode_word), 2u);
}

TEST(SlotGate, IsOpenAtHomeAndAtTheTarget) {
  EXPECT_TRUE(is_gate_open(make_mode_word(1, SlotMode::kInHost)));
  EXPECT_TRUE(is_gate_open(make_mode_word(2, SlotMode::kOffloaded)));
  EXPECT_FALSE(is_gate_open(make_mode_word(3, SlotMode::kOffloading)));
  EXPECT_FALSE(is_gate_open(make_mode_word(4, SlotMode::kUploading)));
}

TEST(SlotGate, CountsWhoIsInside) {
  Slot slot;
  EXPECT_EQ(mode_of(enter(slot)), SlotMode::kInHost);
  EXPECT_TRUE(has_users(slot));
  leave(slot);
  EXPECT_FALSE(has_users(slot));
}

// Callers that pass the gate never run together with who has closed it and seen nobody inside. The
// counter is plain on purpose: a data race would show, under ThreadSanitizer at once.
TEST(SlotGate, KeepsCallsAndHandOversApart) {
  Slot slot;
  std::uint64_t guarded = 0;
  std::atomic<std::uint32_t> in_calls{0};
  std::atomic<bool> stops{false};
  std::atomic<bool> is_violated{false};
  std::vector<std::thread> callers;
  callers.reserve(2);
  for (int i = 0; i < 2; ++i)
    callers.emplace_back([&] {
      while (!stops) {
        const std::uint32_t word = enter(slot);
        if (!is_gate_open(word)) is_violated = true;
        in_calls.fetch_add(1);
        if (guarded % 2 != 0) is_violated = true;  // a hand-over is in its middle
        in_calls.fetch_sub(1);
        leave(slot);
      }
    });
  int done = 0;
  for (int tries = 0; tries < 200'000 && done < 500; ++tries) {
    set_mode(slot, SlotMode::kOffloading);
    for (int spins = 0; spins < 1000 && has_users(slot); ++spins)
      std::this_thread::yield();
    if (!has_users(slot)) {
      ++guarded;
      if (in_calls != 0) is_violated = true;
      ++guarded;
      ++done;
    }
    set_mode(slot, done % 2 == 0 ? SlotMode::kInHost : SlotMode::kOffloaded);
  }
  stops = true;
  for (auto& caller : callers)
    caller.join();
  EXPECT_FALSE(is_violated);
  EXPECT_EQ(done, 500);
  EXPECT_EQ(guarded, 1000u);
}

TEST(SlotGate, WaitersGoOnWhenItOpens) {
  Slot slot;
  set_mode(slot, SlotMode::kOffloading);
  std::atomic<bool> has_passed{false};
  std::thread caller([&] {
    EXPECT_EQ(mode_of(enter(slot)), SlotMode::kOffloaded);
    has_passed = true;
    leave(slot);
  });
  ::usleep(20'000);
  EXPECT_FALSE(has_passed);
  set_mode(slot, SlotMode::kOffloaded);
  caller.join();
  EXPECT_TRUE(has_passed);
}

}  // namespace
}  // namespace snp::ipc
