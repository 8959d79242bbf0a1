// The scoreboard against a model: the fate of each byte.
#include "snp/tcp/sack_scoreboard.h"

#include <vector>

#include <rapidcheck.h>

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

using Fate = SentRange::Fate;

struct Byte {
  Fate fate = Fate::kInFlight;
  std::uint32_t sent_us = 0;
};

// Bytes from una on.
struct Model {
  std::uint32_t una = 0;
  std::vector<Byte> bytes;  // index: offset from the start of everything

  [[nodiscard]] std::uint32_t count(Fate fate) const {
    std::uint32_t n = 0;
    for (std::size_t i = una; i < bytes.size(); ++i)
      n += bytes[i].fate == fate ? 1u : 0u;
    return n;
  }
};

void expect_same(const SackScoreboard& board, const Model& model, SeqNum base) {
  RC_ASSERT(board.una() == base + model.una);
  RC_ASSERT(board.outstanding() == model.bytes.size() - model.una);
  RC_ASSERT(board.sacked_bytes() == model.count(Fate::kSacked));
  RC_ASSERT(board.lost_bytes() == model.count(Fate::kLost));
  RC_ASSERT(board.in_flight() == model.count(Fate::kInFlight));
  std::uint32_t offset = model.una;
  for (std::uint32_t i = 0; i < board.ranges(); ++i) {
    const SentRange& range = board.range(i);
    RC_ASSERT(base + offset < range.end);
    for (; base + offset != range.end; ++offset)
      RC_ASSERT(model.bytes[offset].fate == range.fate);
  }
  RC_ASSERT(offset == model.bytes.size());
}

class Script {
 public:
  explicit Script(std::uint32_t base) : base_(base) { board_.start(base_, base_, 0); }

  void step() {
    now_us_ += *rc::gen::inRange(0u, 50u);
    const auto size = static_cast<std::uint32_t>(model_.bytes.size());
    switch (*rc::gen::inRange(0, 8)) {
      case 0:
      case 1:
      case 2:
        return send(*rc::gen::inRange(1u, 30u));
      case 3:
        if (size > model_.una) ack(*rc::gen::inRange(model_.una + 1, size + 1));
        return;
      case 4:
      case 5:
        if (size > model_.una + 1) sack();
        return;
      case 6:
        return lose();
      default:
        return resend();
    }
  }

 private:
  void send(std::uint32_t bytes) {
    model_.bytes.resize(model_.bytes.size() + bytes, {Fate::kInFlight, now_us_});
    board_.on_sent(base_ + static_cast<std::uint32_t>(model_.bytes.size()), now_us_);
    check();
  }

  void ack(std::uint32_t to) {
    std::uint32_t delivered = 0;
    for (; model_.una < to; ++model_.una)
      delivered += model_.bytes[model_.una].fate != Fate::kSacked ? 1u : 0u;
    Delivery delivery;
    board_.on_acked(base_ + to, delivery);
    RC_ASSERT(delivery.bytes == delivered);
    check();
  }

  void sack() {
    const auto size = static_cast<std::uint32_t>(model_.bytes.size());
    const auto from = *rc::gen::inRange(model_.una, size);
    const auto to = *rc::gen::inRange(from + 1, size + 1);
    if (board_.ranges() + 2 > SackScoreboard::kCapacity) return;
    std::uint32_t delivered = 0;
    for (std::uint32_t i = from; i < to; ++i) {
      delivered += model_.bytes[i].fate != Fate::kSacked ? 1u : 0u;
      model_.bytes[i].fate = Fate::kSacked;
    }
    Delivery delivery;
    board_.on_sacked(base_ + from, base_ + to, delivery);
    RC_ASSERT(delivery.bytes == delivered);
    check();
  }

  void lose() {
    board_.mark_all_lost();
    for (std::size_t i = model_.una; i < model_.bytes.size(); ++i)
      if (model_.bytes[i].fate == Fate::kInFlight) model_.bytes[i].fate = Fate::kLost;
    check();
  }

  void resend() {
    SeqNum from, to;
    const bool is_any = board_.first_lost(from, to);
    RC_ASSERT(is_any == (model_.count(Fate::kLost) != 0));
    if (!is_any || board_.ranges() + 2 > SackScoreboard::kCapacity) return;
    to = seq_min(to, from + *rc::gen::inRange(1u, 20u));
    board_.on_retransmitted(from, to, now_us_);
    for (std::uint32_t i = from - base_; i < to - base_; ++i)
      model_.bytes[i] = {Fate::kInFlight, now_us_};
    check();
  }

