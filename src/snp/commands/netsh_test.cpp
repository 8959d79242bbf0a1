#include "snp/commands/netsh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/commands/fake_service.h"

namespace snp::commands {
namespace {

using settings::Setting;

// A line and what it gives: the text, or "error: " and the reason.
std::string say(FakeService& service, std::string_view line) {
  const auto result = run(service, "netsh", Json{{"WORD", split_netsh(line)}});
  return result ? kNetsh.render(*result) : "error: " + result.error().message;
}

// CLI-1: the forms of 2003 and of Vista, long and short.
TEST(Netsh, TakesEveryFormOfTheSwitch) {
  const struct {
    const char* line;
    const char* chimney;
  } cases[] = {
      {"int ip set chimney disabled", "disabled"},
      {"int ip set chimney enabled", "enabled"},
      {"interface ip set chimney state=disabled", "disabled"},
      {"interface ipv4 set chimney enabled", "enabled"},
      {"INT IP SET CHIM DIS", "disabled"},
      {"interface tcp set global chimney=automatic", "automatic"},
      {"int tcp set global chimney=disabled", "disabled"},
      {"int tcp se gl ch=en", "enabled"},
      {"int tcp set global chimney = disabled", "disabled"},
      {"int tcp set global chimney =enabled", "enabled"},
      {"int tcp set global disabled automatic", "automatic"},  // in order: rss, chimney
      {"int tcp set global chimney=disabled", "disabled"},
      {"int tcp set global chimney=default", "automatic"},
  };
  FakeService service;
  for (const auto& each : cases) {
    EXPECT_EQ(say(service, each.line), "Ok.\n") << each.line;
    EXPECT_EQ(service.stored.text(Setting::kChimney), each.chimney) << each.line;
  }
}

TEST(Netsh, ChangesAllOrNothing) {
  FakeService service;
  EXPECT_EQ(say(service,
                "interface tcp set global chimney=disabled rss=disabled netdma=disabled "
                "dca=enabled congestionprovider=newreno"),
            "Ok.\n");
  EXPECT_EQ(service.stored.text(Setting::kRss), "disabled");
  EXPECT_EQ(service.stored.text(Setting::kNetdma), "disabled");
  EXPECT_EQ(service.stored.text(Setting::kDca), "enabled");
  EXPECT_EQ(service.stored.text(Setting::kCongestionControl), "newreno");
  EXPECT_THAT(say(service, "int tcp set global chimney=enabled ecncapability=enabled"),
              testing::HasSubstr("use sysctl net.ipv4.tcp_ecn"));
  EXPECT_THAT(say(service, "int tcp set global chimney=enabled congestionprovider=ctcp"),
              testing::HasSubstr("'ctcp' is not allowed"));
  EXPECT_EQ(service.stored.text(Setting::kChimney), "disabled");
  EXPECT_EQ(say(service, "int tcp set global netdma=default congestionprovider=none"), "Ok.\n");
  EXPECT_EQ(service.stored.text(Setting::kNetdma), "enabled");
  EXPECT_EQ(service.stored.text(Setting::kCongestionControl), "host");
}

TEST(Netsh, SaysWhatIsWrong) {
  FakeService service;
  const struct {
    const char* line;
    const char* why;
  } cases[] = {
      {"interface fly", "The following command was not found: fly."},
      {"interface ipv set chimney enabled", "'ipv' is ambiguous: ipv4, ipv6"},
      {"int tcp s global", "'s' is ambiguous: set, show"},
      {"int tcp show", "'show' needs one of: chimneyapplications, chimneyports, chimneystats"},
      {"int tcp show chimney", "'chimney' is ambiguous"},
      {"int ip set chimney", "'state' is missing. Usage: set chimney [state=]enabled|disabled"},
      {"int ip set chimney automatic", "'automatic' is not an acceptable value for 'state'."},
      {"int ip set chimney enabled now", "'now' is one argument too many."},
      {"int tcp set global", "give at least one parameter"},
      {"int tcp set global speed=1", "'speed' is not a valid argument for this command."},
      {"int tcp set global chimney=", "chimney needs a value."},
      {"int tcp set global rss=enabled rss=enabled", "one argument too many"},
      {"int tcp add chimneyport 80", "'remoteport' is missing."},
      {"int tcp add chimneyport 0 *", "'0:*' is not allowed; give at most 256, each LOCAL:REMOTE"},
      {"int tcp add chimneyapplication redis", "PATH from the root"},
      {"int tcp delete chimneyport 1 1", "the table has no ports 1 and 1"},
      {"int tcp delete chimneyapplication /x", "the table has no application '/x'"},
      {"int tcp show chimneystats 99", "there is no interface '99'"},
  };
  for (const auto& each : cases) {
    const std::string said = say(service, each.line);
    EXPECT_EQ(said.substr(0, 7), "error: ") << each.line;
    EXPECT_THAT(said, testing::HasSubstr(each.why)) << each.line;
    EXPECT_EQ(said.find('\n'), std::string::npos) << each.line;
  }
}

TEST(Netsh, OnlyRootMayChange) {
  const auto is_change = [](std::string_view line) {
    return kNetsh.is_change(Json{{"WORD", split_netsh(line)}});
  };
  for (const char* line :
       {"int ip set chimney disabled", "int tcp reset", "int tcp add chimneyp 1 1",
        "int tcp set gl rss=disabled", "int tcp del chimneya /x"})
    EXPECT_TRUE(is_change(line)) << line;
  for (const char* line : {"int tcp show global", "int tcp dump", "int tcp", "int ip show offload"})
    EXPECT_FALSE(is_change(line)) << line;
}

// CLI-2
TEST(Netsh, TablesOfApplicationsAndPorts) {
  FakeService service;
  EXPECT_EQ(say(service, "int tcp show chimneyapplications"), "\n");
  EXPECT_EQ(say(service, "int tcp add chimneyapplication application=/usr/bin/a"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp add chimneyapplication \"/opt/b c/d\" disabled"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp add chimneyapplications /usr/bin/a state=disabled"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp show chimneyapplication"),
            "Application  State\n/opt/b c/d   disabled\n/usr/bin/a   disabled\n");
  EXPECT_EQ(say(service, "int tcp delete chimneyapplication /opt/b\" \"c/d"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp add chimneyport localport=80 remoteport=*"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp add chimneyport * 5001"), "Ok.\n");
  EXPECT_EQ(say(service, "int tcp show chimneyports"),
            "Local Port  Remote Port\n        80            *\n         *         5001\n");
  EXPECT_EQ(say(service, "int tcp delete chimneyport rem=* loc=80"), "Ok.\n");
  EXPECT_EQ(service.stored.to_text(Setting::kChimneyPorts), "*:5001");
  EXPECT_EQ(say(service, "int tcp reset"), "Ok.\n");
  EXPECT_TRUE(service.stored.is_default(Setting::kChimneyPorts));
  EXPECT_TRUE(service.stored.is_default(Setting::kChimneyApplications));
}

TEST(Netsh, DumpCanBeReplayed) {
  FakeService service;
  for (const char* line :
       {"int tcp set global chimney=enabled rss=disabled dca=enabled",
        "int tcp add chimneyapplication \"/a b\" disabled", "int tcp add chimneyport 80 *"})
    ASSERT_EQ(say(service, line), "Ok.\n");
  const std::string script = say(service, "dump");
  FakeService other;
  ASSERT_TRUE(other.stored.set("netdma", "disabled"));
  std::string_view rest = script;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    auto words = split_netsh(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (words.empty() || words[0] == "pushd" || words[0] == "popd") continue;
    words.insert(words.begin(), {"interface", "tcp"});
    EXPECT_TRUE(run(other, "netsh", Json{{"WORD", words}})) << words[2];
  }
  for (const settings::SettingInfo& info : settings::all_settings())
    EXPECT_TRUE(other.stored.is_same(info.id, service.stored)) << info.name;
}

// CLI-3
TEST(Netsh, StatisticsOfInterfaces) {
  FakeService service;
  service.links = {{2, "eth0", true, true, 3, 1000, 2000, {}},
                   {5, "eth1", false, true, 0, 0, 0, {}}};
  EXPECT_EQ(say(service, "int tcp show chimneystats"),
            "Idx  Interface  Offloaded  Chimney\n"
            "  2  eth0               3  in use\n"
            "  5  eth1               0  not served by snpd\n");
  for (const auto& [state, shown] :
       {std::pair("disabled", "disabled"), std::pair("ipv4", "IPv4 only"),
        std::pair("enabled", "in use")}) {
    ASSERT_TRUE(service.values.set("chimney_devices", std::string("eth0=") + state));
    EXPECT_THAT(say(service, "int tcp show chimneystats"), testing::HasSubstr(shown));
  }
  EXPECT_THAT(say(service, "int tcp show chimneystats index=2"),
              testing::HasSubstr("Offloaded Connections               : 3\n"));
  ASSERT_TRUE(service.values.set("chimney", "disabled"));
  EXPECT_EQ(say(service, "int tcp show chimneystats"),
            "Your System Administrator has disabled TCP Chimney.\n");
}

TEST(Netsh, WordsAndQuotes) {
  EXPECT_EQ(split_netsh(" a \"b c\"d\te # f"), (std::vector<std::string>{"a", "b cd", "e"}));
  EXPECT_EQ(split_netsh("a#b \"#\""), (std::vector<std::string>{"a#b", "#"}));
  EXPECT_TRUE(split_netsh(" \"\" ").empty());
}

TEST(Netsh, EveryCommandIsComplete) {
  for (const NetshCommand& command : all_netsh_commands()) {
    EXPECT_NE(command.run, nullptr) << command.words;
    EXPECT_FALSE(command.help.empty()) << command.words;
    std::string line = std::string(command.context) + " " + std::string(command.words);
    for (const NetshParameter& parameter : command.parameters)
      if (parameter.is_required)
        line += " " + std::string(parameter.values.substr(0, parameter.values.find('|')));
    const auto parsed = parse_netsh(split_netsh(line));
    ASSERT_TRUE(parsed) << line << parsed.error().message;
    EXPECT_EQ(parsed->command, &command) << line;
  }
}

// CLI-4
TEST(Netstat, ShowsTheOffloadState) {
  FakeService service;
  const Endpoint local{IpAddress::v4(10, 0, 0, 1), 80};
  const Endpoint any{IpAddress::v4(0, 0, 0, 0), 0};
  service.sockets = {{{local, {IpAddress::v4(10, 0, 0, 2), 1}}, "ESTABLISHED", false},
                     {{local, {IpAddress::v4(10, 0, 0, 2), 2}}, "CLOSE_WAIT", false},
                     {{{any.address, 80}, any}, "LISTENING", true}};
  ConnectionRow row;
  row.flow = service.sockets[0].flow;
  row.pid = 7;
  row.offload_state = "Offloaded";
  row.tcp_state = "FIN_WAIT_1";  // the parked socket says something else
  service.rows = {row};
  auto result = run(service, "netstat", Json{{"-t", true}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kNetstat.render(*result),
            "\nActive Connections\n\n"
            "  Proto  Local Address          Foreign Address        State           Offload State\n"
            "  TCP    10.0.0.1:80            10.0.0.2:1             FIN_WAIT_1      Offloaded\n"
            "  TCP    10.0.0.1:80            10.0.0.2:2             CLOSE_WAIT      InHost\n");
  result = run(service, "netstat", Json{{"-a", true}, {"-o", true}, {"-n", true}});
  ASSERT_TRUE(result);
  EXPECT_EQ(kNetstat.render(*result),
            "\nActive Connections\n\n"
            "  Proto  Local Address          Foreign Address        State           PID\n"
            "  TCP    10.0.0.1:80            10.0.0.2:1             FIN_WAIT_1      7\n"
            "  TCP    10.0.0.1:80            10.0.0.2:2             CLOSE_WAIT      -\n"
            "  TCP    0.0.0.0:80             0.0.0.0:0              LISTENING       -\n");
}

}  // namespace
}  // namespace snp::commands
