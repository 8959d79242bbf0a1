#include "snp/cli/netsh_shell.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <histedit.h>
#include <unistd.h>

#include "snp/cli/app.h"
#include "snp/cli/client.h"
#include "snp/cli/netsh_session.h"
#include "snp/commands/command.h"
#include "snp/commands/netsh.h"

namespace snp::cli {
namespace {

constexpr int kHistory = 500;

Result<std::string> ask_snpd(const std::vector<std::string>& words) {
  const auto result = ask(commands::kNetsh, commands::Json{{"WORD", words}});
  if (!result) return tl::unexpected(result.error());
  return commands::kNetsh.render(*result);
}

int show(const Result<std::string>& done) {
  if (!done) {
    std::fprintf(stderr, "snp: %s\n", done.error().message.c_str());
    return kFailed;
  }
  const bool is_written = std::fputs(done->c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return is_written ? kDone : kFailed;
}

// The line editor, with completion and a history that stays.
class Editor {
 public:
  explicit Editor(NetshSession& session)
      : session_(session),
        history_(::history_init(), ::history_end),
        editor_(::el_init("snp", stdin, stdout, stderr), ::el_end) {
    HistEvent event{};
    ::history(history_.get(), &event, H_SETSIZE, kHistory);
    ::history(history_.get(), &event, H_SETUNIQUE, 1);
    if (const char* home = std::getenv("HOME"); home != nullptr)  // NOLINT(concurrency-mt-unsafe)
      history_path_ = std::string(home) + "/.snp_netsh_history";
    if (!history_path_.empty()) ::history(history_.get(), &event, H_LOAD, history_path_.c_str());
    ::el_set(editor_.get(), EL_CLIENTDATA, this);
    ::el_set(editor_.get(), EL_EDITOR, "emacs");
    ::el_set(editor_.get(), EL_SIGNAL, 1);
    ::el_set(editor_.get(), EL_HIST, ::history, history_.get());
    ::el_set(editor_.get(), EL_PROMPT, &Editor::prompt);
    ::el_set(editor_.get(), EL_ADDFN, "snp-complete", "complete a word", &Editor::complete);
    ::el_set(editor_.get(), EL_BIND, "^I", "snp-complete", nullptr);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;
  ~Editor() {
    HistEvent event{};
    if (!history_path_.empty()) ::history(history_.get(), &event, H_SAVE, history_path_.c_str());
  }

  // False: the end of input.
  bool read(std::string& line) {
    prompt_ = session_.prompt();
    int length = 0;
    const char* text = ::el_gets(editor_.get(), &length);
    if (text == nullptr || length <= 0) return false;
    line.assign(text, static_cast<std::size_t>(length));
    line.resize(line.find_last_not_of(" \t\n") + 1);
    HistEvent event{};
    if (!line.empty()) ::history(history_.get(), &event, H_ENTER, line.c_str());
    return true;
  }

 private:
  static Editor& self(EditLine* editor) {
    void* data = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<Editor*>(data);
  }

  static char* prompt(EditLine* editor) { return self(editor).prompt_.data(); }

  // One candidate is put in, several are listed.
  static unsigned char complete(EditLine* editor, int /*key*/) {
    const LineInfo* line = ::el_line(editor);
    const std::string text(line->buffer, line->cursor);
    std::vector<std::string> words = commands::split_netsh(text);
    std::string part;
    if (!text.empty() && text.back() != ' ' && !words.empty()) {
      part = words.back();
      words.pop_back();
    }
    std::vector<std::string> fitting;
    for (std::string& word : self(editor).session_.complete(words))
      if (word.compare(0, part.size(), part) == 0) fitting.push_back(std::move(word));
    if (fitting.empty()) return CC_REFRESH_BEEP;
    std::string common = fitting.front();
    for (const std::string& word : fitting)
      while (word.compare(0, common.size(), common) != 0)
        common.pop_back();
    std::string more = common.substr(part.size());
    if (fitting.size() == 1 && common.back() != '=') more += ' ';
    if (!more.empty()) return ::el_insertstr(editor, more.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    std::fputc('\n', stdout);
    for (const std::string& word : fitting)
      std::fprintf(stdout, "%s  ", word.c_str());
    std::fputc('\n', stdout);
    return CC_REDISPLAY;
  }

  NetshSession& session_;
  std::string prompt_, history_path_;
  std::unique_ptr<History, void (*)(History*)> history_;
  std::unique_ptr<EditLine, void (*)(EditLine*)> editor_;
};

int run_shell(NetshSession& session) {
  int status = kDone;
  std::string line;
  if (::isatty(STDIN_FILENO) == 0) {
    while (!session.is_over() && std::getline(std::cin, line))
      if (const int failed = show(session.run(commands::split_netsh(line))); failed != kDone)
        status = failed;
    return status;
  }
  Editor editor(session);
  while (!session.is_over() && editor.read(line))
    (void)show(session.run(commands::split_netsh(line)));
  return kDone;
}

// A word that the shell has passed on whole: blanks in it are not separators.
std::vector<std::string> take_words(int count, char** words) {
  std::vector<std::string> taken(words, words + count);
  std::erase(taken, "");
  return taken;
}

}  // namespace

int run_netsh(int count, char** arguments) {
  std::vector<std::string> words = take_words(count, arguments);
  NetshSession session(ask_snpd);
  while (words.size() >= 2 && (words[0] == "-c" || words[0] == "-f")) {
    if (words[0] == "-f") return show(session.run_file(words[1]));
    const auto entered = session.run(commands::split_netsh("pushd " + words[1]));
    if (!entered) return show(entered);
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.empty()) return run_shell(session);
  const std::string before = session.context();
  const auto done = session.run(words);
  // Only a context was named: go on in it.
  if (done && session.context() != before) return run_shell(session);
  return show(done);
}

}  // namespace snp::cli
