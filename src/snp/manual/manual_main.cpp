// snp_manual FOLDER: writes the manual pages and the completion there. Runs at build time.
#include <cstdio>
#include <fstream>
#include <string>

#include "snp/manual/pages.h"

namespace {

bool write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (file.fail()) std::fprintf(stderr, "snp_manual: cannot write %s\n", path.c_str());
  return !file.fail();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "snp_manual: give a folder\n");
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/";
  const bool is_done = write(folder + "snp.1", snp::manual::page_snp()) &&
                       write(folder + "snpd.8", snp::manual::page_snpd()) &&
                       write(folder + "snp.toml.5", snp::manual::page_snp_toml()) &&
                       write(folder + "snp.rules.5", snp::manual::page_snp_rules()) &&
                       write(folder + "snp.bash", snp::manual::bash_completion());
  return is_done ? 0 : 1;
}
