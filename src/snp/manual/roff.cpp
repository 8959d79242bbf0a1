#include "snp/manual/roff.h"

namespace snp::manual {
namespace {

// A minus is a minus, a backslash is one, and a line never begins with a request.
std::string escape(std::string_view text) {
  std::string out;
  bool is_at_begin = true;
  for (const char c : text) {
    if (is_at_begin && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
    is_at_begin = c == '\n';
  }
  return out;
}

// An argument of a request stands in quotes.
std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text)
    out += c == '"' ? std::string("\\(dq") : escape(std::string_view(&c, 1));
  return out + "\"";
}

}  // namespace

Roff::Roff(std::string_view name, int section, std::string_view what) {
  text_ = ".\\\" Made from the tables of snp; do not edit.\n";
  text_ += ".TH " + quote(name) + " " + std::to_string(section) + " \"\" \"snp\" \"snp\"\n";
  heading("NAME");
  line(std::string(name) + " - " + std::string(what));
}

void Roff::line(std::string_view text) {
  text_ += escape(text) + "\n";
}

void Roff::heading(std::string_view text) {
  text_ += ".SH " + quote(text) + "\n";
}

void Roff::subheading(std::string_view text) {
  text_ += ".SS " + quote(text) + "\n";
}

void Roff::paragraph(std::string_view text) {
  text_ += ".PP\n";
  line(text);
}

void Roff::item(std::string_view tag, std::string_view text) {
  text_ += ".TP\n.B " + quote(tag) + "\n";
  line(text);
}

void Roff::more(std::string_view text) {
  text_ += ".br\n";
  line(text);
}

void Roff::example(std::string_view text) {
  text_ += ".PP\n.RS 4\n.nf\n";
  line(text);
  text_ += ".fi\n.RE\n";
}

}  // namespace snp::manual
