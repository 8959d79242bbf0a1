#include "snp/settings/settings.h"

#include <set>

#include <gtest/gtest.h>

#include "snp/settings/config_file.h"

namespace snp::settings {
namespace {

TEST(Settings, DefaultsAreAllowedAndNamesUnique) {
  std::set<std::string_view> names;
  Settings values;
  for (const SettingInfo& info : all_settings()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_TRUE(values.is_default(info.id));
    EXPECT_TRUE(values.set(info.name, values.to_text(info.id))) << info.name;
    EXPECT_FALSE(info.help.empty());
  }
  EXPECT_EQ(names.size(), kSettings);
}

TEST(Settings, SetsAndResets) {
  Settings values;
  ASSERT_TRUE(values.set("ring_bytes", "2M"));
  EXPECT_EQ(values.number(Setting::kRingBytes), 2 << 20);
  EXPECT_FALSE(values.is_default(Setting::kRingBytes));
  values.reset(Setting::kRingBytes);
  EXPECT_TRUE(values.is_default(Setting::kRingBytes));
  ASSERT_TRUE(values.set("chimney", "disabled"));
  EXPECT_EQ(values.text(Setting::kChimney), "disabled");
}

TEST(Settings, RefusesWithNameValueAndRange) {
  Settings values;
  const auto message = [&](const char* name, const char* value) {
    const auto result = values.set(name, value);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_EQ(message("shards", "65"), "setting 'shards': '65' is not allowed; give 1..64 threads");
  EXPECT_EQ(message("chimney", "on"),
            "setting 'chimney': 'on' is not allowed; give disabled|enabled|automatic");
  EXPECT_EQ(message("chimni", "on"), "there is no setting 'chimni'; 'snp settings' lists them");
  for (const char* bad : {"", "-1", "1x", "1K", "0x10", " 1", "99999999999999999999"})
    EXPECT_NE(message("shards", bad), "accepted") << bad;
  EXPECT_NE(message("ring_bytes", "9999999999G"), "accepted");
  EXPECT_NE(message("ring_bytes", "K"), "accepted");
  EXPECT_EQ(values.number(Setting::kShards), 1);
}

TEST(ConfigFile, ReadsSettingsAndDevices) {
  const auto config = parse_config(
      "devices = [\"veth0\"]\nchimney = \"enabled\"\nring_bytes = 65536\n"
      "arena_bytes = \"1G\"\n",
      "snp.toml", {});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->devices, std::vector<std::string>{"veth0"});
  EXPECT_EQ(config->settings.text(Setting::kChimney), "enabled");
  EXPECT_EQ(config->settings.number(Setting::kRingBytes), 65536);
  EXPECT_EQ(config->settings.number(Setting::kArenaBytes), 1 << 30);
}

TEST(ConfigFile, ErrorsCarryThePosition) {
  const auto message = [](const char* text) {
    const auto config = parse_config(text, "snp.toml", {});
    return config ? std::string("accepted") : config.error().message;
  };
  EXPECT_EQ(message("chimney = \"enabled\"\nshards = 0\n"),
            "snp.toml:2:10: setting 'shards': '0' is not allowed; give 1..64 threads");
  EXPECT_EQ(message("shards = 1.5\n"), "snp.toml:1:10: setting 'shards': give 1..64 threads");
  EXPECT_EQ(message("\nnonsense = 1\n"), "snp.toml:2:12: there is no setting 'nonsense'");
  EXPECT_EQ(message("devices = \"veth0\"\n"), "snp.toml:1:11: devices: give a list of texts");
  EXPECT_EQ(message("devices = [1]\n"), "snp.toml:1:11: devices: give a list of texts");
  EXPECT_EQ(message("pcap = 3\n"), "snp.toml:1:8: setting 'pcap': '3' is not allowed; give text");
  EXPECT_EQ(message("shards = = 1\n").substr(0, 12), "snp.toml:1:1");
}

TEST(ConfigFile, MissingFileIsOneLine) {
  const auto config = read_config("/nonexistent/snp.toml", {});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message,
            "cannot read the configuration file /nonexistent/snp.toml: No such file or directory");
}

}  // namespace
}  // namespace snp::settings
