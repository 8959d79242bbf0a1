#include "snp/settings/reg_file.h"

#include <charconv>
#include <cstdio>
#include <optional>

#include "snp/settings/utf16.h"

namespace snp::settings {
namespace {

constexpr std::string_view kHeader = "Windows Registry Editor Version 5.00";
constexpr std::string_view kOldHeader = "REGEDIT4";
constexpr std::string_view kByteOrderMark = "\xff\xfe";
constexpr std::size_t kMostBytes = 1 << 26;
constexpr std::size_t kHexColumns =
    77;  // regedit breaks a line of bytes when it has become so long

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

template <class T>
std::optional<T> parse_hex(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "38,00,30": two digits each.
std::optional<std::string> parse_bytes(std::string_view text) {
  std::string bytes;
  text = trim(text);
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const auto byte = parse_hex<std::uint8_t>(trim(text.substr(0, comma)));
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return bytes;
}

// Takes "text" with its \" and \\ off the front.
std::optional<std::string> take_quoted(std::string_view& text) {
  if (text.empty() || text.front() != '"') return std::nullopt;
  std::string out;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return out;
    }
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    out += text[i];
  }
  return std::nullopt;
}

void append_little_endian(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8)
    out += static_cast<char>(value >> shift & 0xff);
}

class Parser {
 public:
  Parser(std::string_view text, bool has_wide_data) : rest_(text), has_wide_data_(has_wide_data) {}

  Result<std::vector<RegEntry>> parse() {
    while (next_line())
      if (const char* wrong = take_line(); wrong != nullptr)
        return fail(Errc::kInvalid, "line " + std::to_string(line_number_) + ": " + wrong);
    return std::move(entries_);
  }

 private:
  // Lines of bytes that end with a backslash go on in the next one.
  bool next_line() {
    line_.clear();
    if (rest_.empty()) return false;
    line_number_ = ++lines_taken_;
    line_ = take_raw_line();
    while (is_continued() && !rest_.empty()) {
      line_.pop_back();
      ++lines_taken_;
      line_ += trim(take_raw_line());
    }
    return true;
  }

  std::string_view take_raw_line() {
    const std::size_t end = rest_.find('\n');
    const std::string_view line = trim(rest_.substr(0, end));
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
    return line;
  }

  [[nodiscard]] bool is_continued() const {
    return !line_.empty() && line_.back() == '\\' && line_.front() != '[' && line_.front() != ';';
  }

  // nullptr: done; else what is wrong.
  const char* take_line() {
    const std::string_view line = line_;
    if (line.empty() || line.front() == ';') return nullptr;
    return line.front() == '[' ? take_key(line) : take_value(line);
  }

  const char* take_key(std::string_view line) {
    if (line.back() != ']') return "a key must end with ]";
    line = line.substr(1, line.size() - 2);
    const bool is_deleted = !line.empty() && line.front() == '-';
    if (is_deleted) line.remove_prefix(1);
    if (line.empty()) return "the key has no name";
    key_ = is_deleted ? std::string() : std::string(line);
    has_key_ = !is_deleted;
    if (is_deleted)
      entries_.push_back({RegEntry::Kind::kDeleteKey, std::string(line), "", 0, "", line_number_});
    return nullptr;
  }

  const char* take_value(std::string_view line) {
    RegEntry entry{RegEntry::Kind::kSet, key_, "", 0, "", line_number_};
    if (line.front() == '@') {
      line.remove_prefix(1);
    } else {
      auto name = take_quoted(line);
      if (!name) return "neither a [key] nor a \"value\"";
      entry.name = std::move(*name);
    }
    line = trim(line);
    if (line.empty() || line.front() != '=') return "after the name of a value comes =";
    if (!has_key_) return "a value needs a [key] above it";
    const char* wrong = take_data(trim(line.substr(1)), entry);
    if (wrong == nullptr) entries_.push_back(std::move(entry));
    return wrong;
  }

  const char* take_data(std::string_view text, RegEntry& entry) const {
    if (text == "-") {
      entry.kind = RegEntry::Kind::kDeleteValue;
      return nullptr;
    }
    if (!text.empty() && text.front() == '"') return take_text(text, entry);
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return "the data of a value has an unknown form";
    const std::string_view form = text.substr(0, colon);
    text.remove_prefix(colon + 1);
    if (form == "dword") {
      const auto number = trim(text).size() <= 8 ? parse_hex<std::uint32_t>(trim(text))
                                                 : std::optional<std::uint32_t>();
      if (!number) return "dword: wants up to eight hexadecimal digits";
      entry.type = kRegDword;
      append_little_endian(entry.data, *number);
      return nullptr;
    }
    return take_hex(form, text, entry);
  }

