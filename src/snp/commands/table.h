// Text tables for people: columns padded to their widest cell, two blanks between, numbers right.
#pragma once

#include <string>
#include <vector>

namespace snp::commands {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Pre: as many cells as columns. Control characters in a cell are shown as '?': program names
  // come from others.
  void add_row(std::vector<std::string> cells);
  [[nodiscard]] std::string to_text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// 1536 -> "1.5K"; 1024-based, three digits at most before the unit.
std::string human_bytes(std::uint64_t bytes);
// 950 -> "950us", 1500 -> "1.5ms", 2000000 -> "2.0s".
std::string human_us(std::uint64_t us);

}  // namespace snp::commands
