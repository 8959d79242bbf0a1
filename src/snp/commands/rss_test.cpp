// snp rss: the sixteen published vectors, what is shown, set and moved.
#include <gtest/gtest.h>

#include "snp/commands/fake_service.h"

#include "test/support/rss_vectors.h"

namespace snp::commands {
namespace {

Result<Json> hash(const Json& arguments) {
  return find_command("rss hash")->prepare(arguments);
}

std::string hex(std::uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", value);
  return text;
}

TEST(RssCommand, HashGivesThePublishedValues) {
  for (const test::RssVector& vector : test::kRssVectors) {
    const auto with_ports = hash({{"SRC", vector.source}, {"DST", vector.destination}});
    ASSERT_TRUE(with_ports) << with_ports.error().message;
    EXPECT_EQ(with_ports->at("hash"), hex(vector.tcp_hash));
    const auto source = to_string(parse_endpoint(vector.source)->address);
    const auto destination = to_string(parse_endpoint(vector.destination)->address);
    const auto addresses = hash({{"SRC", source}, {"DST", destination}});
    ASSERT_TRUE(addresses) << addresses.error().message;
    EXPECT_EQ(addresses->at("hash"), hex(vector.address_hash));
  }
}

TEST(RssCommand, HashTakesAnotherKeyAndRefusesNonsense) {
  const std::string zero(80, '0');
  EXPECT_EQ(hash({{"--key", zero}, {"SRC", "1.2.3.4:5"}, {"DST", "5.6.7.8:9"}})->at("hash"),
            "0x00000000");
  EXPECT_FALSE(hash({{"--key", "00"}, {"SRC", "1.2.3.4"}, {"DST", "5.6.7.8"}}));
  EXPECT_FALSE(hash({{"SRC", "1.2.3.4:5"}, {"DST", "5.6.7.8"}}));
  EXPECT_FALSE(hash({{"SRC", "1.2.3.4"}, {"DST", "fd00::1"}}));
  EXPECT_FALSE(hash({{"SRC", "here"}, {"DST", "there"}}));
}

TEST(RssCommand, ShowCountsBucketsPacketsAndConnectionsOfEachShard) {
  FakeService service;
  service.scaling.is_enabled = true;
  service.scaling.types = rss::kTcpIpv4 | rss::kIpv4;
  service.scaling.key = "random";
  service.scaling.table = {0, 1, 1, 1};
  service.scaling.packets = {5, 6, 7, 8};
  service.scaling.connections = {2, 3};
  service.scaling.last_moves = {"bucket 3: because"};
  const auto shown = run(service, "rss show", Json::object());
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->at("types"), Json({"IPV4", "TCP_IPV4"}));
  EXPECT_EQ(shown->at("shards")[1],
            Json({{"shard", 1}, {"buckets", 3}, {"packets", 21}, {"connections", 3}}));
  const std::string text = find_command("rss show")->render(*shown);
  EXPECT_NE(text.find("moved bucket 3: because"), std::string::npos) << text;
}

TEST(RssCommand, SetChangesTheSettingOfThatName) {
  FakeService service;
  ASSERT_TRUE(run(service, "rss set", {{"NAME", "table_size"}, {"VALUE", "64"}}));
  EXPECT_EQ(service.values.text(settings::Setting::kRssTableSize), "64");
  ASSERT_TRUE(run(service, "rss set", {{"NAME", "enabled"}, {"VALUE", "no"}}));
  EXPECT_EQ(service.values.text(settings::Setting::kRss), "disabled");
  ASSERT_TRUE(run(service, "rss set", {{"NAME", "key"}, {"VALUE", std::string(80, 'A')}}));
  EXPECT_EQ(service.values.list(settings::Setting::kRssKey).front(), std::string(80, 'a'));
  EXPECT_FALSE(run(service, "rss set", {{"NAME", "key"}, {"VALUE", "aa"}}));
  EXPECT_FALSE(run(service, "rss set", {{"NAME", "table_size"}, {"VALUE", "100"}}));
  const auto unknown = run(service, "rss set", {{"NAME", "colour"}, {"VALUE", "red"}});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("balancing"), std::string::npos);
}

TEST(RssCommand, RebalanceSaysWhatAndADryRunIsNoChange) {
  FakeService service;
  service.balance = {0.5, 0.1, {"bucket 7"}, {}};
  const CommandSpec& command = *find_command("rss rebalance");
  EXPECT_FALSE(command.is_change({{"--dry-run", true}}));
  EXPECT_TRUE(command.is_change(Json::object()));
  const auto dry = run(service, "rss rebalance", {{"--dry-run", true}});
  ASSERT_TRUE(dry);
  EXPECT_EQ(service.was_dry, true);
  EXPECT_EQ(command.render(*dry), "would move bucket 7\nimbalance 50.0 % -> 10.0 %\n");
  service.balance = {0.01, 0.01, {}, {}};
  EXPECT_EQ(command.render(*run(service, "rss rebalance", Json::object())),
            "nothing to move: imbalance 1.0 %\n");
  EXPECT_EQ(service.was_dry, false);
}

}  // namespace
}  // namespace snp::commands
