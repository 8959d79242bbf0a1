// How well paths are filled, and how fairly they are shared: tables in virtual time, compared with
// those in golden/. After a change that is meant: SNP_SIM_GOLDEN=write
// build/release/bin/snp_sim_tables_test, and look at the difference before it is committed.
//
// Bounds. A goodput may be a tenth worse or a quarter better than recorded, a Jain index 0.05
// worse, a retransmitted share half as much again (and a thousandth) more: between seeds they
// differ by less.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iomanip>
#include <map>
#include <numeric>
#include <sstream>

#include <gtest/gtest.h>

#include "test/sim/simulation.h"

namespace snp::sim {
namespace {

constexpr std::uint64_t kEndless = 1ull << 60;
constexpr int kSeeds = 3;

using Row = std::vector<double>;
using Table = std::map<std::string, Row>;

struct Column {
  const char* name;
  std::function<bool(double measured, double golden)> is_within;
};

const Column kGoodput{"Mbit/s", [](double measured, double golden) {
                        return measured >= 0.9 * golden && measured <= 1.25 * golden;
                      }};
const Column kResent{"resent %",
                     [](double measured, double golden) { return measured <= 1.5 * golden + 0.5; }};
const Column kJain{"Jain", [](double measured, double golden) { return measured >= golden - 0.1; }};
const Column kShare{
    "share %", [](double measured, double golden) { return std::abs(measured - golden) <= 15; }};

bool is_writing() {
  const char* wish = std::getenv("SNP_SIM_GOLDEN");  // NOLINT(concurrency-mt-unsafe): one thread
  return wish != nullptr && std::string(wish) == "write";
}

void write(const std::string& path, const std::vector<Column>& columns, const Table& table) {
  std::ofstream out(path);
  out << "path";
  for (const Column& column : columns)
    out << " | " << column.name;
  out << "\n" << std::fixed << std::setprecision(2);
  for (const auto& [name, row] : table) {
    out << name;
    for (const double value : row)
      out << " | " << value;
    out << "\n";
  }
  ASSERT_TRUE(out.flush().good()) << path;
}

Table read(const std::string& path) {
  Table table;
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);  // the names of the columns
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string word;
    std::getline(words, word, '|');
    Row& row = table[word.substr(0, word.find_last_not_of(' ') + 1)];
    while (std::getline(words, word, '|'))
      row.push_back(std::strtod(word.c_str(), nullptr));
  }
  return table;
}

void compare(const char* name, const std::vector<Column>& columns, const Table& measured) {
  const std::string path = std::string(SNP_SIM_GOLDEN_FOLDER) + "/" + name + ".txt";
  if (is_writing()) write(path, columns, measured);
  const Table golden = read(path);
  EXPECT_EQ(golden.size(), measured.size()) << path << ": other rows than here";
  for (const auto& [row_name, row] : measured) {
    const auto found = golden.find(row_name);
    if (found == golden.end() || found->second.size() != columns.size()) {
      ADD_FAILURE() << path << " has no such row: " << row_name;
      continue;
    }
    for (std::size_t i = 0; i < columns.size(); ++i)
      EXPECT_TRUE(columns[i].is_within(row[i], found->second[i]))
          << row_name << ": " << columns[i].name << " is " << row[i] << ", recorded is "
          << found->second[i];
  }
}

// A sender that always has something to send, on a path of 50 Mbit/s with a queue of 250 kB.
Config endless(const char* congestion_control, Duration delay, std::uint64_t seed) {
  Config config;
  config.seed = seed;
  config.congestion_control = congestion_control;
  config.hosts[0].bytes = kEndless;
  config.hosts[1].bytes = 0;
  config.timer_tick = Duration(1 << 20);  // of a shard's timing wheel
  for (HostConfig& host : config.hosts) {
    host.ring = 1u << 22;
    host.max_segment_payload = 16 * 1448;
    host.merges = true;
  }
  for (LinkConfig& link : config.links) {
    link.delay = delay;
    link.rate_bps = 50e6;
    link.queue_bytes = 250'000;
  }
  return config;
}

double mbps(std::uint64_t bytes, Duration time) {
  return static_cast<double>(bytes) * 8 / std::chrono::duration<double>(time).count() / 1e6;
}

