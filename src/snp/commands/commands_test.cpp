#include <set>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/commands/command.h"
#include "snp/commands/fake_service.h"
#include "snp/commands/table.h"
#include "snp/settings/registry.h"

namespace snp::commands {
namespace {

constexpr FourTuple kFlow{{IpAddress::v4(10, 0, 0, 1), 6379}, {IpAddress::v4(10, 0, 0, 2), 40000}};

ConnectionRow some_row() {
  ConnectionRow row;
  row.flow = kFlow;
  row.pid = 12;
  row.fd = 7;
  row.program = "redis\033-server";
  row.offload_state = "Offloaded";
  row.target = "engine";
  row.reason = chimney::Reason::kOffloaded;
  row.bytes_in = 1536;
  row.hand_overs = 3;
  row.quiet_us = 210;
  return row;
}

TEST(Commands, ConnectionsAsTable) {
  FakeService service;
  service.rows = {some_row()};
  ConnectionRow host = some_row();
  host.offload_state = "InHost";
  host.target = "";
  host.reason = chimney::Reason::kLoopback;
  host.hand_overs = 0;
  service.rows.push_back(host);
  const auto result = run(service, "connections", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(
      kConnections.render(*result),
      "LOCAL          REMOTE          PID  PROGRAM        STATE      TARGET  SHARD  REASON     "
      "  IN  OUT  HAND-OVERS  QUIET  PEER\n"
      "10.0.0.1:6379  10.0.0.2:40000   12  redis?-server  Offloaded  engine      0  offloaded  "
      "1.5K    0           3  210us  -\n"
      "10.0.0.1:6379  10.0.0.2:40000   12  redis?-server  InHost     -           -  loopback   "
      "1.5K    0           0      -  -\n");
}

TEST(Commands, ALocalConnectionNamesTheProgramAtItsOtherEnd) {
  FakeService service;
  ConnectionRow row = some_row();
  row.target = "local";
  row.peer_pid = 77;
  row.peer_program = "nginx";
  service.rows = {row};
  const auto result = run(service, "connections", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->at("connections").at(0).at("peer_pid"), 77);
  EXPECT_THAT(kConnections.render(*result), testing::HasSubstr("local       -  offloaded"));
  EXPECT_THAT(kConnections.render(*result), testing::EndsWith("210us  nginx 77\n"));
  const auto why = run(service, "why", Json{{"FLOW|PID:FD", to_string(kFlow)}});
  ASSERT_TRUE(why);
  EXPECT_THAT(kWhy.render(*why), testing::HasSubstr("the other end: nginx, pid 77\n"));
}

TEST(Commands, OffloadNeedsAWholeFlow) {
  FakeService service;
  for (const char* bad :
       {"", "6379", "10.0.0.1:6379", "10.0.0.1:6379-", "10.0.0.1:6379-10.0.0.2"}) {
    const auto result = run(service, "offload", Json{{"FLOW", bad}});
    ASSERT_FALSE(result) << bad;
    EXPECT_THAT(result.error().message, testing::HasSubstr("is no flow; give LOCAL-REMOTE"));
  }
  EXPECT_FALSE(service.moved);
  const auto result = run(service, "offload", Json{{"FLOW", to_string(kFlow)}});
  ASSERT_TRUE(result);
  EXPECT_EQ(service.moved, kFlow);
}

TEST(Commands, FailureOfAHandOverIsTheAnswer) {
  FakeService service;
  service.answer = fail(Errc::kBusy, "busy: try again");
  const auto result = run(service, "upload", Json{{"FLOW", to_string(kFlow)}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "busy: try again");
}

TEST(Commands, UploadTakesAFlowOrAll) {
  FakeService service;
  EXPECT_FALSE(run(service, "upload", Json::object()));
  EXPECT_FALSE(run(service, "upload", Json{{"FLOW", to_string(kFlow)}, {"--all", true}}));
  const auto result = run(service, "upload", Json{{"--all", true}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kUpload.render(*result), "7 connections uploaded\n");
}

TEST(Commands, ArgumentsAreChecked) {
  FakeService service;
  EXPECT_FALSE(run(service, "offload", Json::array()));
  EXPECT_FALSE(run(service, "offload", Json{{"FLOW", 1}}));
  EXPECT_FALSE(run(service, "offload", Json{{"NAME", "x"}}));
  EXPECT_FALSE(run(service, "upload", Json{{"--all", "yes"}}));
}

TEST(Commands, WhyFindsByFlowAndByDescriptor) {
  FakeService service;
  service.rows = {some_row()};
  service.rows[0].reason = chimney::Reason::kChimneyDisabled;
  for (const std::string& what : {to_string(kFlow), std::string("12:7")}) {
    const auto result = run(service, "why", Json{{"FLOW|PID:FD", what}});
    ASSERT_TRUE(result) << what;
    EXPECT_EQ(
        kWhy.render(*result),
        "10.0.0.1:6379-10.0.0.2:40000: Offloaded, chimney-disabled\n"
        "Chimney offload is switched off.\n"
        "hint: snp settings set chimney automatic\n"
        "policy: offload; step 'worth': Is it to be offloaded at once, or has it proved worth "
        "it?\n");
  }
  EXPECT_FALSE(run(service, "why", Json{{"FLOW|PID:FD", "12:8"}}));
  EXPECT_FALSE(run(service, "why", Json{{"FLOW|PID:FD", "12:-7"}}));
  EXPECT_FALSE(run(service, "why", Json{{"FLOW|PID:FD", "12"}}));
}

TEST(Commands, WhyAnswersForAConnectionThatDoesNotExist) {
  FakeService service;
  service.verdict = {chimney::Reason::kPolicy, chimney::PolicyStep::kRules, 7, "all => host", {}};
  const auto result =
      run(service, "why",
          Json{{"FLOW|PID:FD", to_string(kFlow)}, {"--program", "/usr/bin/x"}, {"--uid", "33"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(service.asked.flow, kFlow);
  EXPECT_EQ(service.asked.program, "/usr/bin/x");
  EXPECT_EQ(service.asked.uid, 33u);
  EXPECT_EQ(kWhy.render(*result),
            "10.0.0.1:6379-10.0.0.2:40000: no attached program has this connection; if there were "
            "one:\n"
            "policy: host, policy; step 'rules': What says the first rule that matches?\n"
            "A policy rule keeps the connection in the host.\n"
            "rule, line 7: all => host\n"
            "hint: snp why FLOW names the rule.\n");
  EXPECT_FALSE(run(service, "why", Json{{"FLOW|PID:FD", to_string(kFlow)}, {"--uid", "x"}}));
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    const int fd = ::mkstemp(path_.data());
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/snp-rules-XXXXXX";
};

TEST(Policy, ChecksWithoutSnpd) {
  const TemporaryFile good("all => offload\nport 1 => host\n");
  const auto result = kPolicyCheck.prepare(Json{{"FILE", good.path()}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kPolicyCheck.render(*result), good.path() + ": 2 rules, no mistake\n");
  const TemporaryFile bad("all => offload\nport 1 => fly\n");
  const auto refused = kPolicyCheck.prepare(Json{{"FILE", bad.path()}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            bad.path() + ":2:11: 'fly': give offload, !offload or automatic");
}

TEST(Policy, LoadsAllOrNothingAndShows) {
  FakeService service;
  const TemporaryFile good("# first\nport 1 => host\n");
  auto arguments = kPolicyLoad.prepare(Json{{"FILE", good.path()}});
  ASSERT_TRUE(arguments);
  const auto loaded = run(service, "policy load", *arguments);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(kPolicyLoad.render(*loaded), "1 rule in effect, kept in /etc/snp/snp.rules\n");
  // More shards than this snpd has: only it can tell.
  const TemporaryFile bad("all => offload shard 1\n");
  arguments = kPolicyLoad.prepare(Json{{"FILE", bad.path()}});
  ASSERT_TRUE(arguments);
  EXPECT_FALSE(run(service, "policy load", *arguments));
  const auto shown = run(service, "policy show", Json::object());
  ASSERT_TRUE(shown);
  EXPECT_THAT(
      kPolicyShow.render(*shown),
      testing::AllOf(testing::HasSubstr("  9. rules           What says"),
                     testing::HasSubstr("chimney                 automatic\n"),
                     testing::HasSubstr("enabled_local_ports     -\n"),
                     testing::HasSubstr("rules (/etc/snp/snp.rules):\n    2  port 1 => host")));
}

TEST(Commands, SettingsGetSetReset) {
  FakeService service;
  auto result = run(service, "settings set", Json{{"NAME", "ring_bytes"}, {"VALUE", "1M"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kSettingsSet.render(*result), "ring_bytes is 1048576\n");
  result = run(service, "settings get", Json{{"NAME", "ring_bytes"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kSettingsGet.render(*result), "1048576\n");
  result = run(service, "settings reset", Json::object());
  ASSERT_TRUE(result);
  EXPECT_TRUE(service.values.is_default(settings::Setting::kRingBytes));
  EXPECT_FALSE(run(service, "settings get", Json{{"NAME", "nothing"}}));
  result = run(service, "settings set", Json{{"NAME", "shards"}, {"VALUE", "4"}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kSettingsSet.render(*result), "shards is 1, and 4 when snpd starts again\n");
  result = run(service, "settings", Json::object());
  EXPECT_THAT(kSettings.render(*result), testing::HasSubstr("1 (then 4)"));
}

TEST(Reg, AddsInTheWordsOfWindows) {
  FakeService service;
  const auto add = [&](std::vector<std::string> words) {
    return run(service, "reg add", Json{{"WORD", std::move(words)}});
  };
  const std::string key(settings::kRegistryKey);
  ASSERT_TRUE(add({key, "/v", "EnableTCPChimney", "/t", "REG_DWORD", "/d", "0", "/f"}));
  EXPECT_EQ(service.stored.text(settings::Setting::kChimney), "disabled");
  ASSERT_TRUE(add({"/V", "minpacketsizetodma", "/d", "0x200"}));
  EXPECT_EQ(service.stored.number(settings::Setting::kNetdmaMinBytes), 512);
  const auto done = add(
      {"/v", "TCPChimneyEnabledLocalPorts", "/t", "REG_MULTI_SZ", "/d", "80\\0443,0\\05001 70000"});
  ASSERT_TRUE(done);
  EXPECT_EQ(service.stored.to_text(settings::Setting::kEnabledLocalPorts), "80, 443, 5001");
  EXPECT_EQ(kRegAdd.render(*done),
            "TCPChimneyEnabledLocalPorts: ignored '0': not 1 to 65535\n"
            "TCPChimneyEnabledLocalPorts: ignored '70000': not 1 to 65535\n"
            "The operation completed successfully.\n");
  EXPECT_EQ(service.logged.size(), 2u);
  for (const std::vector<std::string>& bad :
       std::vector<std::vector<std::string>>{{"/v"},
                                             {"/d", "1"},
                                             {"/v", "Other", "/d", "1"},
                                             {"HKLM\\SOFTWARE", "/v", "EnableRSS", "/d", "1"},
                                             {"/v", "EnableRSS", "/d", "2"},
                                             {"/v", "EnableRSS", "/d", "x"},
                                             {"/v", "EnableRSS", "/t", "REG_SZ", "/d", "1"},
                                             {"/v", "EnableRSS", "/x", "1"}})
    EXPECT_FALSE(add(bad)) << bad.front();
  EXPECT_TRUE(service.stored.is_default(settings::Setting::kRss));
}

TEST(Reg, QueriesAndDeletes) {
  FakeService service;
  ASSERT_TRUE(service.stored.set("disabled_local_ports", "22 23"));
  ASSERT_TRUE(service.stored.set("netdma", "disabled"));
  auto result = run(service, "reg query", Json{{"WORD", {"/v", "TCPChimneyDisabledLocalPorts"}}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kRegQuery.render(*result),
            "\nHKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\n"
            "    TCPChimneyDisabledLocalPorts    REG_MULTI_SZ    22\\023\n\n");
  result = run(service, "reg query", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->at("values").size(), 12u);
  EXPECT_THAT(kRegQuery.render(*result),
              testing::HasSubstr("    EnableTCPA    REG_DWORD    0x0\n"));
  ASSERT_TRUE(run(service, "reg delete", Json{{"WORD", {"/v", "EnableTCPA", "/f"}}}));
  EXPECT_EQ(service.stored.text(settings::Setting::kNetdma), "enabled");
  ASSERT_TRUE(run(service, "reg delete", Json{{"WORD", {"/va"}}}));
  EXPECT_TRUE(service.stored.is_default(settings::Setting::kDisabledLocalPorts));
  EXPECT_FALSE(run(service, "reg delete", Json{{"WORD", {"/f"}}}));
}

TEST(Reg, ImportsAFileOfWindowsAllOrNothing) {
  FakeService service;
  ASSERT_TRUE(service.stored.set("rss", "disabled"));
  const auto import = [&](const std::string& path) -> Result<Json> {
    const auto arguments = kRegImport.prepare(Json{{"FILE", path}});
    if (!arguments) return tl::unexpected(arguments.error());
    return run(service, "reg import", *arguments);
  };
  const std::string folder = std::string(SNP_SOURCE_DIR) + "/test/cli/reg/";
  const auto done = import(folder + "windows.reg");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(kRegImport.render(*done),
            "ignored 5 entries that are not of snp\nThe operation completed successfully.\n");
  EXPECT_EQ(service.stored.text(settings::Setting::kRss), "enabled");  // deleted: the default
  EXPECT_EQ(service.stored.to_text(settings::Setting::kEnabledLocalPorts),
            "80, 443, 8080, 3389, 22");
  EXPECT_EQ(service.stored.number(settings::Setting::kNetdmaMinBytes), 4096);
  EXPECT_FALSE(import(folder + "nothing.reg"));
  const settings::Settings before = service.stored;
  EXPECT_FALSE(
      run(service, "reg import",
          Json{{"FILE", R"({"path":"x","others":0,"values":{"EnableRSS":0,"RssBaseCpu":9999}})"}}));
  EXPECT_TRUE(before.is_same(settings::Setting::kRss, service.stored));
}

TEST(Commands, StatsTotalIsTheSum) {
  FakeService service;
  service.report.host = {2, 100, 200};
  service.report.target = {1, 1, 2};
  service.report.engine = {{"frames_in", 12}, {"turns", 0}};
  service.report.declined = {{chimney::Reason::kLoopback, 4}};
  service.report.way_home = {50, 1200, 3400, 3500};
  const auto result = run(service, "stats", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->at("total").at("bytes_in"), 101);
  EXPECT_THAT(kStats.render(*result), testing::HasSubstr("declined, loopback: 4\n"));
  EXPECT_THAT(kStats.render(*result), testing::HasSubstr("frames_in     12\n"));
  EXPECT_THAT(kStats.render(*result), testing::Not(testing::HasSubstr("turns")));
  EXPECT_THAT(kStats.render(*result),
              testing::HasSubstr("a change of the host sent 50 home: p50 1.2ms, p99 3.4ms, max "
                                 "3.5ms after it was seen\n"));
  service.report.way_home = {};
  EXPECT_THAT(kStats.render(*run(service, "stats", Json::object())),
              testing::Not(testing::HasSubstr("a change of the host")));
  EXPECT_EQ(result->at("engine").at("turns"), 0);
}

TEST(Commands, StatsSinceAnEarlierAnswer) {
  using stats::Mib;
  FakeService service;
  service.state.keeper_pid = 7;
  service.report.host = {2, 100, 200};
  service.report.offload = {3, 1, 10, 20, 30, 1000};
  service.report.engine = {{"frames_in", 12}, {"connections", 5}, {"established", 4}};
  service.report.ledger.host.tcp[Mib::kInSegs] = 10;
  service.report.ledger.host.tcp[Mib::kCurrEstab] = 4;
  DeviceLedger device;
  device.name = "eth7";
  device.ifindex = 9;
  device.link.frames_in = 9;
  service.report.devices = {device};
  const Json before = *run(service, "stats", Json::object());
  const TemporaryFile file(before.dump(2));

  service.report.host = {1, 160, 200};
  service.report.offload.done = 4;
  service.report.engine = {{"frames_in", 20}, {"connections", 3}, {"established", 4}};
  service.report.ledger.host.tcp[Mib::kInSegs] = 15;
  service.report.ledger.host.tcp[Mib::kCurrEstab] = 3;
  service.report.devices[0].link.frames_in = 11;
  service.report.declined = {{chimney::Reason::kLoopback, 4}};
  device.name = "new";
  service.report.devices.insert(service.report.devices.begin(), device);
  const Json arguments{{"--since", file.path()}};
  Json risen = *run(service, "stats", arguments);
  ASSERT_TRUE(kStats.deliver(arguments, risen));
  EXPECT_EQ(risen["host"], (Json{{"connections", 1}, {"bytes_in", 60}, {"bytes_out", 0}}));
  EXPECT_EQ(risen["engine"], (Json{{"frames_in", 8}, {"connections", 3}, {"established", 4}}));
  EXPECT_EQ(risen["ledger"]["tcp"]["InSegs"]["total"], 5);
  EXPECT_EQ(risen["ledger"]["tcp"]["CurrEstab"]["host"], 3);
  EXPECT_EQ(risen["declined"]["loopback"], 4);
  EXPECT_EQ(risen["offload"]["done"], 1);
  EXPECT_TRUE(risen["offload"]["quiet_p99_us"].is_null());
  EXPECT_EQ(risen["devices"][0]["link"]["InFrames"]["total"], 9);
  EXPECT_EQ(risen["devices"][1]["link"]["InFrames"]["total"], 2);
  EXPECT_EQ(risen["devices"][1]["ifindex"], 9);
  EXPECT_TRUE(risen["devices"][1]["tcp"]["InSegs"]["host"].is_null());
  EXPECT_THAT(kStats.render(risen), testing::ContainsRegex("offload +1 +0 +- +- +- +0\n"));
  Json whole = before;
  ASSERT_TRUE(kStats.deliver(Json::object(), whole));
  EXPECT_EQ(whole, before);
}

TEST(Commands, StatsSinceWhatIsNoAnswer) {
  FakeService service;
  service.state.keeper_pid = 7;
  const Json now = *run(service, "stats", Json::object());
  for (const std::string text :
       {"", "[]", "7", "{", R"({"ledger":{}})", R"({"ledger":{},"keeper_pid":8})",
        R"({"ledger":{},"keeper_pid":"7"})"}) {
    const TemporaryFile file(text);
    Json answer = now;
    EXPECT_FALSE(kStats.deliver(Json{{"--since", file.path()}}, answer)) << text;
    EXPECT_EQ(answer, now);
  }
  // Whatever else is in it, it is only not there.
  const TemporaryFile odd(R"({"keeper_pid":7,"ledger":[],"engine":{"x":{}},"host":{"bytes_in":-5},)"
                          R"("devices":{},"offload":7,"declined":null})");
  Json answer = now;
  ASSERT_TRUE(kStats.deliver(Json{{"--since", odd.path()}}, answer));
  EXPECT_EQ(answer["host"], now["host"]);
  EXPECT_FALSE(kStats.deliver(Json{{"--since", "/nonexistent"}}, answer));
  EXPECT_FALSE(run(service, "stats", Json{{"--since", odd.path()}, {"--explain", true}}));
}

TEST(Commands, StatsShowTheLedger) {
  using stats::Mib;
  FakeService service;
  service.report.ledger.host.tcp[Mib::kInSegs] = 10;
  service.report.ledger.host.ip[1][Mib::kInReceives] = 4;
  service.report.ledger.paths[1].merge(stats::PathMetric::kTakenFrames, 3);
  DeviceLedger device;
  device.name = "eth7";
  device.link.frames_in = 9;
  device.paths[1].merge(stats::PathMetric::kTakenFrames, 3);
  service.report.devices = {device};
  const auto result = run(service, "stats", Json::object());
  ASSERT_TRUE(result);
  const Json expected{{"host", 10}, {"target", 3}, {"local", 0}, {"total", 13}, {"corrected", 0}};
  EXPECT_EQ(result->at("ledger").at("tcp").at("InSegs"), expected);
  EXPECT_EQ(result->at("families").at("ipv6").at("ip").at("InReceives").at("total"), 7);
  EXPECT_EQ(result->at("families").at("ipv4").at("ip").at("InReceives").at("total"), 0);
  EXPECT_TRUE(result->at("families").at("ipv6").at("tcp").at("InSegs").at("host").is_null());
  const Json& link = result->at("devices").at(0).at("link").at("InFrames");
  EXPECT_EQ(link.at("host"), 6);
  EXPECT_EQ(link.at("target"), 3);
  EXPECT_THAT(kStats.render(*result), testing::ContainsRegex("InSegs +10 +3 +0 +13\n"));

  const auto by_device = run(service, "stats", Json{{"--by", "device"}});
  ASSERT_TRUE(by_device);
  EXPECT_THAT(kStats.render(*by_device), testing::StartsWith("eth7\n"));
  EXPECT_THAT(kStats.render(*by_device), testing::ContainsRegex("InSegs +- +3 +0 +-\n"));
  const auto by_family = run(service, "stats", Json{{"--by", "family"}});
  ASSERT_TRUE(by_family);
  EXPECT_THAT(kStats.render(*by_family), testing::ContainsRegex("InReceives +4 +3 +0 +7\n"));
  EXPECT_FALSE(run(service, "stats", Json{{"--by", "colour"}}));
}

TEST(Commands, StatsExplainEveryCounter) {
  FakeService service;
  const auto one = run(service, "stats", Json{{"--explain", true}, {"NAME", "RetransSegs"}});
  ASSERT_TRUE(one);
  ASSERT_EQ(one->at("explain").size(), 1u);
  EXPECT_THAT(kStats.render(*one), testing::HasSubstr("sent again"));
  const auto all = run(service, "stats", Json{{"--explain", true}});
  ASSERT_TRUE(all);
  std::set<std::string> explained;
  for (const Json& row : all->at("explain"))
    explained.insert(row.at("name"));
  const auto stats = run(service, "stats", Json::object());
  ASSERT_TRUE(stats);
  for (const char* group : {"tcp", "ip"})
    for (const auto& [name, row] : stats->at("ledger").at(group).items())
      EXPECT_TRUE(explained.contains(name)) << name;
  EXPECT_FALSE(run(service, "stats", Json{{"--explain", true}, {"NAME", "Luck"}}));
  EXPECT_FALSE(run(service, "stats", Json{{"NAME", "InSegs"}}));
}

TEST(Commands, NetstatStatisticsAreOfHostAndTarget) {
  FakeService service;
  service.report.ledger.host.tcp[stats::Mib::kOutSegs] = 10;
  service.report.ledger.paths[0].merge(stats::PathMetric::kSegmentsOut, 5);
  const auto result = run(service, "netstat", Json{{"-s", true}});
  ASSERT_TRUE(result);
  EXPECT_THAT(kNetstat.render(*result),
              testing::HasSubstr("  Segments Sent                       = 15\n"));
}

TEST(Commands, PathsAreUniqueAndComplete) {
  for (const CommandSpec* command : all_commands()) {
    EXPECT_EQ(find_command(command->path), command);
    EXPECT_TRUE(command->handle != nullptr || command->prepare != nullptr);
    EXPECT_NE(command->render, nullptr);
    EXPECT_FALSE(command->help.empty());
  }
}

TEST(Table, HumanNumbers) {
  EXPECT_EQ(human_bytes(1023), "1023");
  EXPECT_EQ(human_bytes(1024), "1.0K");
  EXPECT_EQ(human_bytes(1048575), "1.0M");
  EXPECT_EQ(human_bytes(~0ull), "16.0E");
  EXPECT_EQ(human_us(999), "999us");
  EXPECT_EQ(human_us(1500), "1.5ms");
  EXPECT_EQ(human_us(2000000), "2.0s");
}

}  // namespace
}  // namespace snp::commands
