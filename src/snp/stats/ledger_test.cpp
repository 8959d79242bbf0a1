#include "snp/stats/ledger.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace snp::stats {
namespace {

using P = PathMetric;

// A hand-over there and back by IPv4: two disconnects, one forged frame, two frames given back, one
// segment fenced, one sent once more; besides, ordinary traffic of both families.
LedgerSources one_round() {
  LedgerSources sources;
  sources.host.tcp[Mib::kInSegs] = 100 + 1 + 2;
  sources.host.tcp[Mib::kOutSegs] = 90 + 1 + 1;
  sources.host.tcp[Mib::kRetransSegs] = 4;
  sources.host.tcp[Mib::kEstabResets] = 5 + 2;
  sources.host.tcp[Mib::kCurrEstab] = 7;
  sources.host.ip[0][Mib::kInReceives] = 80 + 1 + 2;
  sources.host.ip[0][Mib::kInOctets] = 8000 + 52 + 3000;
  sources.host.ip[1][Mib::kInReceives] = 20;
  sources.host.ip[1][Mib::kInOctets] = 2000;
  PathCounters& path = sources.paths[0];
  path.merge(P::kForgedFrames, 1);
  path.merge(P::kForgedOctets, 52);
  path.merge(P::kTakenFrames, 12);
  path.merge(P::kTakenOctets, 12000);
  path.merge(P::kReinjectedFrames, 2);
  path.merge(P::kReinjectedOctets, 3000);
  path.merge(P::kFencedSegments, 1);
  path.merge(P::kSegmentsOut, 30);
  path.merge(P::kRetransmits, 3);
  path.merge(P::kEstablished, 1);
  sources.own_resets = 2;
  sources.own_repeats = 1;
  sources.parked = 3;
  sources.local_ends = 2;
  return sources;
}

void expect_row(const LedgerRow& row, std::uint64_t host, std::uint64_t target,
                std::uint64_t local = 0) {
  EXPECT_EQ(row.host, host);
  EXPECT_EQ(row.target, target);
  EXPECT_EQ(row.local, local);
  EXPECT_EQ(row.total(), host + target + local);
}

// STA-1, candidates (a) and (c) of reference 3.4: what was given to the host counts there only.
TEST(Ledger, WhatWasGivenBackIsTheHosts) {
  const LedgerSources sources = one_round();
  expect_row(ledger_row(sources, Mib::kInSegs), 102, 10);
  expect_row(ledger_row(sources, Mib::kInReceives), 102, 10);
  expect_row(ledger_row(sources, Mib::kInOctets), 13000, 9000);
}

TEST(Ledger, WhatAHandOverDoesToTheKernelsCountersIsTakenOff) {
  const LedgerSources sources = one_round();
  expect_row(ledger_row(sources, Mib::kOutSegs), 90, 27);
  expect_row(ledger_row(sources, Mib::kRetransSegs), 5, 3);
  expect_row(ledger_row(sources, Mib::kEstabResets), 5, 0);
  expect_row(ledger_row(sources, Mib::kCurrEstab), 4, 1, 2);
  EXPECT_EQ(correction(sources, Mib::kEstabResets), 2u);
  EXPECT_EQ(correction(sources, Mib::kInReceives), 1u);
  EXPECT_EQ(correction(sources, Mib::kRetransSegs), 0u) << "it is added";
}

// STA-1, candidate (d): families do not share a set, and what the kernel does not split is said.
TEST(Ledger, FamiliesAreApartAndAddUp) {
  const LedgerSources sources = one_round();
  expect_row(ledger_row(sources, Mib::kInReceives, Family::kV4), 82, 10);
  expect_row(ledger_row(sources, Mib::kInReceives, Family::kV6), 20, 0);
  const LedgerRow row = ledger_row(sources, Mib::kOutSegs, Family::kV4);
  EXPECT_FALSE(row.host.has_value());
  EXPECT_EQ(row.target, 27u);
}

TEST(Ledger, ACounterThatIsBehindItsCorrectionIsZero) {
  LedgerSources sources;
  sources.own_resets = 1;
  sources.paths[0].merge(P::kReinjectedFrames, 1);
  expect_row(ledger_row(sources, Mib::kEstabResets), 0, 0);
  expect_row(ledger_row(sources, Mib::kInSegs), 0, 0);
}

TEST(Ledger, RowsAreFitToPublish) {
  EXPECT_EQ(all_mib_counters().size(), kMibCounters);
  std::set<std::string_view> names;
  for (const MibInfo& row : all_mib_counters()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " stands twice";
    EXPECT_EQ(row.meaning.back(), '.') << row.name;
    EXPECT_EQ(row.whose.back(), '.') << row.name;
  }
}

}  // namespace
}  // namespace snp::stats
