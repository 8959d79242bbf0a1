// The few requests of man(7) that the pages use; text is escaped here and nowhere else.
#pragma once

#include <string>
#include <string_view>

namespace snp::manual {

class Roff {
 public:
  Roff(std::string_view name, int section, std::string_view what);

  void heading(std::string_view text);                     // .SH
  void subheading(std::string_view text);                  // .SS
  void paragraph(std::string_view text);                   // .PP
  void item(std::string_view tag, std::string_view text);  // .TP
  void more(std::string_view text);                        // another paragraph of an item
  void example(std::string_view text);                     // lines as they are

  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  void line(std::string_view text);
  std::string text_;
};

}  // namespace snp::manual
