// Protects the runner: a script that must fail does, and says why.
#include "test/script/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/script/parser.h"

namespace snp::script {
namespace {

using ::testing::HasSubstr;

std::string result_of(const std::string& source, const std::optional<Placement>& placement = {}) {
  const auto script = parse_script("x.pkt", source);
  return script ? run(*script, placement) : script.error().message;
}

const std::string kWrite = "+0 write(4, ..., 1000) = 1000\n";

TEST(Runner, PassesWhatHappens) {
  EXPECT_EQ(result_of(kWrite + "+0 > P. 1:1001(1000) ack 1 win 65535\n"
                               "+.1 < . 1:1(0) ack 1001 win 65535\n"
                               "+0 %{ assert tcpi_unacked == 0 and outq == 0 }%\n"
                               "+.5 < P. 1:101(100) ack 1001\n"
                               "+.04 > . 1001:1001(0) ack 101\n"
                               "+0 read(4, ..., 1000) = 100\n"
                               "+0 read(4, ..., 1000) = -1 EAGAIN\n"),
            "");
}

TEST(Runner, NamesEachFieldThatDiffers) {
  EXPECT_THAT(result_of(kWrite + "+0 > . 1:1001(1000) ack 1"), HasSubstr("another flags was"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 2:1002(1000) ack 1"), HasSubstr("another sequence"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 1:1000(999) ack 1"), HasSubstr("another length"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 1:1001(1000) ack 2"), HasSubstr("another ack"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 1:1001(1000) ack 1 win 7"), HasSubstr("another win"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 1:1001(1000) ack 1 gso 9"), HasSubstr("another gso"));
  EXPECT_THAT(result_of(kWrite + "+0 > P. 1:1001(1000) ack 1 <TS val 1 ecr 1>"),
              HasSubstr("another options"));
  EXPECT_THAT(result_of(kWrite + "+0 > [ect0] P. 1:1001(1000) ack 1"),
              HasSubstr("another ECN field"));
  EXPECT_THAT(result_of(kWrite + "+0 > . 2:1000(998) ack 1"),
              HasSubstr("x.pkt:2:1: another flags, sequence, length was expected\n"
                        "  came:   0 > P. 1:1001(1000) ack 1 win 65535\n"
                        "  script: +0 > . 2:1000(998) ack 1"));
}

TEST(Runner, TimesAreExact) {
  const std::string timeout = "+0 > P. 1:1001(1000) ack 1\n";
  EXPECT_EQ(result_of(kWrite + timeout + "+.3 > P. 1:1001(1000) ack 1"), "");
  EXPECT_THAT(result_of(kWrite + timeout + "+.299999 > P. 1:1001(1000) ack 1"),
              HasSubstr("nothing came until 0.299999"));
  EXPECT_THAT(result_of(kWrite + timeout + "+.300001 > P. 1:1001(1000) ack 1"),
              HasSubstr("another time was expected\n  came:   0.3 "));
  EXPECT_EQ(result_of(kWrite + timeout + "+.2~+.4 > P. 1:1001(1000) ack 1"), "");
  EXPECT_EQ(result_of(kWrite + timeout + "* > P. 1:1001(1000) ack 1"), "");
  EXPECT_EQ(result_of(kWrite + timeout + ".3 > P. 1:1001(1000) ack 1"), "");
  EXPECT_THAT(result_of("1 < . 1:1(0) ack 1\n.5 < . 1:1(0) ack 1"),
              HasSubstr("x.pkt:2:1: this lies before"));
}

TEST(Runner, NothingMayComeUnexpected) {
  EXPECT_THAT(result_of(kWrite + "+0 < . 1:1(0) ack 1"), HasSubstr("x.pkt:2:1: this came before"));
  EXPECT_THAT(result_of(kWrite), HasSubstr("x.pkt:1:1: this came before the end"));
  EXPECT_THAT(result_of("+1 > . 1:1(0) ack 1"), HasSubstr("nothing came until 1"));
  EXPECT_THAT(result_of("* > . 1:1(0) ack 1"), HasSubstr("nothing came until the end"));
}

TEST(Runner, AssertionsTellTheValues) {
  EXPECT_THAT(result_of("+0 %{ assert 1\n assert tcpi_snd_cwnd == 11 }%"),
              HasSubstr("x.pkt:2:2: this does not hold: tcpi_snd_cwnd == 11"));
  EXPECT_THAT(result_of("+0 %{ assert tcpi_snd_cwnd == 11 }%"), HasSubstr("tcpi_snd_cwnd is 10"));
  EXPECT_THAT(result_of("+0 %{ assert tcpi_foo == 1 }%"), HasSubstr("there is no name tcpi_foo"));
  EXPECT_THAT(result_of("+0 %{ assert 1 / 0 }%"), HasSubstr("division by zero"));
}

TEST(Runner, CallsReturnWhatIsWritten) {
  EXPECT_THAT(result_of("+0 read(4, ..., 1) = 1"), HasSubstr("read returned -1 EAGAIN"));
  EXPECT_THAT(result_of("+0 dance(4) = 0"), HasSubstr("there is no such call: dance"));
  EXPECT_THAT(result_of("+0 setsockopt(4, SOL_TCP, TCP_FOO, [1], 4) = 0"),
              HasSubstr("there is no such option: TCP_FOO"));
  EXPECT_THAT(result_of("+0 upload\n+0 read(4, ..., 1) = 1"), HasSubstr("is with the host"));
}

TEST(Runner, WhatArrivesDuringAHandOverIsHeld) {
  EXPECT_EQ(result_of("+0 upload\n+.1 < P. 1:101(100) ack 1\n+.1 offload\n"
                      "+0 read(4, ..., 1000) = 100\n+.04 > . 1:1(0) ack 101"),
            "");
}

// The hand-over must really happen: the number of duplicate ACKs is forgotten in it.
TEST(Runner, PlacesAHandOverInTheGapThatIsNamed) {
  const std::string source =
      "--cc=newreno --cwnd=4\n"
      "+0 write(4, ..., 4000) = 4000\n"
      "+0 > . 1:1001(1000) ack 1\n+0 > . 1001:2001(1000) ack 1\n"
      "+0 > . 2001:3001(1000) ack 1\n+0 > P. 3001:4001(1000) ack 1\n"
      "+.1 < . 1:1(0) ack 1\n+0 < . 1:1(0) ack 1\n"
      "+0 < . 1:1(0) ack 1\n+0 > . 1:1001(1000) ack 1";
  EXPECT_EQ(result_of(source), "");
  for (const std::size_t before : {0u, 3u, 4u})
    EXPECT_EQ(result_of(source, Placement{HandOver::kOrderly, before}), "");
  EXPECT_THAT(result_of(source, Placement{HandOver::kOrderly, 5}),
              HasSubstr("nothing came until 0.1"));
  EXPECT_THAT(result_of(source, Placement{HandOver::kRestart, 6}),
              HasSubstr("with a restart after line 8"));
  EXPECT_THAT(result_of(source, Placement{}), HasSubstr("with a hand-over in each gap"));
}

TEST(Runner, LeavesOutTheGapsThatAreExempt) {
  const std::string source =
      "--cc=newreno --cwnd=4\n"
      "+0 write(4, ..., 4000) = 4000\n"
      "+0 > . 1:1001(1000) ack 1\n+0 > . 1001:2001(1000) ack 1\n"
      "+0 > . 2001:3001(1000) ack 1\n+0 > P. 3001:4001(1000) ack 1\n"
      "+.1 < . 1:1(0) ack 1\nno-handover: it forgets\n+0 < . 1:1(0) ack 1\n"
      "+0 < . 1:1(0) ack 1\n+0 > . 1:1001(1000) ack 1";
  EXPECT_EQ(result_of(source, Placement{}), "");
}

TEST(Runner, TheAckThatIsOwedMayComeAtTheHandOver) {
  const std::string source = "+0 < P. 1:101(100) ack 1\n+.04 > . 1:1(0) ack 101";
  EXPECT_EQ(result_of(source, Placement{HandOver::kOrderly, 0}), "");
  EXPECT_EQ(result_of(source, Placement{HandOver::kOrderly, 0, true}), "");
  EXPECT_THAT(result_of("+0 < P. 1:101(100) ack 1\n+.04 > . 1:1(0) ack 102",
                        Placement{HandOver::kOrderly, 0}),
              HasSubstr("nothing came"));
}

TEST(Runner, TimestampsAreATickAheadAfterAHandOverAndEchoedSo) {
  const std::string source =
      "--timestamps --mss=1012\n"
      "+.5 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1 <TS val 1500 ecr 1000>\n"
      "+.1 < . 1:1(0) ack 1001 <TS val 1600 ecr 1500>\n+0 %{ assert tcpi_rtt / 1000 == 100 }%";
  EXPECT_EQ(result_of(source), "");
  EXPECT_EQ(result_of(source, Placement{HandOver::kOrderly, 0}), "");
  EXPECT_THAT(result_of("--timestamps --mss=1012\n+.5 write(4, ..., 1000) = 1000\n"
                        "+0 > P. 1:1001(1000) ack 1 <TS val 1501 ecr 1000>"),
              HasSubstr("another options"));
}

}  // namespace
}  // namespace snp::script
