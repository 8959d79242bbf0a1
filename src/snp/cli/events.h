// `snp events`: what becomes of connections, as it happens (doc/events.md).
#pragma once

namespace snp::cli {

// `arguments` are those after "events". Returns an exit status when snpd ends, or after --count
// events.
int run_events(int count, char** arguments);

}  // namespace snp::cli