// Goodput and retransmitted share of one connection, the mean of some seeds.
Row fill(Config config, Duration time, int seeds = kSeeds) {
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  const std::uint64_t first = config.seed;
  for (; config.seed < first + static_cast<std::uint64_t>(seeds); ++config.seed) {
    Simulation simulation(config);
    EXPECT_TRUE(simulation.run_for(time)) << simulation.failure() << "\n" << describe(config);
    received += simulation.received(0);
    sent += simulation.payload_sent(0);
  }
  const auto total = static_cast<double>(sent);
  const double useless = sent > received ? total - static_cast<double>(received) : 0;
  return {mbps(received, time) / seeds, 100 * useless / total};
}

struct Trouble {
  const char* name;
  void (*apply)(LinkConfig&);
};

const Trouble kTroubles[] = {
    {"clean", [](LinkConfig&) {}},
    {"loss 0.1 %", [](LinkConfig& link) { link.loss = 0.001; }},
    {"loss 1 %", [](LinkConfig& link) { link.loss = 0.01; }},
    {"loss 3 %", [](LinkConfig& link) { link.loss = 0.03; }},
    {"bursts 1 %",
     [](LinkConfig& link) {
       link.burst_begin = 0.002525;
       link.burst_end = 0.25;
     }},
    {"reordering 20 ms",
     [](LinkConfig& link) {
       link.reorder = 0.02;
       link.reorder_delay = milliseconds(20);
     }},
    {"duplicates 1 %", [](LinkConfig& link) { link.duplicate = 0.01; }},
    {"clean, a BDP of queue",
     [](LinkConfig& link) {
       const double rtt_s = 2 * std::chrono::duration<double>(link.delay).count();
       link.queue_bytes = static_cast<std::uint32_t>(link.rate_bps / 8 * rtt_s);
     }},
};

Table goodput(double handovers_per_s) {
  Table table;
  for (const char* algorithm : {"cubic", "newreno", "bbr"}) {
    for (const int delay_ms : {1, 50}) {
      for (const Trouble& trouble : kTroubles) {
        Config config = endless(algorithm, milliseconds(delay_ms), 1);
        trouble.apply(config.links[0]);
        config.handovers_per_s = handovers_per_s;
        config.handover_time = microseconds(300);
        std::ostringstream name;
        name << algorithm << ", " << std::setw(2) << delay_ms << " ms, " << trouble.name;
        table[name.str()] = fill(config, seconds(delay_ms == 1 ? 3 : 40));
      }
    }
  }
  return table;
}

TEST(Tables, GoodputByLossAndDelay) {
  compare("goodput", {kGoodput, kResent}, goodput(0));
}

// Each end moves once in five seconds: exported, stored in a flow record, imported. What was SACKed
// only is sent again (reference 4.9), and where the order is not kept a sender that goes by losses
// takes that for one; otherwise the paths are filled as without.
TEST(Tables, GoodputWithHandOvers) {
  if (is_writing()) GTEST_SKIP() << "compared with the table without hand-overs";
  const Column kept{"Mbit/s", [](double measured, double golden) {
                      return measured >= 0.7 * golden && measured <= 1.25 * golden;
                    }};
  const Column resent{"resent %",
                      [](double measured, double golden) { return measured <= 1.5 * golden + 4; }};
  compare("goodput", {kept, resent}, goodput(0.2));
}

// A burst that takes a whole flight, and the first repetitions with it, costs seconds. It is rare:
// more runs, and longer ones.
TEST(Tables, BurstsInManyRuns) {
  Table table;
  for (const char* algorithm : {"cubic", "bbr"}) {
    for (const int delay_ms : {1, 50}) {
      Config config = endless(algorithm, milliseconds(delay_ms), 1);
      config.links[0].burst_begin = 0.002525;
      config.links[0].burst_end = 0.25;
      std::ostringstream name;
      name << algorithm << ", " << std::setw(2) << delay_ms << " ms";
      table[name.str()] = fill(config, seconds(delay_ms == 1 ? 8 : 20), 20);
    }
  }
  compare("bursts", {kGoodput, kResent}, table);
}

