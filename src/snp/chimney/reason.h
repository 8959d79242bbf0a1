// The reason of a decision: stable code, name, sentence, hint; one table (reasons.def).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace snp::chimney {

enum class Reason : std::uint16_t {
#define SNP_REASON(symbol, code, name, sentence, hint) symbol = (code),
#include "snp/chimney/reasons.def"
#undef SNP_REASON
};

struct ReasonText {
  Reason reason;
  std::string_view name;      // for scripts
  std::string_view sentence;  // for people
  std::string_view hint;      // what to do; may be empty
};

const ReasonText& text_of(Reason reason) noexcept;  // an unknown code gives kNotAskedYet's text
std::span<const ReasonText> all_reasons() noexcept;

}  // namespace snp::chimney
