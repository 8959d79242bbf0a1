#include "snp/rss/backends/backend.h"

namespace snp::rss {

std::string_view to_string(BackendKind kind) noexcept {
  switch (kind) {
    case BackendKind::kNone:
      return "none";
    case BackendKind::kCard:
      return "card";
    case BackendKind::kCpumap:
      return "cpumap";
    case BackendKind::kRps:
      return "rps";
  }
  return "?";
}

}  // namespace snp::rss
