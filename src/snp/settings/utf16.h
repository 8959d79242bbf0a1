// UTF-16LE, as the registry has its texts, and UTF-8, as we have ours. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace snp::settings {

std::string to_utf16le(std::string_view utf8);  // what is no UTF-8 becomes U+FFFD
// Nothing: an odd number of bytes, or a surrogate without its other half.
std::optional<std::string> from_utf16le(std::string_view bytes);

}  // namespace snp::settings
