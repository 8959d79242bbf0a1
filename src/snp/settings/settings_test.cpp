#include "snp/settings/settings.h"

#include <filesystem>
#include <fstream>
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

TEST(Settings, ListsAreCheckedAsAWhole) {
  Settings values;
  ASSERT_TRUE(values.set("disabled_local_ports", "22, 0080 22\t443,"));
  EXPECT_EQ(values.to_text(Setting::kDisabledLocalPorts), "22, 80, 443");
  for (const char* bad : {"0", "65536", "22,x", "-1", "+1", "1 2 3 4 5 6 7 8 9 10 11 12 13"})
    EXPECT_FALSE(values.set("disabled_local_ports", bad)) << bad;
  EXPECT_EQ(values.to_text(Setting::kDisabledLocalPorts), "22, 80, 443");
  EXPECT_EQ(values.set("disabled_local_ports", "22,99999").error().message,
            "setting 'disabled_local_ports': '99999' is not allowed; give at most 12, each ports, "
            "1..65535");
  ASSERT_TRUE(values.set("disabled_local_ports", ""));
  EXPECT_TRUE(values.is_default(Setting::kDisabledLocalPorts));
  ASSERT_TRUE(values.set("chimney_applications", "/usr/bin/a;/usr/bin/b c=disabled"));
  EXPECT_EQ(values.list(Setting::kChimneyApplications),
            (std::vector<std::string>{"/usr/bin/a=enabled", "/usr/bin/b c=disabled"}));
  for (const char* bad : {"a", "/", "/a/", "/a=on", "/a\n"})
    EXPECT_FALSE(values.set("chimney_applications", bad)) << bad;
  ASSERT_TRUE(values.set("chimney_devices", "eth0=disabled;lo;eth1=ipv4;eth2=ipv6"));
  EXPECT_EQ(values.to_text(Setting::kChimneyDevices),
            "eth0=disabled;lo=enabled;eth1=ipv4;eth2=ipv6");
  for (const char* bad : {"=disabled", "eth0=off", "eth0=", "a/b", "e t", "sixteencharacter"})
    EXPECT_FALSE(values.set("chimney_devices", bad)) << bad;
  ASSERT_TRUE(values.set("chimney_ports", "80:*;*:5001;*:*"));
  for (const char* bad : {"80", "0:*", "*:65536", "80:*:1", ":"})
    EXPECT_FALSE(values.set("chimney_ports", bad)) << bad;
}

TEST(PortList, FollowsTheOriginalsRules) {
  const PortList list =
      read_port_list(std::string_view("80,443 22\0"
                                      "5001, 0 65536 -1 +1 8o 80",
                                      33));
  EXPECT_EQ(list.ports, (std::vector<std::string>{"80", "443", "22", "5001"}));
  EXPECT_EQ(list.ignored,
            (std::vector<std::string>{"'0': not 1 to 65535", "'65536': not 1 to 65535",
                                      "'-1': not 1 to 65535", "'+1': not 1 to 65535",
                                      "'8o': not 1 to 65535"}));
  const PortList many = read_port_list("1 2 3 4 5 6 0 7 8 9 10 11 12 12 65535");
  EXPECT_EQ(many.ports.size(), kMaxPorts);
  EXPECT_EQ(many.ignored,
            (std::vector<std::string>{"'0': not 1 to 65535", "'65535': after the twelfth"}));
  EXPECT_TRUE(read_port_list(" ,, ").ports.empty());
}

TEST(ConfigFile, ReadsSettings) {
  const auto config = parse_config(
      "devices = [\"veth0,driver=af_packet\"]\nchimney = \"enabled\"\nring_bytes = 65536\n"
      "arena_bytes = \"1G\"\nenabled_local_ports = [80, \"443\"]\ndisabled_remote_ports = \"1 "
      "2\"\n",
      "snp.toml", {});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->list(Setting::kDevices), std::vector<std::string>{"veth0,driver=af_packet"});
  EXPECT_EQ(config->text(Setting::kChimney), "enabled");
  EXPECT_EQ(config->number(Setting::kRingBytes), 65536);
  EXPECT_EQ(config->number(Setting::kArenaBytes), 1 << 30);
  EXPECT_EQ(config->to_text(Setting::kEnabledLocalPorts), "80, 443");
  EXPECT_EQ(config->to_text(Setting::kDisabledRemotePorts), "1, 2");
}

TEST(ConfigFile, ErrorsCarryThePosition) {
  const auto message = [](const char* text) {
    const auto config = parse_config(text, "snp.toml", {});
    return config ? std::string("accepted") : config.error().message;
  };
  EXPECT_EQ(message("chimney = \"enabled\"\nshards = 0\n"),
            "snp.toml:2:10: setting 'shards': '0' is not allowed; give 1..64 threads");
  EXPECT_EQ(message("shards = 1.5\n"),
            "snp.toml:1:10: setting 'shards': '1.5' is not allowed; give 1..64 threads");
  EXPECT_EQ(message("\nnonsense = 1\n"), "snp.toml:2:12: there is no setting 'nonsense'");
  EXPECT_EQ(message("devices = 1\n"),
            "snp.toml:1:11: setting 'devices': '1' is not allowed; give at most 64, each DEV or "
            "DEV,driver=NAME");
  EXPECT_EQ(message("enabled_local_ports = [80, 1.5]\n"),
            "snp.toml:1:23: setting 'enabled_local_ports': '[80, 1.5]' is not allowed; give at "
            "most 12, each ports, 1..65535");
  EXPECT_EQ(message("pcap = 3\n"), "snp.toml:1:8: setting 'pcap': '3' is not allowed; give text");
  EXPECT_EQ(message("shards = = 1\n").substr(0, 12), "snp.toml:1:1");
}

