// `snp run`: starts a program with the switch preloaded, and a snpd of its own when none serves the
// network namespace.
#pragma once

namespace snp::cli {

// Pre: program[0] is its name, the list ends with nullptr. Returns only when it could not start:
// an exit status.
int run_program(char** program);

}  // namespace snp::cli
