#include "snp/cli/netsh_session.h"

#include <fstream>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snp::cli {
namespace {

class Session : public testing::Test {
 protected:
  std::string run(const std::string& line) {
    std::vector<std::string> words;
    for (std::size_t begin = 0; begin < line.size();) {
      const std::size_t end = std::min(line.find(' ', begin), line.size());
      words.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    const auto done = session_.run(words);
    return done ? *done : "error: " + done.error().message;
  }

  std::vector<std::string> asked_;
  NetshSession session_{[this](const std::vector<std::string>& words) -> Result<std::string> {
    std::string line;
    for (const std::string& word : words)
      line += (line.empty() ? "" : " ") + word;
    asked_.push_back(line);
    return "Ok.\n";
  }};
};

TEST_F(Session, ContextsAsInNetsh) {
  EXPECT_EQ(session_.prompt(), "netsh>");
  EXPECT_EQ(run("int"), "");
  EXPECT_EQ(run("tcp"), "");
  EXPECT_EQ(session_.prompt(), "netsh interface tcp>");
  EXPECT_EQ(run("show gl"), "Ok.\n");
  EXPECT_EQ(run("interface ip set chimney disabled"), "Ok.\n");  // from the root
  EXPECT_EQ(asked_, (std::vector<std::string>{"interface tcp show gl",
                                              "interface ip set chimney disabled"}));
  run("..");
  EXPECT_EQ(session_.context(), "interface");
  run("pushd ip");
  EXPECT_EQ(session_.context(), "interface ip");
  run("popd");
  EXPECT_EQ(session_.context(), "interface");
  EXPECT_EQ(run("fly"), "error: The following command was not found: fly.");
  EXPECT_FALSE(session_.is_over());
  run("bye");
  EXPECT_TRUE(session_.is_over());
}

TEST_F(Session, HelpNeedsNoSnpd) {
  EXPECT_THAT(run("?"), testing::HasSubstr(" interface\n"));
  EXPECT_THAT(run("interface tcp help"), testing::HasSubstr("show chimneystats"));
  EXPECT_THAT(run("int ip set chimney ?"),
              testing::HasSubstr("Usage: set chimney [state=]enabled|disabled\n"));
  EXPECT_THAT(run("int tcp set global /?"), testing::HasSubstr("[[chimney=]disabled|enabled"));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(Session, FilesAreRunUpToTheFirstMistake) {
  std::string path = "/tmp/snp-netsh-XXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(path) << "# comment\npushd interface tcp\nreset\n\nset global rss=enabled\npopd\n"
                         "nonsense\nreset\n";
  EXPECT_EQ(run("exec " + path),
            "error: " + path + ":7: The following command was not found: nonsense.");
  EXPECT_EQ(asked_, (std::vector<std::string>{"interface tcp reset",
                                              "interface tcp set global rss=enabled"}));
  std::ofstream(path) << "exec " << path << "\n";  // for ever
  EXPECT_THAT(run("exec " + path), testing::HasSubstr("too many files in each other"));
  ::unlink(path.c_str());
}

TEST_F(Session, Completes) {
  EXPECT_THAT(session_.complete({}), testing::Contains("interface"));
  EXPECT_THAT(session_.complete({"int", "tcp", "show"}), testing::Contains("chimneystats"));
  EXPECT_THAT(session_.complete({"int", "tcp", "set", "global"}),
              testing::Contains("chimney=automatic"));
  run("int tcp");
  EXPECT_THAT(session_.complete({"add"}),
              testing::ElementsAre("chimneyapplication", "chimneyport"));
}

}  // namespace
}  // namespace snp::cli
