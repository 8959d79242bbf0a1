#include "snp/commands/table.h"

#include <algorithm>

#include <fmt/format.h>

#include "snp/base/assert.h"

namespace snp::commands {
namespace {

void append_line(std::string& text, const std::vector<Table::Column>& columns,
                 const std::vector<std::size_t>& widths, const std::vector<std::string>& cells) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += "  ";
    line += columns[i].align == Table::Align::kRight ? fmt::format("{:>{}}", cells[i], widths[i])
                                                     : fmt::format("{:<{}}", cells[i], widths[i]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + "\n";
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  SNP_ASSERT(cells.size() == columns_.size());
  for (std::string& cell : cells)
    std::replace_if(
        cell.begin(), cell.end(),
        [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }, '?');
  rows_.push_back(std::move(cells));
}

std::string Table::to_text() const {
  std::vector<std::size_t> widths;
  std::vector<std::string> titles;
  for (const Column& column : columns_) {
    widths.push_back(column.title.size());
    titles.push_back(column.title);
  }
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  append_line(text, columns_, widths, titles);
  for (const auto& row : rows_)
    append_line(text, columns_, widths, row);
  return text;
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes);
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  constexpr std::string_view kUnits = "KMGTPE";
  while (value >= 1023.95) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f}{}", value, kUnits[unit]);
}

std::string human_us(std::uint64_t us) {
  if (us < 1000) return fmt::format("{}us", us);
  if (us < 1000000) return fmt::format("{:.1f}ms", static_cast<double>(us) / 1e3);
  return fmt::format("{:.1f}s", static_cast<double>(us) / 1e6);
}

}  // namespace snp::commands