  static const char* take_text(std::string_view text, RegEntry& entry) {
    const auto value = take_quoted(text);
    if (!value || !trim(text).empty()) return "a text must end with \"";
    entry.type = kRegSz;
    entry.data = to_utf16le(*value) + std::string(2, '\0');
    return nullptr;
  }

  // hex: is REG_BINARY, hex(N): is type N.
  const char* take_hex(std::string_view form, std::string_view text, RegEntry& entry) const {
    entry.type = kRegBinary;
    if (form != "hex") {
      if (form.size() < 6 || form.substr(0, 4) != "hex(" || form.back() != ')')
        return "the data of a value has an unknown form";
      const auto type = parse_hex<std::uint32_t>(form.substr(4, form.size() - 5));
      if (!type) return "hex(N): wants a hexadecimal type";
      entry.type = *type;
    }
    auto bytes = parse_bytes(text);
    if (!bytes) return "hex: wants bytes, two hexadecimal digits each, with commas between";
    entry.data = std::move(*bytes);
    // REGEDIT4 writes texts with one byte for a character.
    if (!has_wide_data_ && entry.type == kRegMultiSz) entry.data = to_utf16le(entry.data);
    return nullptr;
  }

  std::string_view rest_;
  bool has_wide_data_;
  std::string line_;
  std::size_t lines_taken_ = 1, line_number_ = 1;  // the header was the first
  std::string key_;
  bool has_key_ = false;
  std::vector<RegEntry> entries_;
};

std::vector<std::string> split_strings(std::string_view text) {
  std::vector<std::string> strings;
  while (!text.empty()) {
    const std::size_t end = text.find('\0');
    if (end != 0) strings.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return strings;
}

void append_hex(std::string& out, std::size_t column, std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    char digits[4] = {};
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(bytes[i]));
    out += digits;
    if (i + 1 == bytes.size()) break;
    out += ',';
    column += 3;
    if (column < kHexColumns) continue;
    out += "\\\r\n  ";
    column = 2;
  }
}

std::string value_line(const RegistryInfo& info, const Settings& values) {
  std::string line = "\"" + std::string(info.name) + "\"=";
  const RegistryData data = registry_data(info, values);
  if (const auto* number = std::get_if<std::uint32_t>(&data)) {
    char digits[16] = {};
    std::snprintf(digits, sizeof digits, "dword:%08x", *number);
    return line + digits + "\r\n";
  }
  std::string strings;
  for (const std::string& string : std::get<std::vector<std::string>>(data))
    strings += string + '\0';
  strings += '\0';
  line += "hex(7):";
  append_hex(line, line.size(), to_utf16le(strings));
  return line + "\r\n";
}

}  // namespace

Result<std::vector<RegEntry>> parse_reg_file(std::string_view bytes) {
  if (bytes.size() > kMostBytes) return fail(Errc::kInvalid, "the file is too long");
  std::string text(bytes);
  if (bytes.substr(0, 2) == kByteOrderMark) {
    auto decoded = from_utf16le(bytes.substr(2));
    if (!decoded) return fail(Errc::kInvalid, "the file is no UTF-16LE");
    text = std::move(*decoded);
  }
  const std::size_t end = text.find('\n');
  const std::string_view header = trim(std::string_view(text).substr(0, end));
  if (header != kHeader && header != kOldHeader)
    return fail(Errc::kInvalid, "line 1: no .reg file: it begins with '" + std::string(kHeader) +
                                    "' or '" + std::string(kOldHeader) + "'");
  const std::size_t rest = end == std::string::npos ? text.size() : end + 1;
  return Parser(std::string_view(text).substr(rest), header == kHeader).parse();
}

Result<RegistryData> registry_data_of(const RegEntry& entry) {
  if (entry.type == kRegDword && entry.data.size() == 4) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value |= std::uint32_t{static_cast<unsigned char>(entry.data[i])} << (8 * i);
    return value;
  }
  if (entry.type == kRegMultiSz)
    if (const auto text = from_utf16le(entry.data)) return split_strings(*text);
  return fail(Errc::kInvalid, "line " + std::to_string(entry.line) + ": " + entry.name +
                                  ": neither a REG_DWORD nor a REG_MULTI_SZ");
}

std::string write_reg_file(const Settings& values) {
  std::string text = std::string(kHeader) + "\r\n\r\n[" + std::string(kRegistryKey) + "]\r\n";
  for (const RegistryInfo& info : all_registry_values())
    text += value_line(info, values);
  return std::string(kByteOrderMark) + to_utf16le(text + "\r\n");
}

}  // namespace snp::settings