  void check() { expect_same(board_, model_, base_); }

  SeqNum base_;
  SackScoreboard board_;
  Model model_;
  std::uint32_t now_us_ = 0xfffffff0u;  // the clock wraps in the middle
};

TEST(SackScoreboard, KnowsTheFateOfEachByte) {
  EXPECT_TRUE(rc::check([](std::uint32_t base) {
    Script script(base);
    const auto steps = *rc::gen::inRange(1, 100);
    for (int i = 0; i < steps; ++i)
      script.step();
  }));
}

TEST(SackScoreboard, MergesWhenItIsCrowdedAndForgetsNothing) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 10'000; ++i)
    board.on_sent(SeqNum(i * 1000), i);
  EXPECT_EQ(board.outstanding(), 10'000'000u);
  EXPECT_LE(board.ranges(), SackScoreboard::kCapacity);
  // Many small holes: what there is no room for counts as not SACKed, never the other way round.
  Delivery delivery;
  std::uint32_t reported = 0;
  for (std::uint32_t i = 1; i < 500; ++i, reported += 1000)
    board.on_sacked(SeqNum(i * 2000), SeqNum(i * 2000 + 1000), delivery);
  EXPECT_LE(board.sacked_bytes(), reported);
  EXPECT_EQ(board.in_flight() + board.sacked_bytes(), 10'000'000u);
  board.on_acked(SeqNum(10'000'000), delivery);
  EXPECT_EQ(board.outstanding(), 0u);
  EXPECT_EQ(board.sacked_bytes(), 0u);
}

// A thousand segments, one each 100 us; every fourth is missing at the other end. What is told
// apart again, on a board that had to merge, must not look much younger or older than it is.
TEST(SackScoreboard, AMergedRangeRemembersWhenItsPartsWereSent) {
  constexpr std::uint32_t kGap = 100;
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 1000; ++i)
    board.on_sent(SeqNum(i * 1000), i * kGap);
  for (std::uint32_t i = 1; i <= 1000; ++i) {
    if (i % 4 == 0) continue;
    Delivery delivery;
    board.on_sacked(SeqNum((i - 1) * 1000), SeqNum(i * 1000), delivery);
    if (!delivery.newest.is_set) continue;  // no room to remember it
    EXPECT_NEAR(delivery.newest.sent_us, i * kGap, 5 * kGap) << "segment " << i;
  }
  for (std::uint32_t i = 0; i + 1 < board.ranges(); ++i)
    EXPECT_LE(board.range(i).sent_us, board.range(i + 1).sent_us + 5 * kGap);
}

// When nothing but merging makes room, what was sent long ago does not become new.
TEST(SackScoreboard, CompactingKeepsOldAndNewApart) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 2 * SackScoreboard::kCapacity; ++i)
    board.on_sent(SeqNum(i * 1000), i * 1000);
  EXPECT_LE(board.range(0).sent_us, 20'000u);
  EXPECT_GE(board.ranges(), SackScoreboard::kCapacity / 4);
}

TEST(SackScoreboard, RackMarksWhatWasSentLongBeforeTheNewest) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 5; ++i)
    board.on_sent(SeqNum(i * 10), i * 100);  // sent at 100, 200, .. 500 us
  Delivery delivery;
  board.on_sacked(SeqNum(30), SeqNum(40), delivery);
  ASSERT_TRUE(delivery.newest.is_set);
  EXPECT_EQ(delivery.newest.sent_us, 400u);
  const auto losses = board.mark_lost_before(delivery.newest, 250);
  EXPECT_EQ(losses.bytes, 20u);  // [0, 20): sent at 100 and 200
  EXPECT_TRUE(losses.must_wait);
  EXPECT_EQ(losses.earliest_us, 300u);
  EXPECT_EQ(board.in_flight(), 20u);  // [20, 30) waits, [40, 50) was sent later
}

