#include "snp/manual/pages.h"

#include "snp/chimney/policy.h"
#include "snp/chimney/reason.h"
#include "snp/commands/command.h"
#include "snp/commands/netsh.h"
#include "snp/commands/snpd_options.h"
#include "snp/manual/roff.h"
#include "snp/settings/config_file.h"
#include "snp/settings/registry.h"
#include "snp/stats/ledger.h"

namespace snp::manual {
namespace {

using settings::SettingInfo;
using settings::SettingType;

std::string synopsis(const commands::CommandSpec& command) {
  std::string text = "snp " + std::string(command.path);
  for (const commands::Argument& argument : command.arguments) {
    const std::string name(argument.name);
    text += argument.is_required ? " " + name : " [" + name + "]";
  }
  return text;
}

void add_commands(Roff& page) {
  page.heading("COMMANDS");
  for (const commands::LocalCommand& command : commands::local_commands())
    page.item("snp " + std::string(command.name) + " " + std::string(command.arguments),
              command.help);
  for (const commands::CommandSpec* command : commands::all_commands()) {
    page.item(synopsis(*command), command->help);
    for (const commands::Argument& argument : command->arguments)
      page.more(std::string(argument.name) + ": " + std::string(argument.help));
    if (command->changes_things) page.more("Only for root and the owner of snpd.");
  }
}

void add_netsh(Roff& page) {
  page.heading("NETSH");
  page.paragraph(
      "snp netsh takes the commands below in the forms of Windows: every word may be shortened as "
      "long as it is unambiguous, parameters are given by tag (tag=value) or in their order. "
      "Without "
      "a command, or with that of a context only, it is a shell with history and completion; -c "
      "CONTEXT begins in a context, -f FILE runs a file, as dump writes one.");
  std::string_view context = "?";
  for (const commands::NetshCommand& command : commands::all_netsh_commands()) {
    if (command.context != context)
      page.subheading("netsh" +
                      (command.context.empty() ? "" : " " + std::string(command.context)));
    context = command.context;
    page.item(commands::netsh_usage(command), command.help);
  }
}

void add_reasons(Roff& page) {
  page.heading("REASONS");
  page.paragraph(
      "Why a connection is where it is: the name for scripts, what it means, and what can be "
      "done.");
  for (const chimney::ReasonText& reason : chimney::all_reasons()) {
    page.item(reason.name, reason.sentence);
    if (!reason.hint.empty()) page.more(reason.hint);
  }
}

void add_counters(Roff& page) {
  page.heading("COUNTERS");
  page.paragraph(
      "What snp stats shows for host, target (the engine), local and all together, and what it "
      "means that a value rises. Each frame, segment and byte is in one part only: whose a "
      "received "
      "frame is, steering decides once; what is given back to the host is the host's. The host's "
      "part is what the kernel counts, without what hand-overs do to its counters. Names and units "
      "are those of Linux.");
  for (const stats::MibInfo& counter : stats::all_mib_counters()) {
    page.item(counter.name, counter.meaning);
    page.more(counter.whose);
  }
  page.subheading("The target's own");
  for (const auto& table :
       {stats::metrics_of(stats::PathMetric{}), stats::metrics_of(stats::EngineMetric{})})
    for (const stats::MetricInfo& metric : table)
      page.item(metric.name, metric.sentence);
}

void add_see_also(Roff& page, std::string_view pages) {
  page.heading("SEE ALSO");
  page.paragraph(pages);
}

std::string type_text(const SettingInfo& info) {
  switch (info.type) {
    case SettingType::kNumber:
      return info.unit.empty() ? "number" : "number of " + std::string(info.unit);
    case SettingType::kChoice:
      return "one of " + std::string(info.choices);
    case SettingType::kText:
      return "text";
    case SettingType::kList:
      break;
  }
  return "list";
}

std::string registry_name(settings::Setting id) {
  for (const settings::RegistryInfo& info : settings::all_registry_values())
    if (info.setting == id) return std::string(info.name);
  return {};
}

void add_setting(Roff& page, const SettingInfo& info) {
  const std::string value = settings::Settings().to_text(info.id);
  page.item(info.name, std::string(info.help) + ".");
  std::string facts = type_text(info);
  if (info.type != SettingType::kChoice) facts += "; " + settings::allowed_values(info);
  page.more(facts + "; default " + (value.empty() ? "empty" : value) + "; takes effect " +
            (info.change == settings::Change::kLive ? "at once" : "when snpd starts") + ".");
  if (const std::string name = registry_name(info.id); !name.empty())
    page.more("Registry: " + name + ".");
}

}  // namespace

std::string page_snp() {
  Roff page("snp", 1,
            "look at and move TCP connections between the kernel and a user-space engine");
  page.heading("SYNOPSIS");
  page.paragraph("snp run [--] PROGRAM [ARGUMENT]...");
  page.paragraph("snp COMMAND [ARGUMENT]... [--json]");
  page.heading("DESCRIPTION");
  page.paragraph(
      "snp asks the snpd of the network namespace that it runs in. A flow is written LOCAL-REMOTE, "
      "as "
      "'snp connections' shows it: 10.0.0.1:6379-10.0.0.2:40000. --help behind a command says what "
      "it takes; --json gives the answer in JSON (not for run, bench and netsh).");
  add_commands(page);
  add_netsh(page);
  add_reasons(page);
  add_counters(page);
  page.heading("EXIT STATUS");
  page.paragraph(
      "0 if it did what it says, 1 if not, 2 if it was not understood; one line says why.");
  page.heading("FILES");
  page.item("~/.snp_netsh_history", "what was typed in the shell of snp netsh.");
  add_see_also(page, "snpd(8), snp.toml(5), snp.rules(5)");
  return page.text();
}

std::string page_snpd() {
  Roff page("snpd", 8, "serve a network namespace: carry TCP connections of attached programs");
  page.heading("SYNOPSIS");
  page.paragraph("snpd [OPTION]...");
  page.heading("DESCRIPTION");
  page.paragraph(
      "One snpd serves one network namespace. Programs attach to it by 'snp run'; it takes their "
      "established TCP connections out of the kernel when policy says so, and brings them home at "
      "any "
      "moment. It consists of two processes: the keeper, which holds what must survive, and the "
      "engine, "
      "which it starts again if it dies.");
  page.heading("OPTIONS");
  for (const commands::OptionText& option : commands::snpd_options())
    page.item(
        std::string(option.name) + (option.value.empty() ? "" : " " + std::string(option.value)),
        option.help);
  page.paragraph(
      "What --device and --set say comes before the file whenever snpd starts. What is changed "
      "live is "
      "written into the file.");
  page.heading("SIGNALS");
  page.item("SIGHUP",
            "Reads settings and rules again; what is wrong is refused as a whole and logged.");
  page.item("SIGTERM, SIGINT", "Brings all connections home and ends.");
  page.heading("FILES");
  page.item(settings::kDefaultConfigPath, "the settings, see snp.toml(5).");
  page.item("/etc/snp/snp.rules",
            "the rules of policy, see snp.rules(5); with --config beside its FILE.");
  add_see_also(page, "snp(1), snp.toml(5), snp.rules(5)");
  return page.text();
}

std::string page_snp_toml() {
  Roff page("snp.toml", 5, "settings of snpd");
  page.heading("DESCRIPTION");
  page.paragraph(
      "TOML; the keys are the names of settings. Numbers of bytes may be texts with a suffix K, M "
      "or G. A "
      "file with a mistake is refused as a whole, with a line that names file, line, column, key, "
      "value and "
      "what is allowed.");
  page.paragraph(
      "'snp settings set', 'snp reg' and 'snp netsh' change the file, too: the new file replaces "
      "the old one "
      "in one step, and what people wrote beside the changed values stays. A setting at its "
      "default has no "
      "line.");
  page.example(
      "devices = [\"eth0\"]\nchimney = \"automatic\"\ndisabled_local_ports = [22, 3306]\n"
      "ring_bytes = \"512K\"");
  page.heading("SETTINGS");
  for (const SettingInfo& info : settings::all_settings())
    add_setting(page, info);
  page.heading("REGISTRY");
  page.paragraph(
      "Names of the registry stand for values of the key " + std::string(settings::kRegistryKey) +
      " of Windows. A value that is absent there is the default here: an absent EnableTCPA means "
      "on. A wrong port in a list is ignored and logged, and so is the thirteenth.");
  add_see_also(page, "snp(1), snpd(8), snp.rules(5)");
  return page.text();
}

std::string page_snp_rules() {
  Roff page("snp.rules", 5, "rules of policy: which connections snpd offloads, and how");
  page.heading("DESCRIPTION");
  page.paragraph(
      "One rule a line: conditions, joined by && (all must hold), then =>, what happens, and how. "
      "The first "
      "rule that matches decides; if none does, the setting chimney does. # begins a comment. "
      "'snp policy check FILE' names the line and column of a mistake, 'snp policy load FILE' puts "
      "rules into "
      "effect, all or none, and connections follow.");
  page.example(
      "program /usr/sbin/nginx && local port 80, 443 => offload cong cubic ring 4M\n"
      "remote net 10.0.0.0/8 && !interface veth*     => automatic\n"
      "uid 1000-1999                                 => !offload\n"
      "all                                           => automatic");
  page.heading("CONDITIONS");
  page.paragraph("Each may have a ! in front, and several values with commas between.");
  page.item("all", "Every connection.");
  page.item("program PATH or NAME",
            "The executable, or the program's name; * at the end: begins so.");
  page.item("uid NUMBER or FIRST-LAST", "The effective user of the process.");
  page.item("cgroup PATH", "The control group (version 2), or one below it.");
  page.item("interface NAME", "Where the connection leaves; * at the end: begins so.");
  page.item("[local|remote] net ADDRESS[/BITS]", "An end, IPv4 or IPv6; without a side: either.");
  page.item("[local|remote] port NUMBER or FIRST-LAST", "A port; without a side: either.");
  page.heading("WHAT HAPPENS");
  page.item("offload", "It is offloaded at once.");
  page.item("automatic",
            "It is offloaded when it has proved worth it (automatic_bytes, automatic_calls).");
  page.item("!offload, host", "It stays in the host, or goes home.");
  page.heading("HOW");
  page.item("cong NAME", "The congestion control, if the program has not chosen one.");
  page.item("ring BYTES, rx_ring BYTES, tx_ring BYTES", "The size of its rings.");
  page.item("shard NUMBER", "Who carries it.");
  page.heading("ORDER");
  page.paragraph("Rules are one step of several; the first that has an answer decides:");
  for (const chimney::PolicyStepText& step : chimney::all_policy_steps())
    page.item(step.name, step.question);
  add_see_also(page, "snp(1), snpd(8), snp.toml(5)");
  return page.text();
}

}  // namespace snp::manual
