// `snp netsh`: one line at a time, in a context, as Windows' netsh keeps it. What is not about
// contexts is asked of snpd.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "snp/base/result.h"

namespace snp::cli {

class NetshSession {
 public:
  // Carries out a command: all its words, from the root.
  using Ask = std::function<Result<std::string>(const std::vector<std::string>&)>;
  explicit NetshSession(Ask ask) : ask_(std::move(ask)) {}

  // What is to be shown.
  Result<std::string> run(std::vector<std::string> words);
  // Line by line up to the first that fails: "FILE:LINE: why".
  Result<std::string> run_file(const std::string& path);

  [[nodiscard]] const std::string& context() const noexcept { return context_; }
  [[nodiscard]] bool is_over() const noexcept { return is_over_; }  // exit was said
  [[nodiscard]] std::string prompt() const;                         // "netsh interface tcp>"
  // What may follow the words of an unfinished line.
  [[nodiscard]] std::vector<std::string> complete(const std::vector<std::string>& words) const;

 private:
  Result<std::string> run_built_in(const std::vector<std::string>& words, bool& is_known);
  [[nodiscard]] Result<std::string> help(const std::vector<std::string>& words) const;
  Result<std::string> enter(const std::vector<std::string>& words);
  [[nodiscard]] std::vector<std::string> in_context(const std::vector<std::string>& words) const;

  Ask ask_;
  std::string context_;
  std::vector<std::string> stack_;  // of pushd
  int depth_ = 0;                   // of exec in exec
  bool is_over_ = false;
};

}  // namespace snp::cli
