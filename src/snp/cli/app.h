// The command line `snp`: words to a command, its answer to text or JSON. No behaviour of its own.
#pragma once

namespace snp::cli {

// Exit statuses: the command did what it says; it failed; the words made no sense.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

int run_app(int argc, char** argv);

}  // namespace snp::cli
