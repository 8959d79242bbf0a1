#include "snp/tcp/delivery_rate.h"

#include <gtest/gtest.h>

namespace snp::tcp {
namespace {

constexpr std::uint32_t kRttUs = 10'000;
constexpr SeqNum kIss(0xfffff000);

// Pieces of 1000 bytes leave 100 us apart and are acknowledged so, a round trip later.
TEST(DeliveryRate, IsThatOfSteadyAcknowledgements) {
  DeliveryRate rate;
  RateSample last;
  for (std::uint32_t t = 0; t < 500; ++t) {
    rate.on_sent(kIss + (t + 1) * 1000, t == 0, t * 100, kRttUs / 8);
    if (t >= 100) {
      const RateSample now = rate.on_delivered(1000, kIss + (t - 99) * 1000, t * 100, kRttUs);
      if (now.bytes_per_s != 0) last = now;
    }
  }
  EXPECT_NEAR(static_cast<double>(last.bytes_per_s), 1e7, 1e6);
  EXPECT_FALSE(last.is_app_limited);
}

TEST(DeliveryRate, ABunchOfAcknowledgementsPromisesNoMoreThanWasSent) {
  DeliveryRate rate;
  for (std::uint32_t t = 0; t < 10; ++t)
    rate.on_sent(kIss + (t + 1) * 1000, t == 0, t * 10'000, 0);
  RateSample last;
  for (std::uint32_t t = 0; t < 10; ++t) {  // all within 10 us
    const RateSample now = rate.on_delivered(1000, kIss + (t + 1) * 1000, 200'000 + t, kRttUs);
    if (now.bytes_per_s != 0) last = now;
  }
  EXPECT_LE(last.bytes_per_s, 110'000u);
  EXPECT_GT(last.bytes_per_s, 0u);
}

TEST(DeliveryRate, SaysNothingFasterThanTheLeastRoundTrip) {
  DeliveryRate rate;
  rate.on_sent(kIss + 1000, true, 0, 0);
  EXPECT_EQ(rate.on_delivered(1000, kIss + 1000, kRttUs / 2, kRttUs).bytes_per_s, 0u);
}

TEST(DeliveryRate, KnowsWhenTheApplicationWasTheLimit) {
  DeliveryRate rate;
  rate.on_sent(kIss + 1000, true, 0, 0);
  rate.note_app_limited(1000);
  rate.on_sent(kIss + 2000, false, 1000, 0);
  EXPECT_FALSE(rate.on_delivered(1000, kIss + 1000, kRttUs, kRttUs).is_app_limited);
  EXPECT_TRUE(rate.on_delivered(1000, kIss + 2000, kRttUs + 1000, kRttUs).is_app_limited);
  rate.on_sent(kIss + 3000, false, kRttUs + 1000, 0);
  EXPECT_FALSE(rate.on_delivered(1000, kIss + 3000, 2 * kRttUs + 1000, kRttUs).is_app_limited);
}

// After a timeout what is sent again tells of the path, not of the time until the loss was noticed.
TEST(DeliveryRate, ForgetsWhatCountsAsLost) {
  DeliveryRate rate;
  for (std::uint32_t t = 0; t < 10; ++t)
    rate.on_sent(kIss + (t + 1) * 1000, t == 0, t * 100, 0);
  constexpr std::uint32_t kTimeoutUs = 3'000'000;
  rate.forget();
  rate.on_sent(kIss + 1000, true, kTimeoutUs, 0);
  rate.on_sent(kIss + 11'000, false, kTimeoutUs + 50, 0);  // new data may come between
  rate.on_sent(kIss + 2000, false, kTimeoutUs + 100, 0);
  const RateSample first = rate.on_delivered(1000, kIss + 1000, kTimeoutUs + kRttUs, kRttUs);
  EXPECT_EQ(first.bytes_per_s, 100'000u);
  EXPECT_EQ(rate.on_delivered(1000, kIss + 2000, kTimeoutUs + kRttUs, kRttUs).bytes_per_s, 0u);
  const RateSample last = rate.on_delivered(9000, kIss + 11'000, kTimeoutUs + kRttUs + 100, kRttUs);
  EXPECT_GT(last.bytes_per_s, 1'000'000u);
}

TEST(DeliveryRate, MarksAreFewInARound) {
  DeliveryRate rate;
  for (std::uint32_t t = 0; t < 1000; ++t)
    rate.on_sent(kIss + (t + 1) * 1000, t == 0, t * 10, kRttUs / 8);
  int samples = 0;
  for (std::uint32_t t = 0; t < 1000; ++t)
    samples +=
        rate.on_delivered(1000, kIss + (t + 1) * 1000, kRttUs + t * 10, kRttUs).bytes_per_s != 0;
  EXPECT_LE(samples, 8);
  EXPECT_GE(samples, 5);
}

}  // namespace
}  // namespace snp::tcp