// A path that changes every few seconds: the sender must let go and take up again.
TEST(Tables, ChangingPaths) {
  Table table;
  for (const char* algorithm : {"cubic", "newreno", "bbr"}) {
    Config rate = endless(algorithm, milliseconds(10), 1);
    Config delay = endless(algorithm, milliseconds(10), 1);
    for (int i = 1; i <= 4; ++i) {
      LinkConfig link = rate.links[0];
      link.rate_bps = i % 2 == 1 ? 10e6 : 50e6;
      rate.changes.push_back({seconds(5 * i), 0, link});
      link = delay.links[0];
      link.delay = milliseconds(i % 2 == 1 ? 40 : 10);
      delay.changes.push_back({seconds(5 * i), 0, link});
    }
    // An outage shorter than anybody's patience.
    Config outage = endless(algorithm, milliseconds(10), 1);
    LinkConfig dead = outage.links[0];
    dead.loss = 1;
    outage.changes = {{seconds(5), 0, dead}, {seconds(7), 0, outage.links[0]}};
    table[std::string(algorithm) + ", rate 50, 10, 50, 10, 50 Mbit/s"] = fill(rate, seconds(25));
    table[std::string(algorithm) + ", delay 10, 40, 10, 40, 10 ms"] = fill(delay, seconds(25));
    table[std::string(algorithm) + ", dead for 2 s of 15"] = fill(outage, seconds(15));
  }
  compare("changes", {kGoodput, kResent}, table);
}

// What each connection got in the second half of the time, when they have had time to agree.
std::vector<double> shares_of(Config config, Duration time) {
  std::vector<double> bytes(config.flows.size());
  const std::uint64_t first = config.seed;
  for (; config.seed < first + kSeeds; ++config.seed) {
    Simulation simulation(config);
    EXPECT_TRUE(simulation.run_for(time / 2)) << simulation.failure() << describe(config);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] -= static_cast<double>(simulation.received(i));
    EXPECT_TRUE(simulation.run_for(time)) << simulation.failure() << describe(config);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] += static_cast<double>(simulation.received(i));
  }
  return bytes;
}

// R. Jain et al., DEC-TR-301: 1 when all have the same, 1/n when one has all.
double jain(const std::vector<double>& bytes) {
  const double sum = std::accumulate(bytes.begin(), bytes.end(), 0.0);
  const double squares = std::inner_product(bytes.begin(), bytes.end(), bytes.begin(), 0.0);
  return sum * sum / (static_cast<double>(bytes.size()) * squares);
}

TEST(Tables, FairnessAmongAlike) {
  Table table;
  for (const std::string_view algorithm : {"cubic", "newreno", "bbr"}) {
    for (const std::size_t count : {2u, 8u}) {
      for (const int delay_ms : {1, 25}) {
        Config config = endless(algorithm.data(), milliseconds(delay_ms), 1);
        config.flows.assign(count, algorithm.data());
        config.flow_start_gap = milliseconds(100);
        // BBR agrees by its probes of the round trip, every five seconds.
        const Duration time = algorithm == "bbr" ? seconds(40) : seconds(delay_ms == 1 ? 4 : 20);
        const auto bytes = shares_of(config, time);
        const double sum = std::accumulate(bytes.begin(), bytes.end(), 0.0);
        std::ostringstream name;
        name << count << " " << algorithm << ", " << std::setw(2) << delay_ms << " ms";
        table[name.str()] = {mbps(static_cast<std::uint64_t>(sum), kSeeds * time / 2), jain(bytes)};
      }
    }
  }
  compare("fairness", {kGoodput, kJain}, table);
}

TEST(Tables, SharesBetweenAlgorithms) {
  Table table;
  for (const char* other : {"newreno", "bbr"}) {
    for (const int delay_ms : {1, 25}) {
      Config config = endless("cubic", milliseconds(delay_ms), 1);
      config.flows = {"cubic", other};
      config.flow_start_gap = milliseconds(100);
      const auto bytes = shares_of(config, seconds(delay_ms == 1 ? 10 : 40));
      std::ostringstream name;
      name << "cubic beside " << other << ", " << std::setw(2) << delay_ms << " ms";
      table[name.str()] = {100 * bytes[0] / (bytes[0] + bytes[1])};
    }
  }
  compare("shares", {kShare}, table);
}

}  // namespace
}  // namespace snp::sim
