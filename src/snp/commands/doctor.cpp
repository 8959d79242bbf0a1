// snp doctor: does it work here, and as asked? One line for each thing that was looked at.
#include <algorithm>

#include <fmt/format.h>

#include "snp/commands/command.h"
#include "snp/commands/findings.h"

namespace snp::commands {
namespace {

using Kind = Finding::Kind;
using settings::Setting;

void examine_status(Service& service, Findings& findings) {
  const StatusReport status = service.status();
  if (status.engine_restarts > 0)
    findings.push_back(
        {Kind::kWrong, "snpd",
         fmt::format("the engine ended {} times and was started again", status.engine_restarts),
         "the log of snpd says how; please report it"});
  else
    findings.push_back(
        {Kind::kGood, "snpd", fmt::format("serves with {} shards", status.shards), ""});
  const auto wanted = service.settings().number(Setting::kMaxConnections);
  if (status.max_connections < wanted)
    findings.push_back({Kind::kNote, "setting max_connections",
                        fmt::format("{} are possible, not {}: the descriptor limit is lower",
                                    status.max_connections, wanted),
                        "raise the limit of snpd (LimitNOFILE=)"});
  for (const FeatureRow& feature : status.features) {
    const chimney::ReasonText& reason = chimney::text_of(feature.reason);
    if (feature.is_respected)
      findings.push_back({Kind::kNote, std::string(reason.name),
                          feature.what + ": connections that it may concern stay in the host",
                          std::string(reason.hint)});
    else
      findings.push_back({Kind::kNote, std::string(reason.name),
                          feature.what + ": a setting overrules it, offloaded connections pass it",
                          "make sure that this is meant"});
  }
}

void examine_devices(Service& service, Findings& findings) {
  const std::vector<DeviceRow> devices = service.devices();
  for (const DeviceRow& device : devices) {
    if (!device.is_served) continue;
    if (device.is_up)
      findings.push_back({Kind::kGood, "device " + device.name,
                          fmt::format("up, carries {} offloaded connections", device.offloaded),
                          ""});
    else
      findings.push_back({Kind::kWrong, "device " + device.name, "it is down",
                          "ip link set dev " + device.name + " up"});
  }
  for (const std::string& name : service.status().devices)
    if (std::ranges::find(devices, name, &DeviceRow::name) == devices.end())
      findings.push_back(
          {Kind::kWrong, "device " + name, "it is gone", "restart snpd when it is there again"});
  for (const HostRssRow& row : service.rss().host) {
    if (row.has_failed)
      findings.push_back(
          {Kind::kWrong, "scaling of " + row.device, row.why,
           "change rss_backend, rss_base_cpu or what is in the way; 'snp rss show'"});
    else
      findings.push_back({Kind::kGood, "scaling of " + row.device,
                          fmt::format("host packets: {}{}: {}", row.backend,
                                      row.cpus.empty() ? "" : " over CPUs " + row.cpus, row.why),
                          ""});
  }
}

void add_idle_setting(Findings& findings, std::string_view name, const std::string& why,
                      const std::string& hint) {
  findings.push_back(
      {Kind::kNote, "setting " + std::string(name), "it has no effect: " + why, hint});
}

void examine_settings(Service& service, Findings& findings) {
  const settings::Settings& values = service.settings();
  for (const settings::SettingInfo& info : settings::all_settings())
    if (!service.stored_settings().is_same(info.id, values))
      findings.push_back({Kind::kNote, "setting " + std::string(info.name),
                          "what is stored takes effect when snpd starts", "restart snpd"});
  for (const FeatureState& feature : service.features())
    if (!feature.is_operational)
      findings.push_back(
          {Kind::kNote, std::string(feature.name), std::string(feature.statement), ""});
  const auto is_set = [&](Setting id) { return !values.is_default(id); };
  const auto name_of = [](Setting id) { return settings::info_of(id).name; };
  if (values.text(Setting::kChimney) == "disabled")
    for (const Setting id : {Setting::kEnabledLocalPorts, Setting::kEnabledRemotePorts,
                             Setting::kChimneyApplications, Setting::kChimneyPorts})
      if (is_set(id))
        add_idle_setting(findings, name_of(id), "chimney is disabled",
                         "snp settings set chimney automatic");
  if (values.text(Setting::kRss) == "disabled")
    for (const Setting id : {Setting::kRssProfile, Setting::kRssBackend, Setting::kRssBaseCpu,
                             Setting::kRssMaxCpus, Setting::kRssKey, Setting::kRssAvoidCpus})
      if (is_set(id))
        add_idle_setting(findings, name_of(id), "rss is disabled", "snp rss set enabled yes");
  if (values.text(Setting::kRssBalancing) == "enabled" && values.number(Setting::kShards) < 2) {
    const auto rows = service.rss().host;
    if (std::ranges::none_of(rows, &HostRssRow::is_balancing))
      add_idle_setting(findings, name_of(Setting::kRssBalancing),
                       "there is one shard, and no device counts packets by bucket",
                       "more shards, or rss_backend cpumap");
  }
}

Json to_json(const Findings& findings) {
  Json rows = Json::array();
  bool is_good = true;
  for (const Finding& finding : findings) {
    const char* kind = finding.kind == Kind::kGood   ? "good"
                       : finding.kind == Kind::kNote ? "note"
                                                     : "wrong";
    is_good = is_good && finding.kind != Kind::kWrong;
    rows.push_back(
        {{"kind", kind}, {"about", finding.about}, {"text", finding.text}, {"hint", finding.hint}});
  }
  return Json{{"good", is_good}, {"findings", std::move(rows)}};
}

void handle(Service& service, const Json& /*arguments*/, const Answer& answer) {
  Findings findings = examine_machine();
  std::ranges::move(examine_snpd(service), std::back_inserter(findings));
  answer(to_json(findings));
}

// Without a snpd: what the machine gives.
Result<Json> look_alone(const Json& /*arguments*/) {
  Findings findings = examine_machine();
  findings.push_back({Kind::kNote, "snpd", "none serves this network namespace",
                      "start one, or let 'snp run' do it"});
  return to_json(findings);
}

std::string render(const Json& result) {
  std::string text;
  for (const Json& row : result.at("findings")) {
    const auto field = [&](const char* key) { return row.at(key).get<std::string>(); };
    text += fmt::format("{:<6}{}: {}", field("kind"), field("about"), field("text"));
    if (!field("hint").empty()) text += " -> " + field("hint");
    text += "\n";
  }
  return text + (result.at("good").get<bool>() ? "nothing is wrong\n" : "something is wrong\n");
}

bool is_good(const Json& result) {
  return result.at("good").get<bool>();
}

}  // namespace

Findings examine_snpd(Service& service) {
  Findings findings;
  examine_status(service, findings);
  examine_devices(service, findings);
  examine_settings(service, findings);
  return findings;
}

const CommandSpec kDoctor{
    .path = "doctor",
    .help = "Check machine, devices and settings; what is wrong, and what to do about it.",
    .arguments = {},
    .handle = handle,
    .render = render,
    .without_snpd = look_alone,
    .is_success = is_good,
};

}  // namespace snp::commands
