// The card's own table, against a card that answers the ethtool call.
#include "snp/rss/backends/card.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "snp/rss/backends/fakes.h"
#include "snp/rss/processors.h"

namespace snp::rss {
namespace {

HostDistribution over(const std::vector<CpuId>& cpus, std::uint32_t entries = 8) {
  return {kIpv4 | kTcpIpv4 | kIpv6 | kTcpIpv6, kVerificationKey, spread(cpus, entries),
          cpus.front()};
}

class CardTest : public testing::Test {
 protected:
  std::unique_ptr<Backend> make(QueueCpus cpus = {}) {
    return make_card(
        "lo", FakeSys::kIfindex, card.call(), [cpus](std::uint32_t) { return cpus; }, journal);
  }
  FakeSys sys;
  FakeCard card;
  Journal journal{sys.journal()};
};

TEST_F(CardTest, QueuesStandForTheCpusThatTheyInterrupt) {
  EXPECT_EQ(queues_for({4, 7, 4, 7}, 4, 4, {7, 4, std::nullopt, 4}),
            (std::vector<std::uint32_t>{1, 0, 3, 0}));
  // Nothing known: in turn, and as often as the card has entries.
  EXPECT_EQ(queues_for({4, 7}, 4, 2, {}), (std::vector<std::uint32_t>{0, 1, 0, 1}));
  EXPECT_EQ(queues_for({0, 1, 2, 3}, 2, 4, {}), (std::vector<std::uint32_t>{0, 1}));
  // More CPUs than queues: as many as there are queues (reference 5.4).
  EXPECT_EQ(queues_for({0, 1, 2, 3}, 4, 2, {}), (std::vector<std::uint32_t>{0, 1, 0, 1}));
}

TEST_F(CardTest, TableKeyAndFieldsAreSetReadBackAndPutBack) {
  card.table = {3, 3, 2, 2, 1, 1, 0, 0};
  card.fields = {{TCP_V4_FLOW, RXH_IP_SRC | RXH_IP_DST}, {UDP_V4_FLOW, RXH_IP_SRC | RXH_IP_DST}};
  const FakeCard before = card;
  const auto backend = make({0, 1, 2, 3});
  ASSERT_TRUE(backend->apply(over({1, 2})));
  EXPECT_EQ(card.table, (std::vector<std::uint32_t>{1, 2, 1, 2, 1, 2, 1, 2}));
  EXPECT_TRUE(std::ranges::equal(card.key, kVerificationKey));
  EXPECT_EQ(card.fields.at(TCP_V4_FLOW),
            std::uint64_t{RXH_IP_SRC | RXH_IP_DST | RXH_L4_B_0_1 | RXH_L4_B_2_3});
  EXPECT_EQ(card.fields.at(UDP_V4_FLOW), std::uint64_t{RXH_IP_SRC | RXH_IP_DST});
  const auto state = backend->look();
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->queues, card.table);
  EXPECT_EQ(state->cpus, (std::vector<CpuId>{1, 2}));
  ASSERT_TRUE(backend->apply(over({3, 0})));  // what was before us is still the same
  ASSERT_TRUE(backend->undo());
  EXPECT_EQ(card.table, before.table);
  EXPECT_EQ(card.key, before.key);
  EXPECT_EQ(card.fields, before.fields);
  EXPECT_FALSE(std::filesystem::exists(sys.journal()));
}

TEST_F(CardTest, AnotherProcessPutsBackWhatTheJournalHas) {
  card.table = {3, 3, 2, 2, 1, 1, 0, 0};
  const FakeCard before = card;
  {
    const auto backend = make();
    ASSERT_TRUE(backend->apply(over({0, 1})));
  }  // killed: nothing undone
  EXPECT_NE(card.table, before.table);
  Journal later(sys.journal());
  ASSERT_TRUE(restore_card("lo", FakeSys::kIfindex, card.call(), later));
  EXPECT_EQ(card.table, before.table);
  EXPECT_EQ(card.key, before.key);
  EXPECT_TRUE(later.lines().empty());
}

TEST_F(CardTest, ADriversOwnTableIsItsOwnAgain) {
  const auto backend = make();
  ASSERT_TRUE(backend->apply(over({0})));
  ASSERT_TRUE(backend->undo());
  EXPECT_TRUE(card.was_reset);
  EXPECT_EQ(card.table, (std::vector<std::uint32_t>{0, 1, 2, 3, 0, 1, 2, 3}));
}

TEST_F(CardTest, ACardThatKeepsItsKeyTakesTheTable) {
  card.takes_keys = false;
  const auto key = card.key;
  const auto backend = make({0, 1, 2, 3});
  ASSERT_TRUE(backend->apply(over({2, 3})));
  EXPECT_EQ(card.key, key);
  EXPECT_EQ(card.table[0], 2u);
  EXPECT_NE(backend->look()->remark.find("own key"), std::string::npos);
  ASSERT_TRUE(backend->undo());
  EXPECT_EQ(card.table, (std::vector<std::uint32_t>{0, 1, 2, 3, 0, 1, 2, 3}));
}

TEST_F(CardTest, ALongerKeyOfTheCardBeginsWithOurs) {
  card.key.assign(52, 1);
  const auto backend = make();
  ASSERT_TRUE(backend->apply(over({0, 1})));
  EXPECT_TRUE(std::equal(kVerificationKey.begin(), kVerificationKey.end(), card.key.begin()));
}

TEST_F(CardTest, WhatIsRefusedChangesNothing) {
  const auto backend = make();
  const auto odd = backend->apply(over({0, 1, 2}, 3));
  ASSERT_FALSE(odd);
  EXPECT_NE(odd.error().message.find("INVALID_PARAMETER"), std::string::npos);
  card.queues = 1;
  const auto no_queues = backend->apply(over({0, 1}));
  ASSERT_FALSE(no_queues);
  EXPECT_NE(no_queues.error().message.find("NO_QUEUES"), std::string::npos);
  card.table.clear();
  EXPECT_EQ(backend->apply(over({0, 1})).error().code, Errc::kUnsupported);
  EXPECT_EQ(card.writes, 0);
  EXPECT_TRUE(journal.lines().empty());
}

TEST_F(CardTest, LosingTheFeatureTheDeviceOrTheTableToSomebodyIsNoticed) {
  const auto backend = make();
  ASSERT_TRUE(backend->apply(over({0, 1})));
  const auto mine = card.table;
  card.table[0] = 3;
  EXPECT_EQ(backend->look().error().code, Errc::kBusy);
  card.table = mine;
  EXPECT_TRUE(backend->look());
  card.error = EOPNOTSUPP;
  EXPECT_EQ(backend->look().error().code, Errc::kUnsupported);
  card.error = ENODEV;
  EXPECT_EQ(backend->look().error().code, Errc::kNotFound);
  EXPECT_TRUE(backend->undo());  // of a device that is gone, too
  EXPECT_TRUE(journal.lines().empty());
}

TEST_F(CardTest, PacketsOfAQueueAreSharedByItsBuckets) {
  const auto backend = make({0, 1, 2, 3});
  ASSERT_TRUE(backend->apply(over({1, 2}, 4)));
  EXPECT_TRUE(backend->bucket_packets()->empty());  // the driver names none
  card.statistics = {{"rx_queue_0_packets", 9},
                     {"rx_queue_1_packets", 100},
                     {"rx_queue_1_bytes", 7},
                     {"rx_queue_2_packets", 50}};
  EXPECT_EQ(*backend->bucket_packets(), (std::vector<std::uint64_t>{50, 25, 50, 25}));
}

TEST(Ethtool, StatisticsOfQueuesAreKnownByTheirNames) {
  for (const char* name :
       {"rx_queue_3_packets", "rx3_packets", "rx-3.packets", "rx_3_packets", "queue_3_rx_cnt"})
    EXPECT_EQ(queue_in_statistic(name), 3u) << name;
  for (const char* name : {"rx_packets", "tx_queue_3_packets", "rx_queue_3_bytes",
                           "rx_queue__packets", "rx_queue_99999999999_packets", ""})
    EXPECT_EQ(queue_in_statistic(name), std::nullopt) << name;
}

TEST(Ethtool, AnImpossibleSizeIsNotBelieved) {
  const EthtoolCall liar = [](void* request) {
    static_cast<ethtool_rxfh*>(request)->indir_size = 0xffffffff;
    return 0;
  };
  EXPECT_FALSE(read_card_table(liar));
}

}  // namespace
}  // namespace snp::rss
