// The options of snpd and the commands that snp does alone, as tables: for the command line and for
// the manual.
#pragma once

#include <span>
#include <string_view>

namespace snp::commands {

struct OptionText {
  std::string_view name;   // "--config"
  std::string_view value;  // "FILE"; empty: a flag
  std::string_view help;
};
std::span<const OptionText> snpd_options() noexcept;
const OptionText& snpd_option(std::string_view name) noexcept;  // pre: there is one

struct LocalCommand {
  std::string_view name;
  std::string_view arguments;  // as in a synopsis
  std::string_view help;
};
std::span<const LocalCommand> local_commands() noexcept;

}  // namespace snp::commands
