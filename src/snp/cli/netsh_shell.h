// `snp netsh [-c CONTEXT] [-f FILE | WORD...]`: one command, a file of commands, or a shell.
#pragma once

namespace snp::cli {

int run_netsh(int count, char** words);  // its exit status

}  // namespace snp::cli
