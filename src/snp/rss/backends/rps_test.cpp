// RPS masks, CPUs and the journal, in a /sys of the test.
#include "snp/rss/backends/rps.h"

#include <gtest/gtest.h>

#include "snp/rss/backends/choice.h"
#include "snp/rss/backends/fakes.h"
#include "snp/rss/backends/restore.h"
#include "snp/rss/processors.h"

namespace snp::rss {
namespace {

constexpr const char* kMask0 = "class/net/lo/queues/rx-0/rps_cpus";
constexpr const char* kMask1 = "class/net/lo/queues/rx-1/rps_cpus";

HostDistribution over(const std::vector<CpuId>& cpus) {
  return {kIpv4, kVerificationKey, spread(cpus, 8), cpus.front()};
}

class RpsTest : public testing::Test {
 protected:
  RpsTest() {
    sys.put(kMask0, "0");
    sys.put(kMask1, "00000000,00000004");
    sys.put("class/net/lo/queues/tx-0/xps_cpus", "f");
  }
  std::unique_ptr<Backend> make() { return make_rps("lo", 1, sysfs, journal); }
  FakeSys sys;
  Sysfs sysfs{sys.root()};
  Journal journal{sys.journal()};
};

TEST_F(RpsTest, MasksAreSetReadBackAndPutBack) {
  const auto rps = make();
  ASSERT_TRUE(rps->apply(over({3, 1})));
  EXPECT_EQ(sys.get(kMask0), "a");
  EXPECT_EQ(sys.get(kMask1), "a");
  ASSERT_TRUE(rps->look());
  EXPECT_EQ(rps->look()->cpus, (std::vector<CpuId>{1, 3}));
  EXPECT_NE(rps->look()->remark.find("kernel's own"), std::string::npos);
  ASSERT_TRUE(rps->apply(over({0, 40})));
  EXPECT_EQ(sys.get(kMask0), "100,00000001");
  ASSERT_TRUE(rps->undo());
  EXPECT_EQ(sys.get(kMask0), "0");
  EXPECT_EQ(sys.get(kMask1), "00000000,00000004");
  EXPECT_FALSE(std::filesystem::exists(sys.journal()));
}

TEST_F(RpsTest, TheNextProcessPutsBackWhatAKilledOneHasChanged) {
  ASSERT_TRUE(make()->apply(over({0, 1})));
  EXPECT_EQ(sys.get(kMask1), "3");
  Journal later(sys.journal());
  restore_devices(later, sysfs, [](const std::string& line) { ADD_FAILURE() << line; });
  EXPECT_EQ(sys.get(kMask1), "00000000,00000004");
  EXPECT_FALSE(std::filesystem::exists(sys.journal()));
}

TEST_F(RpsTest, WhatSomebodyElseSetsIsSeenAndStays) {
  const auto rps = make();
  ASSERT_TRUE(rps->apply(over({0, 1})));
  sys.put(kMask0, "8");
  EXPECT_EQ(rps->look().error().code, Errc::kBusy);
  rps->release();
  ASSERT_TRUE(rps->undo());
  EXPECT_EQ(sys.get(kMask0), "8");
}

TEST_F(RpsTest, AQueueThatCannotBeSetLeavesTheOthersAsTheyWere) {
  sys.remove(kMask1);
  std::filesystem::create_directories(sys.root() + "/class/net/lo/queues/rx-1");
  EXPECT_FALSE(make()->apply(over({0, 1})));
  EXPECT_EQ(sys.get(kMask0), "0");
}

TEST_F(RpsTest, ADeviceThatIsGoneIsNoErrorAtTheEnd) {
  const auto rps = make();
  ASSERT_TRUE(rps->apply(over({0, 1})));
  sys.remove("class/net/lo");
  EXPECT_EQ(rps->look().error().code, Errc::kNotFound);
  EXPECT_TRUE(rps->undo());
  EXPECT_FALSE(std::filesystem::exists(sys.journal()));
}

TEST_F(RpsTest, AJournalIsNeverTrusted) {
  for (const char* text : {"", "rps", "rps lo", "rps lo x rx-0 0", "rps lo 1", "card lo 1 x y z",
                           "rps lo 1 ../../../../etc 0", "fields lo 1 tcp4 many"}) {
    sys.put("journal", text);
    Journal journal_of_text(sys.journal());
    restore_devices(journal_of_text, sysfs, [](const std::string&) {});
    EXPECT_EQ(sys.get(kMask0), "0") << text;
  }
}

TEST(CpuLists, AreReadAndWrittenAsTheKernelDoes) {
  EXPECT_EQ(parse_cpu_list("0-2,5"), (std::vector<CpuId>{0, 1, 2, 5}));
  EXPECT_EQ(to_cpu_list({0, 1, 2, 5}), "0-2,5");
  EXPECT_EQ(parse_cpu_list(""), std::vector<CpuId>());
  for (const char* bad : {"x", "3-1", "1-", "0-99999999"})
    EXPECT_FALSE(parse_cpu_list(bad)) << bad;
  EXPECT_EQ(parse_cpu_mask("1,00000003"), (std::vector<CpuId>{0, 1, 32}));
  EXPECT_EQ(to_cpu_mask({0, 1, 32}), "1,00000003");
  EXPECT_EQ(to_cpu_mask({}), "0");
  EXPECT_FALSE(parse_cpu_mask("zz"));
}

TEST(CpusOfSysfs, HaveNodeCoreAndDistance) {
  const FakeSys sys;
  const Sysfs sysfs(sys.root());
  sys.put("devices/system/cpu/online", "0,2-3");
  for (const int cpu : {0, 2, 3}) {
    const std::string folder = "devices/system/cpu/cpu" + std::to_string(cpu);
    sys.put(folder + "/topology/thread_siblings_list", cpu == 0 ? "0" : "2-3");
    sys.put(folder + (cpu == 0 ? "/node0/x" : "/node1/x"), "");
  }
  sys.put("devices/system/node/node1/distance", "21 10");
  const auto processors = sysfs.processors(1);
  ASSERT_EQ(processors.size(), 3u);
  EXPECT_EQ(processors[0].distance, 21u);
  EXPECT_EQ(processors[1].distance, 10u);
  EXPECT_EQ(processors[1].core, processors[2].core);  // threads of one core
  EXPECT_EQ(processors[2].node, 1u);
}

TEST(Choice, EachDeviceGetsWhatItCanAndASentence) {
  DeviceFacts card{"eth0", 2, "ixgbe", true, 8, 128, true, ""};
  EXPECT_EQ(choose_backend("automatic", card, 4, true)->kind, BackendKind::kCard);
  const auto left = choose_backend("automatic", card, 4, false);  // it does so already
  EXPECT_EQ(left->kind, BackendKind::kNone);
  EXPECT_NE(left->why.find("by itself"), std::string::npos);
  EXPECT_EQ(choose_backend("card", card, 4, false)->kind, BackendKind::kCard);
  EXPECT_EQ(choose_backend("automatic", card, 1, true)->kind, BackendKind::kNone);
  EXPECT_EQ(choose_backend("cpumap", card, 4, true)->mode, XdpMode::kNative);
  card.card_entries = 0;
  const auto rps = choose_backend("automatic", card, 4, true);
  EXPECT_EQ(rps->kind, BackendKind::kRps);
  EXPECT_TRUE(rps->waits_for_load);
  const auto no_card = choose_backend("card", card, 4, true);
  EXPECT_EQ(no_card.error().code, Errc::kUnsupported);
  EXPECT_TRUE(no_card.error().message.starts_with("INVALID_PORT_STATE: eth0: "))
      << no_card.error().message;
  card.has_rps = false;
  EXPECT_EQ(choose_backend("automatic", card, 4, true)->kind, BackendKind::kNone);
  EXPECT_EQ(choose_backend("rps", card, 4, true).error().code, Errc::kUnsupported);
  const DeviceFacts veth{"veth0", 3, "veth", false, 1, 0, true, ""};
  EXPECT_EQ(choose_backend("automatic", veth, 4, true)->kind, BackendKind::kNone);
  EXPECT_EQ(choose_backend("cpumap", veth, 4, true)->mode, XdpMode::kGeneric);
  EXPECT_FALSE(choose_backend("rps", veth, 4, true)->waits_for_load);
  for (const char* wanted : {"automatic", "none", "rps", "cpumap"})
    EXPECT_FALSE(choose_backend(wanted, veth, 4, true)->why.empty());
}

}  // namespace
}  // namespace snp::rss
