// `snp bench`: becomes the benchmark program, which is Python (tools/bench).
#pragma once

namespace snp::cli {

// `arguments` are those after "bench"; the list ends with nullptr. Returns only when it could not
// start: an exit status.
int run_bench(char** arguments);

}  // namespace snp::cli