TEST(SackScoreboard, WhatOneAckTellsIsInNoOrder) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 8; ++i)
    board.on_sent(SeqNum(i * 10), i);
  Delivery delivery;
  delivery.highest = board.highest_delivered();
  board.on_sacked(SeqNum(60), SeqNum(70), delivery);
  board.on_sacked(SeqNum(30), SeqNum(40), delivery);
  board.on_acked(SeqNum(10), delivery);
  EXPECT_FALSE(delivery.saw_reordering);
}

TEST(SackScoreboard, ReordersAreSeenOnOriginalsOnly) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 4; ++i)
    board.on_sent(SeqNum(i * 10), i);
  Delivery first;
  board.on_sacked(SeqNum(20), SeqNum(30), first);
  EXPECT_FALSE(first.saw_reordering);
  Delivery second;
  second.highest = board.highest_delivered();
  board.on_sacked(SeqNum(10), SeqNum(20), second);
  EXPECT_TRUE(second.saw_reordering);
  board.on_retransmitted(SeqNum(0), SeqNum(10), 9);
  Delivery third;
  third.highest = board.highest_delivered();
  board.on_acked(SeqNum(30), third);
  EXPECT_FALSE(third.saw_reordering);
  EXPECT_TRUE(third.saw_resent);
}

// What is found by dividing a merged range gives no round-trip time: a burst and a pause look like
// a steady stream.
TEST(SackScoreboard, AnEstimatedTimeIsNoSample) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  constexpr std::uint32_t kPieces = 4 * SackScoreboard::kCapacity;
  for (std::uint32_t i = 1; i <= kPieces; ++i)
    board.on_sent(SeqNum(i * 1000), i * 100);
  ASSERT_LE(board.ranges(), SackScoreboard::kCapacity);
  int estimated = 0;
  for (std::uint32_t i = kPieces / 2; i + 2 < kPieces; i += 2) {
    Delivery delivery;
    board.on_sacked(SeqNum(i * 1000), SeqNum(i * 1000 + 1000), delivery);
    if (delivery.newest.is_estimated)
      ++estimated;
    else
      EXPECT_EQ(delivery.newest.sent_us, (i + 1) * 100);
  }
  EXPECT_GT(estimated, 0);
}

