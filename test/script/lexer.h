// The words of a packet script, each with its place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snp/base/result.h"

#include "test/script/script.h"

namespace snp::script {

struct Token {
  enum class Kind : std::uint8_t {
    kEnd,
    kNumber,      // 12, 0.25, .1
    kWord,        // ack, SOL_TCP, P
    kString,      // "cubic", without the quotes
    kSign,        // one of < > ( ) [ ] { } , : = + - * ~ . | or ...
    kCode,        // what stands between %{ and }%
    kOption,      // --name=value, without the dashes
    kNoHandover,  // the reason after `no-handover:`
    kHandoverAgain,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  Place place;
  std::size_t begin = 0, end = 0;  // in the source
  [[nodiscard]] bool is(std::string_view sign) const { return kind == Kind::kSign && text == sign; }
  [[nodiscard]] bool is_word(std::string_view word) const {
    return kind == Kind::kWord && text == word;
  }
};

struct Fault {
  Place place;
  std::string message;
};

// The last token is kEnd.
tl::expected<std::vector<Token>, Fault> split_into_tokens(std::string_view source);

}  // namespace snp::script
