#include "snp/manual/pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snp/chimney/policy.h"
#include "snp/chimney/reason.h"
#include "snp/commands/command.h"
#include "snp/commands/netsh.h"
#include "snp/commands/snpd_options.h"
#include "snp/manual/roff.h"
#include "snp/settings/registry.h"

namespace snp::manual {
namespace {

using testing::HasSubstr;

// As a page writes it.
std::string in_roff(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += c == '-' ? std::string("\\-") : std::string(1, c);
  return out;
}

TEST(Manual, NamesEveryCommandReasonAndStep) {
  const std::string page = page_snp();
  for (const commands::CommandSpec* command : commands::all_commands())
    EXPECT_THAT(page, HasSubstr(".B \"snp " + in_roff(command->path)));
  for (const commands::LocalCommand& command : commands::local_commands())
    EXPECT_THAT(page, HasSubstr(".B \"snp " + in_roff(command.name)));
  for (const commands::NetshCommand& command : commands::all_netsh_commands())
    EXPECT_THAT(page, HasSubstr(".B \"" + in_roff(command.words)));
  for (const chimney::ReasonText& reason : chimney::all_reasons())
    EXPECT_THAT(page, HasSubstr(".B \"" + in_roff(reason.name) + "\"\n"));
  for (const chimney::PolicyStepText& step : chimney::all_policy_steps())
    EXPECT_THAT(page_snp_rules(), HasSubstr(".B \"" + in_roff(step.name) + "\"\n"));
}

TEST(Manual, NamesEverySettingAndOption) {
  const std::string page = page_snp_toml();
  for (const settings::SettingInfo& info : settings::all_settings())
    EXPECT_THAT(page, HasSubstr(".B \"" + std::string(info.name) + "\"\n"));
  for (const settings::RegistryInfo& info : settings::all_registry_values())
    EXPECT_THAT(page, HasSubstr("Registry: " + std::string(info.name) + "."));
  EXPECT_THAT(page,
              HasSubstr("number of threads; 1..64 threads; default 1; takes effect when snpd"));
  EXPECT_THAT(
      page,
      HasSubstr("one of disabled|enabled|automatic; default automatic; takes effect at once"));
  for (const commands::OptionText& option : commands::snpd_options())
    EXPECT_THAT(page_snpd(), HasSubstr(".B \"" + in_roff(option.name)));
}

TEST(Manual, TextCannotBeARequest) {
  Roff page("x", 1, "y");
  page.paragraph(".so /etc/passwd");
  page.item("a\"b", "'c\\d");
  EXPECT_THAT(page.text(), HasSubstr(".PP\n\\&.so /etc/passwd\n"));
  EXPECT_THAT(page.text(), HasSubstr(".B \"a\\(dqb\"\n\\&'c\\ed\n"));
}

TEST(Completion, KnowsPathsSettingsAndFiles) {
  const std::string text = bash_completion();
  EXPECT_THAT(text, HasSubstr("'settings') echo '--help --json get reset set' ;;"));
  EXPECT_THAT(text, HasSubstr("'events') echo '--count --json' ;;"));
  EXPECT_THAT(text, HasSubstr("'settings set chimney') echo 'automatic disabled enabled' ;;"));
  EXPECT_THAT(text,
              HasSubstr("'netsh interface tcp delete') echo 'chimneyapplication chimneyport' ;;"));
  EXPECT_THAT(text, HasSubstr("'policy check' | 'policy load')"));
}

}  // namespace
}  // namespace snp::manual
