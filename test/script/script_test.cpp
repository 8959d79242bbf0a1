// Every test/script/TOPIC/NAME.pkt is two tests: as it is written, and with hand-overs between any
// two events. What was exempt is counted in the output.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "test/script/parser.h"
#include "test/script/runner.h"

namespace snp::script {
namespace {

namespace fs = std::filesystem;

struct Tally {
  std::size_t scripts = 0, runs = 0, gaps = 0, exempt = 0, needless = 0;
  std::map<std::string, std::size_t> reasons;  // gaps of each
};

Tally& tally() {
  static Tally instance;
  return instance;
}

class AsWritten : public ::testing::Test {
 public:
  explicit AsWritten(fs::path path) : path_(std::move(path)) {}
  void TestBody() override {
    const auto script = load_script(path_.string());
    ASSERT_TRUE(script) << script.error().message;
    EXPECT_TRUE(says_what_it_protects()) << path_ << ": its first line names no clause";
    const std::string failure = run(*script);
    EXPECT_TRUE(failure.empty()) << failure;
  }

 private:
  [[nodiscard]] bool says_what_it_protects() const {
    std::ifstream file(path_);
    std::string line;
    std::getline(file, line);
    const auto cites = [&](const char* source) { return line.find(source) != std::string::npos; };
    return line.starts_with("// ") && (cites("(RFC ") || cites("; RFC ") || cites("reference ") ||
                                       cites("(Linux") || cites("(draft-"));
  }

  fs::path path_;
};

class WithHandOvers : public ::testing::Test {
 public:
  explicit WithHandOvers(fs::path path) : path_(std::move(path)) {}
  void TestBody() override {
    const auto script = load_script(path_.string());
    ASSERT_TRUE(script) << script.error().message;
    ASSERT_TRUE(run(*script).empty()) << "it fails as it is written, too";
    ++tally().scripts;
    for (std::size_t gap = 0; gap + 1 < script->events.size(); ++gap) {
      ++tally().gaps;
      if (const std::string& reason = script->events[gap].no_handover; !reason.empty()) {
        ++tally().exempt;
        ++tally().reasons[reason];
        if (passes_without_exemption(*script, gap)) ++tally().needless;
        continue;
      }
      place(*script, gap);
    }
    place(*script, std::nullopt);
  }

 private:
  static bool passes_without_exemption(Script script, std::size_t gap) {
    script.events[gap].no_handover.clear();
    for (const HandOver kind : {HandOver::kOrderly, HandOver::kRestart})
      for (const bool is_midway : {false, true})
        if (!run(script, Placement{kind, gap, is_midway}).empty()) return false;
    return true;
  }

  // The first failure tells enough: the others are as a rule the same.
  void place(const Script& script, std::optional<std::size_t> gap) {
    for (const HandOver kind : {HandOver::kOrderly, HandOver::kRestart})
      for (const bool is_midway : {false, true}) {
        if (HasFailure()) return;
        ++tally().runs;
        const std::string failure = run(script, Placement{kind, gap, is_midway});
        EXPECT_TRUE(failure.empty()) << failure;
      }
  }

  fs::path path_;
};

class Summary : public ::testing::Environment {
 public:
  void TearDown() override {
    const Tally& sum = tally();
    if (sum.scripts == 0) return;
    std::cout << "hand-overs: " << sum.scripts << " scripts, " << sum.runs << " runs; "
              << sum.exempt << " of " << sum.gaps << " gaps exempt, " << sum.needless
              << " of them without need\n";
    for (const auto& [reason, gaps] : sum.reasons)
      std::cout << "  " << gaps << " gaps: " << reason << "\n";
  }
};

std::vector<fs::path> find_scripts() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(SNP_SCRIPTS))
    if (entry.path().extension() == ".pkt") out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

void register_scripts() {
  for (const fs::path& path : find_scripts()) {
    const fs::path named = path.lexically_relative(SNP_SCRIPTS);
    const std::string name = named.parent_path().string() + "/" + named.stem().string();
    const auto add = [&](const std::string& suffix, auto make) {
      ::testing::RegisterTest("Script", (name + suffix).c_str(), nullptr, nullptr, __FILE__,
                              __LINE__, make);
    };
    add("", [path]() -> ::testing::Test* { return new AsWritten(path); });
    add("/handover", [path]() -> ::testing::Test* { return new WithHandOvers(path); });
  }
}

}  // namespace
}  // namespace snp::script

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  snp::script::register_scripts();
  ::testing::AddGlobalTestEnvironment(new snp::script::Summary);
  return RUN_ALL_TESTS();
}
