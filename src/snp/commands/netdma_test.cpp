// snp netdma and netsh's netdmastats: counts, and why each size is copied by whom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/commands/fake_service.h"
#include "snp/commands/netdma_words.h"

namespace snp::commands {
namespace {

using stats::CopyOutcome;
using stats::size_class_of;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// An engine that is worth it from 8 KiB on.
NetdmaReport report_of_thread() {
  NetdmaReport report;
  report.is_enabled = true;
  report.backend = report.engine = "thread";
  report.channels = 2;
  netdma::Figures figures;
  figures.is_asynchronous = true;
  for (std::size_t i = 0; i < figures.sizes.size(); ++i) {
    const std::uint32_t bytes = netdma::kCalibrationSizes[i];
    figures.sizes[i] = {bytes, bytes / 3.0, 1, 2, 3, 500, bytes / 8.0, 0, bytes / 3.0 + 100, 1500};
  }
  report.calibration = netdma::judge(figures);
  return report;
}

// As shards count.
stats::NetdmaSnapshot counts() {
  stats::NetdmaStats stats;
  stats.add_copy(CopyOutcome::kEngine, size_class_of(9000));
  stats.add_bytes(CopyOutcome::kEngine, size_class_of(9000), 9000);
  stats.add_copy(CopyOutcome::kSmall, 0);
  stats.add_bytes(CopyOutcome::kSmall, 0, 100);
  stats.add_latency(microseconds(3));
  stats.add(stats::NetdmaMetric::kWaitsAtOnce, 7);
  return stats.snapshot();
}

std::string shown(const NetdmaReport& report) {
  FakeService service;
  service.copying = report;
  const auto result = run(service, "netdma show", Json::object());
  EXPECT_TRUE(result);
  return find_command("netdma show")->render(*result);
}

TEST(NetdmaWords, SaysWhichSizesTheEngineHasAndWhy) {
  NetdmaReport report = report_of_thread();
  EXPECT_FALSE(has_engine(report, size_class_of(4096)));
  EXPECT_EQ(
      why_of(report, size_class_of(4096)),
      "the CPU copies: a frame of 4096 bytes costs the shard 1465 ns, with the engine 1500 ns");
  EXPECT_TRUE(has_engine(report, size_class_of(9000)));
  EXPECT_EQ(state_of(report), "the engine copies, from 8.0K on");

  report.calibration.classes.back() = netdma::Worth::kSlow;
  EXPECT_EQ(state_of(report), "the engine copies, from 8.0K on, not all sizes");
  report = report_of_thread();

  report.min_bytes = 20'000;
  EXPECT_FALSE(has_engine(report, size_class_of(9000)));
  EXPECT_EQ(why_of(report, size_class_of(9000)), "less than netdma_min_bytes, 20000");
  EXPECT_TRUE(has_engine(report, size_class_of(20'000)));  // some of them
  EXPECT_EQ(state_of(report), "the engine copies, from 19.5K on");

  report.min_bytes = 0;
  report.is_break_even_ignored = true;
  EXPECT_TRUE(has_engine(report, 0));
  EXPECT_EQ(state_of(report), "the engine copies all sizes");
  EXPECT_THAT(why_of(report, 0), StartsWith("netdma_break_even is ignored, else the CPU copies"));
}

TEST(NetdmaWords, SaysWhyNothingGoesToTheEngine) {
  NetdmaReport report = report_of_thread();
  report.quarantined = 2;
  EXPECT_EQ(state_of(report), "the CPU copies: the engine failed and is in quarantine");
  report.quarantined = 1;
  EXPECT_EQ(state_of(report), "the engine copies, from 8.0K on");
  report.calibration.figures.is_asynchronous = false;
  report.calibration = netdma::judge(report.calibration.figures);
  EXPECT_EQ(state_of(report),
            "bypassed: the CPU copies: this engine works in the shard's own time");
  report.fault = "dmadev wq0.0: DPDK knows no such device";
  EXPECT_EQ(state_of(report), "the CPU copies: dmadev wq0.0: DPDK knows no such device");
  report.fault.clear();
  report.engine.clear();
  report.backend = "cpu";
  EXPECT_EQ(state_of(report), "the CPU copies: no copy engine, netdma_backend is cpu");
  report.is_enabled = false;
  EXPECT_EQ(state_of(report), "off: netdma is disabled");
}

TEST(NetdmaCommand, ShowsCopiesBySizePathAndOutcome) {
  FakeService service;
  service.copying = report_of_thread();
  service.copying.counts = counts();
  const auto result = run(service, "netdma show", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->at("copies")[0], Json({{"from_bytes", 0},
                                           {"path", "cpu"},
                                           {"outcome", "small"},
                                           {"copies", 1},
                                           {"bytes", 100}}));
  EXPECT_EQ(result->at("copies")[1], Json({{"from_bytes", 8192},
                                           {"path", "engine"},
                                           {"outcome", "engine"},
                                           {"copies", 1},
                                           {"bytes", 9000}}));
  EXPECT_EQ(result->at("latency"), Json::array({{{"below_us", 4}, {"copies", 1}}}));
  EXPECT_EQ(result->at("counters").at("waits_at_once"), 7);
  EXPECT_EQ(result->at("classes").size(), stats::kSizeClasses);
  EXPECT_EQ(result->at("calibration").at("min_bytes"), 8192);
  EXPECT_EQ(result->at("calibration").at("streaming_from_bytes"), 64);
  const std::string text = find_command("netdma show")->render(*result);
  EXPECT_THAT(text, AllOf(HasSubstr("engine          thread, 2 channel(s), 0 in quarantine\n"),
                          HasSubstr("below 1.0K      cpu"), HasSubstr("64.0K and more  engine"),
                          HasSubstr("waits_at_once  7"), HasSubstr("9000 bytes"),
                          HasSubstr("SHARD, CPU"), HasSubstr("SHARD, ENGINE")));
}

TEST(NetdmaCommand, WithoutAnEngineThereIsLittleToShow) {
  NetdmaReport report;
  report.is_enabled = true;
  report.backend = "cpu";
  EXPECT_THAT(shown(report), AllOf(HasSubstr("engine          none"), Not(HasSubstr("CALIBRATION")),
                                   Not(HasSubstr("OUTCOME"))));
}

TEST(NetdmaCommand, CalibratesAndShowsWhatCameOfIt) {
  FakeService service;
  service.copying = report_of_thread();
  const auto result = run(service, "netdma calibrate", Json::object());
  ASSERT_TRUE(result);
  EXPECT_EQ(service.calibrations, 1);
  EXPECT_TRUE(find_command("netdma calibrate")->is_change(Json::object()));
  EXPECT_THAT(find_command("netdma calibrate")->render(*result),
              AllOf(HasSubstr("CALIBRATION"), HasSubstr("65536 bytes")));
  service.answer = fail(Errc::kBusy, "busy");
  EXPECT_FALSE(run(service, "netdma calibrate", Json::object()));
}

// Reference 3.2: the five features switch NetDMA off together with Chimney, and it says so.
TEST(NetdmaCommand, SaysForWhomItIsNot) {
  FakeService service;
  service.copying = report_of_thread();
  const auto netsh = [&](const char* what) {
    return run(service, "netsh", Json{{"WORD", {"interface", "tcp", "show", what}}})
        ->at("text")
        .get<std::string>();
  };
  EXPECT_THAT(shown(service.copying), Not(HasSubstr("not for")));
  EXPECT_THAT(netsh("global"), Not(HasSubstr("Not for")));

  service.state.features = {{chimney::Reason::kFirewall, "nftables: table ip a, chain b", true},
                            {chimney::Reason::kIpsec, "ip xfrm policy: all", false}};
  constexpr char kSentence[] =
      "connections that nftables: table ip a, chain b (firewall) may concern: they stay in the "
      "host, without Chimney and NetDMA";
  const auto result = run(service, "netdma show", Json::object());
  ASSERT_TRUE(result);
  ASSERT_EQ(result->at("not_for").size(), 1u) << "a setting overrules the other";
  EXPECT_EQ(result->at("not_for")[0].at("reason"), "firewall");
  EXPECT_THAT(find_command("netdma show")->render(*result),
              HasSubstr(std::string("not for         ") + kSentence + "\n"));
  for (const char* what : {"global", "netdmastats"})
    EXPECT_THAT(netsh(what), AllOf(HasSubstr(std::string("\n** Not for ") + kSentence + ".\n"),
                                   Not(HasSubstr("xfrm"))));
}

TEST(NetdmaCommand, NetshShowsTheSameSums) {
  FakeService service;
  service.copying = report_of_thread();
  service.copying.counts = counts();
  const auto result =
      run(service, "netsh", Json{{"WORD", {"interface", "tcp", "show", "netdmastats"}}});
  ASSERT_TRUE(result);
  EXPECT_THAT(result->at("text").get<std::string>(),
              AllOf(StartsWith("NetDMA Statistics\n---"),
                    HasSubstr("Copy Engine                         : thread\n"),
                    HasSubstr("Bytes Copied by the Engine          : 9000\n"),
                    HasSubstr("Bytes Copied by the CPU             : 100\n"),
                    HasSubstr("** the engine copies, from 8.0K on.\n")));
}

}  // namespace
}  // namespace snp::commands
