#include "snp/cli/netsh_session.h"

#include <algorithm>

#include "snp/commands/files.h"
#include "snp/commands/netsh.h"

namespace snp::cli {
namespace {

constexpr int kMostDepth = 8;

bool is_help(const std::string& word) {
  return word == "?" || word == "/?" || word == "-?" || word == "help";
}

}  // namespace

std::string NetshSession::prompt() const {
  return "netsh" + (context_.empty() ? "" : " " + context_) + ">";
}

std::vector<std::string> NetshSession::in_context(const std::vector<std::string>& words) const {
  std::vector<std::string> full = commands::split_netsh(context_);
  full.insert(full.end(), words.begin(), words.end());
  return full;
}

std::vector<std::string> NetshSession::complete(const std::vector<std::string>& words) const {
  auto next = commands::complete_netsh(in_context(words));
  if (words.empty())
    for (const char* word : {"..", "?", "bye", "exec", "exit", "help", "popd", "pushd", "quit"})
      next.emplace_back(word);
  return next;
}

Result<std::string> NetshSession::run(std::vector<std::string> words) {
  if (words.empty()) return std::string();
  bool is_built_in = true;
  auto done = run_built_in(words, is_built_in);
  if (is_built_in) return done;
  // The commands of the contexts above are at hand, too.
  auto full = in_context(words);
  auto line = commands::parse_netsh(full);
  if (!line && !context_.empty())
    if (auto from_root = commands::parse_netsh(words)) {
      full = std::move(words);
      line = std::move(from_root);
    }
  if (!line) return tl::unexpected(line.error());
  if (line->command != nullptr) return ask_(full);
  context_ = line->context;
  return std::string();
}

Result<std::string> NetshSession::run_built_in(const std::vector<std::string>& words,
                                               bool& is_known) {
  const std::string& first = words.front();
  if (is_help(words.back())) return help({words.begin(), words.end() - 1});
  if (first == "exit" || first == "quit" || first == "bye") {
    is_over_ = true;
    return std::string();
  }
  if (first == "..") {
    const std::size_t blank = context_.rfind(' ');
    context_.resize(blank == std::string::npos ? 0 : blank);
    return std::string();
  }
  if (first == "pushd") {
    stack_.push_back(context_);
    return enter({words.begin() + 1, words.end()});
  }
  if (first == "popd") {
    if (!stack_.empty()) {
      context_ = stack_.back();
      stack_.pop_back();
    }
    return std::string();
  }
  if (first == "exec") {
    if (words.size() != 2) return fail(Errc::kInvalid, "exec: give one file");
    return run_file(words[1]);
  }
  is_known = false;
  return std::string();
}

Result<std::string> NetshSession::help(const std::vector<std::string>& words) const {
  const auto line = commands::parse_netsh(in_context(words));
  if (line && line->command != nullptr)
    return "\nUsage: " + commands::netsh_usage(*line->command) + "\n\n" +
           std::string(line->command->help) + "\n";
  if (line) return commands::netsh_help(line->context);
  // Arguments may be missing: that is what is asked for.
  const std::string& why = line.error().message;
  const std::size_t usage = why.find("Usage: ");
  if (usage != std::string::npos) return "\n" + why.substr(usage) + "\n";
  return commands::netsh_help(context_);
}

Result<std::string> NetshSession::enter(const std::vector<std::string>& words) {
  auto line = commands::parse_netsh(in_context(words));
  if (!line && !context_.empty()) line = commands::parse_netsh(words);
  if (!line) return tl::unexpected(line.error());
  if (line->command != nullptr) return fail(Errc::kInvalid, "pushd: give a context");
  context_ = line->context;
  return std::string();
}

Result<std::string> NetshSession::run_file(const std::string& path) {
  if (depth_ >= kMostDepth) return fail(Errc::kInvalid, path + ": too many files in each other");
  const auto text = commands::read_file(path);
  if (!text) return tl::unexpected(text.error());
  ++depth_;
  std::string shown;
  std::string_view rest = *text;
  for (std::size_t number = 1; !rest.empty() && !is_over_; ++number) {
    const std::size_t end = rest.find('\n');
    const auto done = run(commands::split_netsh(rest.substr(0, end)));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!done) {
      --depth_;
      return with_context(path + ":" + std::to_string(number), done.error());
    }
    shown += *done;
  }
  --depth_;
  return shown;
}

}  // namespace snp::cli
