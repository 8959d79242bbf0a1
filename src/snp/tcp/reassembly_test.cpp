// The intervals against a model: one flag per byte.
#include "snp/tcp/reassembly.h"

#include <set>
#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

constexpr std::uint32_t kSpace = 600;

class Model {
 public:
  // True: something new.
  bool add(std::uint32_t start, std::uint32_t end) {
    bool is_new = false;
    for (std::uint32_t i = start; i < end; ++i) {
      is_new |= !has_[i];
      has_[i] = true;
    }
    return is_new;
  }
  std::uint32_t advance(std::uint32_t to) {
    while (to < kSpace && has_[to])
      ++to;
    std::fill(has_.begin(), has_.begin() + to, false);
    return to;
  }
  [[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint32_t>> intervals() const {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
    for (std::uint32_t i = 0; i < kSpace; ++i) {
      if (!has_[i]) continue;
      if (found.empty() || found.back().second != i) found.emplace_back(i, i);
      found.back().second = i + 1;
    }
    return found;
  }

 private:
  std::vector<bool> has_ = std::vector<bool>(kSpace + 1);
};

void expect_same(const Reassembly& reassembly, const Model& model, SeqNum base) {
  const auto wanted = model.intervals();
  RC_ASSERT(reassembly.size() == wanted.size());
  for (std::uint32_t i = 0; i < wanted.size(); ++i) {
    RC_ASSERT(reassembly.at(i).start == base + wanted[i].first);
    RC_ASSERT(reassembly.at(i).end == base + wanted[i].second);
  }
}

class Script {
 public:
  explicit Script(SeqNum base) : base_(base) {}  // anywhere, also over the wrap

  void step() {
    if (rcv_nxt_ + 2 >= kSpace) return;
    if (*rc::gen::inRange(0, 4) != 0)
      add();
    else
      advance();
    expect_same(reassembly_, model_, base_);
  }

 private:
  void add() {
    const auto start = *rc::gen::inRange(rcv_nxt_ + 1, kSpace);
    const auto end = *rc::gen::inRange(start + 1, std::min(start + 40, kSpace) + 1);
    const auto added = reassembly_.add(base_ + start, base_ + end);
    if (added == Reassembly::Added::kNoRoom) {
      RC_ASSERT(reassembly_.size() == Reassembly::kMaxIntervals);
      return;
    }
    RC_ASSERT(model_.add(start, end) == (added == Reassembly::Added::kNew));
  }

  void advance() {
    const auto to = std::min(*rc::gen::inRange(rcv_nxt_, rcv_nxt_ + 30), kSpace);
    rcv_nxt_ = model_.advance(to);
    RC_ASSERT(reassembly_.advance(base_ + to) == base_ + rcv_nxt_);
  }

  SeqNum base_;
  Reassembly reassembly_;
  Model model_;
  std::uint32_t rcv_nxt_ = 0;
};

TEST(Reassembly, BehavesAsAFlagPerByte) {
  EXPECT_TRUE(rc::check([](std::uint32_t base) {
    Script script{SeqNum(base)};
    const auto steps = *rc::gen::inRange(1, 80);
    for (int i = 0; i < steps; ++i)
      script.step();
  }));
}

TEST(Reassembly, ReportsTheNewestFirstAndEachOnce) {
  EXPECT_TRUE(rc::check([] {
    Reassembly reassembly;
    SackBlock last{};
    const auto steps = *rc::gen::inRange(1, 40);
    for (int step = 0; step < steps; ++step) {
      const auto start = *rc::gen::inRange(1u, kSpace);
      const SeqNum from(start);
      if (reassembly.add(from, from + 5) == Reassembly::Added::kNoRoom) continue;
      last = {from, from + 5};
    }
    std::array<SackBlock, 4> blocks{};
    const auto count = reassembly.report(blocks, 0, 4);
    RC_ASSERT(count == std::min<std::uint32_t>(4, reassembly.size()));
    RC_ASSERT(blocks[0].start <= last.start && last.end <= blocks[0].end);
    std::set<std::uint32_t> starts;
    for (std::uint8_t i = 0; i < count; ++i)
      RC_ASSERT(starts.insert(blocks[i].start.value()).second);
  }));
}

TEST(Reassembly, RefusesMoreHolesThanItCanHold) {
  Reassembly reassembly;
  for (std::uint32_t i = 0; i < Reassembly::kMaxIntervals; ++i)
    ASSERT_EQ(reassembly.add(SeqNum(10 * i + 10), SeqNum(10 * i + 15)), Reassembly::Added::kNew);
  EXPECT_EQ(reassembly.add(SeqNum(5), SeqNum(6)), Reassembly::Added::kNoRoom);
  EXPECT_EQ(reassembly.add(SeqNum(15), SeqNum(20)), Reassembly::Added::kNew);  // fills a hole
  EXPECT_EQ(reassembly.size(), Reassembly::kMaxIntervals - 1);
}

}  // namespace
}  // namespace snp::tcp
