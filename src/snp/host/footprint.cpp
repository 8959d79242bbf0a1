#include "snp/host/footprint.h"

namespace snp::host {
namespace {

Footprint*& place() noexcept {
  static Footprint own;
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): as the header says
  static Footprint* current = &own;
  return current;
}

}  // namespace

Footprint& footprint() noexcept {
  return *place();
}

void count_footprint_in(Footprint& to) noexcept {
  place() = &to;
}

}  // namespace snp::host
