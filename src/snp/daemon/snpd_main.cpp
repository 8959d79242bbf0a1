// snpd: serves one network namespace. See keeper.h and engine_process.h for its two processes.
#include <cstdio>

#include "snp/daemon/keeper.h"

int main(int argc, char** argv) {
  snp::daemon::Options options;
  if (const auto status = snp::daemon::parse_options(argc, argv, options)) return *status;
  const auto done = snp::daemon::run_keeper(options);
  if (done) return 0;
  std::fprintf(stderr, "snpd: %s\n", done.error().message.c_str());
  return 1;
}
