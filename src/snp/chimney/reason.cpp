#include "snp/chimney/reason.h"

#include <array>

namespace snp::chimney {
namespace {

constexpr ReasonText kTexts[] = {
#define SNP_REASON(symbol, code, name, sentence, hint) {Reason::symbol, name, sentence, hint},
#include "snp/chimney/reasons.def"
#undef SNP_REASON
};

}  // namespace

const ReasonText& text_of(Reason reason) noexcept {
  for (const ReasonText& text : kTexts)
    if (text.reason == reason) return text;
  return kTexts[static_cast<std::size_t>(Reason::kNotAskedYet)];
}

std::span<const ReasonText> all_reasons() noexcept {
  return kTexts;
}

}  // namespace snp::chimney
