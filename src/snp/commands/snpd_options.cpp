#include "snp/commands/snpd_options.h"

#include "snp/base/assert.h"

namespace snp::commands {
namespace {

constexpr OptionText kOptions[] = {
    {"--config", "FILE", "the settings, TOML; /etc/snp/snp.toml if left out"},
    {"--device", "DEV[,driver=NAME]",
     "serve this device (more than once, or all that are up if left out)"},
    {"--set", "NAME=VALUE", "change a setting; 'snp settings' lists them"},
    {"--log-level", "LEVEL", "debug, info, warning or error"},
    {"--foreground", "", "stay in the foreground (always so)"},
    {"--private", "PID", "end with process PID and the last attached program"},
    {"--ready-fd", "FD", "write a byte there when programs may attach"},
};

constexpr LocalCommand kLocal[] = {
    {"run", "[--] PROGRAM [ARGUMENT]...", "Run a program with its connections under snp"},
    {"events", "[--json] [--count NUMBER]",
     "Show what becomes of connections, as it happens, and who decided it"},
    {"bench", "[--help]", "Measure kernel and chimney side by side; snp bench --help"},
};

}  // namespace

std::span<const OptionText> snpd_options() noexcept {
  return kOptions;
}

const OptionText& snpd_option(std::string_view name) noexcept {
  const OptionText* found = nullptr;
  for (const OptionText& option : kOptions)
    if (option.name == name) found = &option;
  SNP_ASSERT(found != nullptr);
  return *found;
}

std::span<const LocalCommand> local_commands() noexcept {
  return kLocal;
}

}  // namespace snp::commands
