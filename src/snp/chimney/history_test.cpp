#include "snp/chimney/history.h"

#include <cstring>
#include <memory>
#include <random>

#include <gtest/gtest.h>

namespace snp::chimney {
namespace {

const Origin kRedis = Origin::listener({IpAddress::v4(0, 0, 0, 0), 6379});
const Origin kProxy = Origin::outgoing("nginx", 8080);
constexpr Instant kStart{seconds(1000)};

void add(History& history, const Origin& origin, int earned, int not_earned, Instant now = kStart) {
  for (int i = 0; i < not_earned; ++i)
    history.add(origin, false, 0, now);
  for (int i = 0; i < earned; ++i)
    history.add(origin, true, 0, now);
}

TEST(History, Predicts) {
  const struct {
    Outcomes outcomes;
    std::uint32_t percent;
    Prediction prediction;
  } rows[] = {
      {{0, 0}, 80, Prediction::kUnknown},   {{7, 7}, 80, Prediction::kUnknown},
      {{8, 8}, 80, Prediction::kPays},      {{40, 50}, 80, Prediction::kPays},
      {{39, 50}, 80, Prediction::kUnknown}, {{5, 50}, 80, Prediction::kDoesNot},
      {{6, 50}, 80, Prediction::kUnknown},  {{0, 8}, 80, Prediction::kDoesNot},
      {{0, 7}, 80, Prediction::kUnknown},   {{50, 50}, 0, Prediction::kUnknown},
      {{0, 50}, 0, Prediction::kUnknown},   {{49, 50}, 100, Prediction::kUnknown},
      {{50, 50}, 100, Prediction::kPays},   {{1, 8}, 5, Prediction::kPays},
  };
  for (const auto& row : rows)
    EXPECT_EQ(predict(row.outcomes, row.percent), row.prediction)
        << row.outcomes.earned << " of " << row.outcomes.of << ", " << row.percent << " %";
}

TEST(History, SaysItInWords) {
  EXPECT_EQ(to_string(kRedis), "listener 0.0.0.0:6379");
  EXPECT_EQ(to_string(Origin::listener({IpAddress{}, 80})), "listener [::]:80");
  EXPECT_EQ(to_string(kProxy), "nginx to port 8080");
  EXPECT_EQ(to_string(Origin::outgoing(std::string(99, 'x'), 1)),
            std::string(31, 'x') + " to port 1");
  EXPECT_EQ(to_string(Outcomes{48, 50}), "48 of the last 50 connections earned their hand-over");
  EXPECT_EQ(to_string(Outcomes{0, 1}), "0 of the last 1 connection earned their hand-over");
}

TEST(History, RemembersTheLastFifty) {
  auto history = std::make_unique<History>();
  add(*history, kRedis, 0, 30);
  EXPECT_EQ(history->outcomes(kRedis, kStart).of, 30u);
  add(*history, kRedis, 48, 0);
  EXPECT_EQ(history->outcomes(kRedis, kStart).of, 50u);
  EXPECT_EQ(history->outcomes(kRedis, kStart).earned, 48u);
  EXPECT_EQ(history->outcomes(kProxy, kStart).of, 0u);  // another's
}

// Half of what is known, the older half, goes with every ten minutes of silence.
TEST(History, Fades) {
  auto history = std::make_unique<History>();
  add(*history, kRedis, 25, 25);
  const auto later = [&](int half_lives) {
    return history->outcomes(kRedis, kStart + half_lives * History::kHalfLife);
  };
  EXPECT_EQ(later(0).earned, 25u);
  EXPECT_EQ(later(1).of, 25u);
  EXPECT_EQ(later(1).earned, 25u);
  EXPECT_EQ(later(2).of, 12u);
  EXPECT_EQ(later(6).of, 0u);
  EXPECT_EQ(later(1'000'000).of, 0u);
  EXPECT_EQ(history->outcomes(kRedis, kStart - seconds(5)).of, 50u);  // no clock goes back, but if
  // What comes later is added to what is left.
  history->add(kRedis, false, 0, kStart + 2 * History::kHalfLife);
  EXPECT_EQ(later(2).of, 13u);
  EXPECT_EQ(later(2).earned, 12u);
}

TEST(History, KnowsTheSizeOfMessages) {
  auto history = std::make_unique<History>();
  EXPECT_EQ(history->message_bytes(kRedis), 0u);
  history->add(kRedis, true, 100, kStart);
  EXPECT_EQ(history->message_bytes(kRedis), 100u);
  history->add(kRedis, true, 0, kStart);  // not known
  EXPECT_EQ(history->message_bytes(kRedis), 100u);
  history->add(kRedis, true, 500, kStart);
  EXPECT_EQ(history->message_bytes(kRedis), 200u);
  history->add(kRedis, true, 4, kStart);
  EXPECT_EQ(history->message_bytes(kRedis), 151u);
}

// However many origins there are: the table has its size, and who is heard of stays.
TEST(History, ForgetsWhoWasSilentLongest) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  auto history = std::make_unique<History>();
  Instant now = kStart;
  for (int i = 0; i < 20'000; ++i) {
    now += milliseconds(1);
    history->add(kRedis, true, 0, now);
    history->add(Origin::outgoing("p" + std::to_string(random() % 5000),
                                  static_cast<std::uint16_t>(random())),
                 false, 0, now);
  }
  EXPECT_EQ(history->outcomes(kRedis, now).earned, 50u);
  const auto rows = history->rows(now);
  EXPECT_LE(rows.size(), 512u);
  EXPECT_GT(rows.size(), 400u);
  EXPECT_EQ(rows.front().origin, kRedis);  // best known first
}

TEST(History, TidyDropsWhatADeadEngineLeft) {
  auto history = std::make_unique<History>();
  add(*history, kRedis, 10, 0);
  add(*history, kProxy, 10, 0);
  history->tidy(kStart);
  EXPECT_EQ(history->rows(kStart).size(), 2u);
  // An entry from the future, as a clock that began anew would make it.
  history->add(kProxy, true, 0, kStart + seconds(100));
  history->tidy(kStart);
  EXPECT_EQ(history->outcomes(kProxy, kStart).of, 0u);
  EXPECT_EQ(history->outcomes(kRedis, kStart).of, 10u);
  std::memset(static_cast<void*>(history.get()), 1, sizeof(History));
  history->tidy(kStart);
  EXPECT_TRUE(history->rows(kStart).empty());
}

}  // namespace
}  // namespace snp::chimney
