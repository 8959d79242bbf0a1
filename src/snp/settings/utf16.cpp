#include "snp/settings/utf16.h"

#include <cstdint>

namespace snp::settings {
namespace {

constexpr char32_t kReplacement = 0xfffd;

bool is_high(char32_t unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}

bool is_low(char32_t unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

void append_utf8(std::string& out, char32_t point) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  const auto put_rest = [&](int shift) { put(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xc0 | point >> 6);
    return put_rest(0);
  }
  if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put_rest(6);
    return put_rest(0);
  }
  put(0xf0 | point >> 18);
  put_rest(12);
  put_rest(6);
  put_rest(0);
}

void append_unit(std::string& out, char32_t unit) {
  out += static_cast<char>(unit & 0xff);
  out += static_cast<char>(unit >> 8 & 0xff);
}

// Takes one character off the front.
char32_t take_utf8(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xc2 && first < 0xe0 ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  char32_t point = length == 1 ? first : first & (0x7fu >> length);
  bool is_whole = length > 0 && text.size() >= length;
  for (std::size_t i = 1; is_whole && i < length; ++i) {
    is_whole = (byte(i) & 0xc0) == 0x80;
    point = point << 6 | (byte(i) & 0x3fu);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (!is_whole || point < kLeast[length] || point > 0x10ffff || is_high(point) || is_low(point)) {
    text.remove_prefix(1);
    return kReplacement;
  }
  text.remove_prefix(length);
  return point;
}

}  // namespace

std::string to_utf16le(std::string_view utf8) {
  std::string out;
  while (!utf8.empty()) {
    const char32_t point = take_utf8(utf8);
    if (point < 0x10000) {
      append_unit(out, point);
    } else {
      append_unit(out, 0xd800 + ((point - 0x10000) >> 10));
      append_unit(out, 0xdc00 + ((point - 0x10000) & 0x3ff));
    }
  }
  return out;
}

std::optional<std::string> from_utf16le(std::string_view bytes) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  const auto unit = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(bytes[i]) |
                                 static_cast<unsigned char>(bytes[i + 1]) << 8);
  };
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    char32_t point = unit(i);
    if (is_low(point)) return std::nullopt;
    if (is_high(point)) {
      if (i + 3 >= bytes.size() || !is_low(unit(i + 2))) return std::nullopt;
      point = 0x10000 + ((point - 0xd800) << 10) + (unit(i + 2) - 0xdc00);
      i += 2;
    }
    append_utf8(out, point);
  }
  return out;
}

}  // namespace snp::settings
