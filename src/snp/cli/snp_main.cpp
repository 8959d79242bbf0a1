// snp: the command line. See app.h.
#include "snp/cli/app.h"

int main(int argc, char** argv) {
  return snp::cli::run_app(argc, argv);
}
