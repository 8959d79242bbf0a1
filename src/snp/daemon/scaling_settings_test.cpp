#include "snp/daemon/scaling_settings.h"

#include <string>

#include <gtest/gtest.h>

namespace snp::daemon {
namespace {

// Whoever knows the key can send all packets to one CPU.
TEST(ScalingSettings, TheKeyIsANewSecretUntilASettingSaysAnother) {
  const auto one = make_secret_key(), other = make_secret_key();
  ASSERT_TRUE(one);
  ASSERT_TRUE(other);
  EXPECT_NE(*one, *other);

  settings::Settings values;
  EXPECT_EQ(hash_key_of(values, *one), *one);
  ASSERT_TRUE(values.set("rss_key", "symmetric"));
  EXPECT_NE(hash_key_of(values, *one), *one);
  ASSERT_TRUE(values.set("rss_key", std::string(2 * rss::kKeyBytes, 'a')));
  EXPECT_EQ(hash_key_of(values, *one), hash_key_of(values, *other));
}

}  // namespace
}  // namespace snp::daemon
