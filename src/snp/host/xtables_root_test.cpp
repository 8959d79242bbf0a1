// The watch of iptables-legacy in a namespace of its own: told of changes, and blind.
#include <poll.h>

#include <gtest/gtest.h>

#include "snp/host/xtables_watch.h"

#include "test/support/netns.h"

namespace snp::host {
namespace {

const FlowView kFlow{*parse_four_tuple("10.0.0.1:40000-10.0.0.2:6379"), "eth0", false};

OpenCalls nothing_to_trace() {
  return [] { return Result<std::unique_ptr<KernelCalls>>(fail(Errc::kUnsupported, "none")); };
}

class XtablesTest : public testing::Test {
 protected:
  // In words: what concerns the flow.
  static std::string concern(FeatureWatch& watch) {
    const auto features = watch.look();
    if (!features) return features.error().message;
    for (const Feature& feature : *features)
      if (feature.concerns(kFlow)) return feature.what + ", " + feature.where(kFlow);
    return "";
  }
  static bool is_told(FeatureWatch& watch, int wait_ms) {
    pollfd readable{watch.fd(), POLLIN, 0};
    return ::poll(&readable, 1, wait_ms) > 0 && watch.drain();
  }

  test::NetNamespace namespace_;
  test::NetNamespace::Inside inside_{namespace_};
};

TEST_F(XtablesTest, IsToldOfEachChange) {
  auto watch = watch_iptables();
  ASSERT_TRUE(watch) << watch.error().message;
  ASSERT_FALSE((*watch)->is_blind());
  for (const char* change : {"-A INPUT -p tcp --sport 6379 -j DROP", "-F INPUT", "-P INPUT DROP"}) {
    while (is_told(**watch, 0)) {
    }
    namespace_.run(std::string("iptables-legacy -w ") + change);
    EXPECT_TRUE(is_told(**watch, 60'000)) << change;
  }
  EXPECT_EQ(concern(**watch), "iptables: table filter, chain INPUT, policy");
}

TEST_F(XtablesTest, BlindItSeesWhenItLooks) {
  auto watch = watch_xtables(nothing_to_trace());
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_TRUE((*watch)->is_blind());
  EXPECT_EQ(concern(**watch), "");
  namespace_.run("iptables-legacy -w -t raw -A PREROUTING -p tcp --sport 6379 -j DROP");
  EXPECT_FALSE(is_told(**watch, 0));
  EXPECT_EQ(concern(**watch), "iptables: table raw, chain PREROUTING, rule 1");
}

TEST_F(XtablesTest, LookingMakesNoTables) {
  auto watch = watch_iptables();
  ASSERT_TRUE(watch) << watch.error().message;
  ASSERT_TRUE((*watch)->look());
  EXPECT_EQ(namespace_.output_of("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
}

}  // namespace
}  // namespace snp::host
