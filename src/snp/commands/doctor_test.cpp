// snp doctor: what it says of a snpd that is well, and of one that is not.
#include <algorithm>

#include <gtest/gtest.h>

#include "snp/commands/fake_service.h"
#include "snp/commands/findings.h"

namespace snp::commands {
namespace {

using Kind = Finding::Kind;

const Finding* find(const Findings& findings, std::string_view about, Kind kind) {
  const auto found = std::ranges::find_if(findings, [&](const Finding& finding) {
    return finding.about == about && finding.kind == kind;
  });
  return found == findings.end() ? nullptr : &*found;
}

class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    service.values.set("max_connections", "1");
    service.stored = service.values;
    service.state.max_connections = 65536;
    service.state.devices = {"eth0"};
    service.links = {{2, "eth0", true, true, 3, 0, 0, {}}};
  }
  FakeService service;
};

TEST_F(DoctorTest, NothingIsWrongWhereNothingIs) {
  const Findings findings = examine_snpd(service);
  for (const Finding& finding : findings)
    EXPECT_NE(finding.kind, Kind::kWrong) << finding.about << ": " << finding.text;
  EXPECT_NE(find(findings, "device eth0", Kind::kGood), nullptr);
}

TEST_F(DoctorTest, DevicesThatAreDownOrGoneAreWrong) {
  service.links[0].is_up = false;
  service.state.devices.emplace_back("eth7");
  const Findings findings = examine_snpd(service);
  ASSERT_NE(find(findings, "device eth0", Kind::kWrong), nullptr);
  EXPECT_EQ(find(findings, "device eth0", Kind::kWrong)->hint, "ip link set dev eth0 up");
  EXPECT_NE(find(findings, "device eth7", Kind::kWrong), nullptr);
}

TEST_F(DoctorTest, ScalingThatIsNotAsAskedIsWrongAndSaysWhy) {
  HostRssRow row;
  row.device = "eth0";
  row.why = "eth0: no table";
  row.has_failed = true;
  service.scaling.host = {row};
  const Findings findings = examine_snpd(service);
  ASSERT_NE(find(findings, "scaling of eth0", Kind::kWrong), nullptr);
  EXPECT_EQ(find(findings, "scaling of eth0", Kind::kWrong)->text, "eth0: no table");
}

TEST_F(DoctorTest, AnEngineThatDiedIsWrong) {
  service.state.engine_restarts = 2;
  EXPECT_NE(find(examine_snpd(service), "snpd", Kind::kWrong), nullptr);
}

TEST_F(DoctorTest, SettingsWithoutEffectAreNamed) {
  ASSERT_TRUE(service.values.set("chimney", "disabled"));
  ASSERT_TRUE(service.values.set("enabled_local_ports", "80"));
  ASSERT_TRUE(service.values.set("rss", "disabled"));
  ASSERT_TRUE(service.values.set("rss_backend", "rps"));
  service.stored = service.values;
  ASSERT_TRUE(service.stored.set("shards", "4"));
  const Findings findings = examine_snpd(service);
  EXPECT_NE(find(findings, "setting enabled_local_ports", Kind::kNote), nullptr);
  EXPECT_NE(find(findings, "setting rss_backend", Kind::kNote), nullptr);
  EXPECT_NE(find(findings, "setting shards", Kind::kNote), nullptr);
  EXPECT_EQ(find(findings, "setting rss_key", Kind::kNote), nullptr);
}

TEST_F(DoctorTest, TheExitStatusFollowsWhatIsWrong) {
  const CommandSpec& command = *find_command("doctor");
  EXPECT_TRUE(command.is_success(Json{{"good", true}}));
  EXPECT_FALSE(command.is_success(Json{{"good", false}}));
  const auto answer = run(service, "doctor", Json::object());
  ASSERT_TRUE(answer);
  const std::string text = command.render(*answer);
  EXPECT_NE(text.find("is wrong"), std::string::npos) << text;
  EXPECT_TRUE(command.without_snpd(Json::object()));
}

}  // namespace
}  // namespace snp::commands
