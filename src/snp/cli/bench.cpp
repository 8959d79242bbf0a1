#include "snp/cli/bench.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

#include "snp/cli/app.h"

namespace snp::cli {

int run_bench(char** arguments) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto folder = self.parent_path();  // PREFIX/bin, or build/PRESET/bin of the source tree
  for (const char* place : {"../share/snp/bench/snp-bench", "../../../tools/bench/snp-bench"}) {
    std::string program = (folder / place).lexically_normal().string();
    if (::access(program.c_str(), X_OK) != 0) continue;
    std::string build = (folder / "..").lexically_normal().string();
    std::string option = "--build";
    std::vector<char*> words{program.data(), option.data(), build.data()};
    for (; *arguments != nullptr; ++arguments)
      words.push_back(*arguments);
    words.push_back(nullptr);
    ::execv(program.c_str(), words.data());
    std::fprintf(stderr, "snp: cannot run %s: %s\n", program.c_str(), ::strerrordesc_np(errno));
    return kFailed;
  }
  std::fprintf(stderr,
               "snp: snp-bench is neither in share/snp/bench beside snp nor in the source tree; "
               "install it\n");
  return kFailed;
}

}  // namespace snp::cli