TEST(ConfigFile, MissingFileIsOneLine) {
  const auto config = read_config("/nonexistent/snp.toml", {});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message,
            "cannot read the configuration file /nonexistent/snp.toml: No such file or directory");
}

Settings with(std::initializer_list<std::pair<const char*, const char*>> changes) {
  Settings values;
  for (const auto& [name, value] : changes)
    EXPECT_TRUE(values.set(name, value)) << name;
  return values;
}

TEST(ConfigFile, WhatIsWrittenReadsBack) {
  const Settings values = with({{"chimney", "disabled"},
                                {"pcap", "a \"quoted\"\\ b\n\303\244"},
                                {"disabled_local_ports", "1 2 65535"},
                                {"chimney_applications", "/a b=disabled;/c"},
                                {"ring_bytes", "1G"}});
  const auto back = parse_config(to_toml(values), "x", {});
  ASSERT_TRUE(back) << back.error().message;
  for (const SettingInfo& info : all_settings())
    EXPECT_TRUE(back->is_same(info.id, values)) << info.name;
  EXPECT_EQ(to_toml({}), "");
}

TEST(ConfigFile, ChangesWhatPeopleWroteAndLeavesTheRest) {
  const std::string text =
      "# ours \303\244\nchimney = \"enabled\"  # \303\266 eager\n\n"
      "enabled_local_ports = [\n  80,  # web\n  443,\n]\nshards = 2";
  const Settings before = *parse_config(text, "x", {});
  Settings after = before;
  ASSERT_TRUE(after.set("chimney", "disabled"));
  ASSERT_TRUE(after.set("rss", "disabled"));
  EXPECT_EQ(*edit_config(text, "x", before, after),
            "# ours \303\244\nchimney = \"disabled\"  # \303\266 eager\n\n"
            "enabled_local_ports = [\n  80,  # web\n  443,\n]\nshards = 2\nrss = \"disabled\"\n");
  after.reset(Setting::kChimney);
  after.reset(Setting::kRss);
  after.reset(Setting::kEnabledLocalPorts);
  ASSERT_TRUE(after.set("shards", "4"));
  ASSERT_TRUE(after.set("chimney_ports", "80:*"));
  EXPECT_EQ(*edit_config(text, "x", before, after),
            "# ours \303\244\n\nshards = 4\nchimney_ports = [\"80:*\"]\n");
  // What the file says and this snpd does not know yet stays.
  EXPECT_EQ(*edit_config("shards = 8\n", "x", {}, with({{"rss", "disabled"}})),
            "shards = 8\nrss = \"disabled\"\n");
}

TEST(ConfigFile, RefusesToChangeAWrongFile) {
  const auto edited = edit_config("shards = 0\n", "x", {}, with({{"rss", "disabled"}}));
  ASSERT_FALSE(edited);
  EXPECT_EQ(edited.error().message,
            "x:1:10: setting 'shards': '0' is not allowed; give 1..64 threads");
}

class ConfigStore : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/snp-settings-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  [[nodiscard]] std::string path() const { return folder_ + "/etc/snp.toml"; }
  [[nodiscard]] std::string text() const {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string folder_;
};

TEST_F(ConfigStore, MakesFolderAndFileAndKeepsMode) {
  ASSERT_TRUE(store_changes(path(), {}, with({{"rss", "disabled"}})));
  EXPECT_EQ(text(), "rss = \"disabled\"\n");
  std::filesystem::permissions(path(), std::filesystem::perms(0600));
  ASSERT_TRUE(store_changes(path(), {}, with({{"netdma", "disabled"}})));
  EXPECT_EQ(text(), "rss = \"disabled\"\nnetdma = \"disabled\"\n");
  EXPECT_EQ(std::filesystem::status(path()).permissions(), std::filesystem::perms(0600));
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
}

TEST_F(ConfigStore, KeepsASymbolicLink) {
  std::filesystem::create_directory(folder_ + "/etc");
  std::filesystem::create_symlink(folder_ + "/real.toml", path());
  ASSERT_TRUE(replace_file(folder_ + "/real.toml", "# mine\n"));
  ASSERT_TRUE(store_changes(path(), {}, with({{"rss", "disabled"}})));
  EXPECT_TRUE(std::filesystem::is_symlink(path()));
  EXPECT_EQ(text(), "# mine\nrss = \"disabled\"\n");
}

TEST_F(ConfigStore, AWrongFileStaysAsItIs) {
  ASSERT_TRUE(replace_file(path(), "shards = 0\n"));
  EXPECT_FALSE(store_changes(path(), {}, with({{"rss", "disabled"}})));
  EXPECT_EQ(text(), "shards = 0\n");
}

}  // namespace
}  // namespace snp::settings