// More holes than the board can remember: the smallest of what arrived is forgotten, the largest is
// not, and the books stay right.
TEST(SackScoreboard, ForgetsTheSmallestWhenNothingCanBeMerged) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  constexpr std::uint32_t kHoles = SackScoreboard::kCapacity;
  for (std::uint32_t i = 1; i <= 4 * kHoles; ++i)
    board.on_sent(SeqNum(i * 1000), i);
  Delivery delivery;
  board.on_sacked(SeqNum(3'500'000 / 1000 * 400), SeqNum(3'500'000 / 1000 * 400 + 100'000),
                  delivery);
  const std::uint32_t large = board.sacked_bytes();
  ASSERT_EQ(large, 100'000u);
  for (std::uint32_t i = 0; i < kHoles; ++i)
    board.on_sacked(SeqNum(i * 2000 + 1000), SeqNum(i * 2000 + 2000), delivery);
  EXPECT_LE(board.ranges(), SackScoreboard::kCapacity);
  EXPECT_GE(board.sacked_bytes(), large);
  EXPECT_LT(board.sacked_bytes(), large + kHoles * 1000);
  EXPECT_EQ(board.in_flight(), board.outstanding() - board.sacked_bytes());
  EXPECT_GT(board.sacked_bytes(), large + kHoles * 1000 / 4);
}

// Two hundred segments, one each 1.6 ms, get a hole in the middle each until the board is full.
// Then the end of one and the beginning of the next become one range, which must know both times:
// RACK takes by the first what is old for lost (RFC 8985 6.2 step 5), and measures by the last.
TEST(SackScoreboard, MergingKeepsTheFirstAndTheLastTime) {
  constexpr std::uint32_t kGap = 100 * SentRange::kSpreadUs;
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  for (std::uint32_t i = 1; i <= 200; ++i)
    board.on_sent(SeqNum(i * 5000), i * kGap);
  std::uint32_t next = 0;
  for (std::uint32_t before = 0; before <= board.ranges(); ++next) {
    before = board.ranges();
    Delivery delivery;
    board.on_sacked(SeqNum(next * 5000 + 2000), SeqNum(next * 5000 + 3000), delivery);
    ASSERT_LT(next, 200u) << "the board was never full";
  }
  int merged = 0;
  std::uint32_t start = 0;
  // The last ones were divided again.
  for (std::uint32_t i = 0; board.range(i).end < SeqNum((next - 2) * 5000); ++i) {
    const SentRange& range = board.range(i);
    const std::uint32_t first = start / 5000 + 1;
    const std::uint32_t last = (range.end - SeqNum(0) - 1) / 5000 + 1;
    start = range.end - SeqNum(0);
    if (range.fate == Fate::kSacked) continue;
    EXPECT_EQ(range.sent_us, last * kGap) << "range " << i;
    EXPECT_EQ(range.spread * SentRange::kSpreadUs, (last - first) * kGap) << "range " << i;
    merged += last != first ? 1 : 0;
  }
  EXPECT_GT(merged, 100);
}

// A board on which nothing can be merged: one burst of which pieces arrived, the 100th the
// smallest, then the 101st.
class Crowded {
 public:
  explicit Crowded(bool is_lost) {
    board_.start(SeqNum(0), SeqNum(0), 0);
    board_.on_sent(SeqNum(2'000'000), 1);
    if (is_lost) board_.mark_all_lost();
    while (board_.ranges() + 2 <= SackScoreboard::kCapacity)
      sack();
  }
  void sack() {
    const std::uint32_t bytes = pieces_ == 99 ? 500 : pieces_ == 100 ? 600 : 1000;
    ++pieces_;
    Delivery delivery;
    board_.on_sacked(SeqNum(pieces_ * 4000), SeqNum(pieces_ * 4000 + bytes), delivery);
    sacked_ += bytes;
  }
  [[nodiscard]] Fate fate_of(std::uint32_t piece) const {
    std::uint32_t i = 0;
    while (board_.range(i).end <= SeqNum(piece * 4000))
      ++i;
    return board_.range(i).fate;
  }
  [[nodiscard]] const SackScoreboard& board() const { return board_; }
  [[nodiscard]] std::uint32_t sacked() const { return sacked_; }

 private:
  SackScoreboard board_;
  std::uint32_t pieces_ = 0;
  std::uint32_t sacked_ = 0;
};

// To send it again is the least waste.
TEST(SackScoreboard, OneAfterTheOtherTheSmallestIsForgotten) {
  Crowded crowded(false);
  ASSERT_EQ(crowded.board().sacked_bytes(), crowded.sacked());
  crowded.sack();
  EXPECT_EQ(crowded.board().sacked_bytes(), crowded.sacked() - 500);
  EXPECT_EQ(crowded.fate_of(100), Fate::kInFlight);
  EXPECT_EQ(crowded.fate_of(101), Fate::kSacked);
  crowded.sack();
  EXPECT_EQ(crowded.board().sacked_bytes(), crowded.sacked() - 1100);
  EXPECT_EQ(crowded.fate_of(101), Fate::kInFlight);
  EXPECT_EQ(crowded.fate_of(102), Fate::kSacked);
  EXPECT_EQ(crowded.board().in_flight(), 2'000'000 - crowded.sacked() + 1100);
}

TEST(SackScoreboard, WhatIsForgottenIsSentAgainWithTheHoleBeforeIt) {
  Crowded crowded(true);
  crowded.sack();
  EXPECT_EQ(crowded.fate_of(100), Fate::kLost);
  EXPECT_EQ(crowded.board().lost_bytes(), 2'000'000 - crowded.sacked() + 500);
  EXPECT_EQ(crowded.board().in_flight(), 0u);
}

// What a peer has thrown away was lost by it, not by the path: no congestion control learns of it.
TEST(SackScoreboard, RenegedDataIsToBeSentAgainButIsNoLossOfThePath) {
  SackScoreboard board;
  board.start(SeqNum(0), SeqNum(0), 0);
  board.on_sent(SeqNum(9000), 1000);
  Delivery delivery;
  board.on_sacked(SeqNum(2000), SeqNum(9000), delivery);
  board.mark_first_lost(2000);
  ASSERT_EQ(board.total_lost(), 2000u);
  board.lose_sacked();
  EXPECT_EQ(board.lost_bytes(), 9000u);
  EXPECT_EQ(board.total_lost(), 2000u);
}

}  // namespace
}  // namespace snp::tcp
