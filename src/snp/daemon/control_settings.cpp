// Settings of a running snpd: changed live, kept on disk, told to those who follow them.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/daemon/log.h"

namespace snp::daemon {
namespace {

using settings::Change;
using settings::Setting;
using settings::SettingInfo;

// What decides about connections that exist.
constexpr Setting kPolicySettings[] = {
    Setting::kChimney,
    Setting::kChimneyDevices,
    Setting::kDisabledLocalPorts,
    Setting::kDisabledRemotePorts,
    Setting::kEnabledLocalPorts,
    Setting::kEnabledRemotePorts,
    Setting::kChimneyApplications,
    Setting::kChimneyPorts,
    Setting::kAutomaticBytes,
    Setting::kAutomaticCalls,
    Setting::kAutomaticEagerPercent,
    Setting::kMaxConnections,
    Setting::kCoexistFirewall,
    Setting::kCoexistNat,
    Setting::kCoexistIpsec,
    Setting::kCoexistForwarding,
    Setting::kCoexistBridging,
    Setting::kCoexistDevicePrograms,
    Setting::kCoexistCaptures,
    Setting::kVetoUnanswered,
    Setting::kVetoRequired,
};

// What decides about the shard of a connection.
constexpr Setting kScalingSettings[] = {
    Setting::kRss,     Setting::kRssBaseCpu, Setting::kRssMaxCpus, Setting::kRssProfile,
    Setting::kRssIpv4, Setting::kRssIpv6,    Setting::kRssKey,     Setting::kRssTableSize,
};

// What decides about the CPUs of the host's packets, besides.
constexpr Setting kHostScalingSettings[] = {Setting::kRssBackend, Setting::kRssAvoidCpus};

// What shards ask their copy engines for.
constexpr Setting kCopySettings[] = {
    Setting::kNetdma,
    Setting::kNetdmaMinBytes,
    Setting::kNetdmaSyncBelowBytes,
    Setting::kNetdmaBreakEven,
};

std::uint32_t clamp32(std::int64_t value) {
  return static_cast<std::uint32_t>(std::min<std::int64_t>(value, 0xffffffff));
}

}  // namespace

void Control::reload() {
  const auto config = load_config(parts_.inheritance.options);
  if (!config) return spdlog::error("not reloaded: {}", config.error().message);
  for (const SettingInfo& info : settings::all_settings())
    if (info.change == Change::kRestart && !config->is_same(info.id, parts_.settings))
      spdlog::warn("{} changes only when snpd starts", info.name);
  const auto rules = snp::daemon::load_rules(parts_.inheritance.options);
  if (!rules) return spdlog::error("not reloaded: {}", rules.error().message);
  if (auto done = parts_.policy.set_rules(*rules, rules_path(), *config); !done)
    return spdlog::error("not reloaded: {}", done.error().message);
  parts_.keeper.tell_text(KeeperNews::kRules, *rules);
  stored_ = *config;
  apply_settings(*config);
  follow_policy();
  spdlog::info("configuration reloaded");
}

Result<> Control::change_settings(const settings::Settings& wanted) {
  const auto differs = [&](const SettingInfo& info) { return !wanted.is_same(info.id, stored_); };
  const auto all = settings::all_settings();
  if (std::none_of(all.begin(), all.end(), differs)) return {};
  const auto stuck = std::find_if(all.begin(), all.end(), [&](const SettingInfo& info) {
    return differs(info) && info.change == Change::kRestart;
  });
  if (config_path_.empty() && stuck != all.end())
    return fail(Errc::kUnsupported, "setting '" + std::string(stuck->name) +
                                        "' changes only when snpd starts, and this one is private "
                                        "to a program: write it into " +
                                        settings::kDefaultConfigPath);
  // First on disk: a change that would not survive is not made.
  if (!config_path_.empty())
    if (auto done = settings::store_changes(config_path_, stored_, wanted); !done) return done;
  stored_ = wanted;
  apply_settings(wanted);
  return {};
}

void Control::log(const std::string& line) {
  spdlog::warn("{}", line);
}

// What can change live becomes as in `wanted`.
void Control::apply_settings(const settings::Settings& wanted) {
  const bool is_policy =
      std::any_of(std::begin(kPolicySettings), std::end(kPolicySettings),
                  [&](Setting id) { return !wanted.is_same(id, parts_.settings); });
  const bool is_scaling =
      std::any_of(std::begin(kScalingSettings), std::end(kScalingSettings),
                  [&](Setting id) { return !wanted.is_same(id, parts_.settings); });
  const bool is_host_scaling =
      is_scaling || std::any_of(std::begin(kHostScalingSettings), std::end(kHostScalingSettings),
                                [&](Setting id) { return !wanted.is_same(id, parts_.settings); });
  const bool is_copying =
      std::any_of(std::begin(kCopySettings), std::end(kCopySettings),
                  [&](Setting id) { return !wanted.is_same(id, parts_.settings); });
  for (const SettingInfo& info : settings::all_settings()) {
    if (wanted.is_same(info.id, parts_.settings)) continue;
    if (info.change == Change::kRestart) continue;
    parts_.settings.copy(info.id, wanted);
    spdlog::info("setting {} is {}", info.name, parts_.settings.to_text(info.id));
  }
  parts_.keeper.tell_text(KeeperNews::kSettings, settings::to_toml(parts_.settings));
  set_log_level(parts_.settings.text(Setting::kLogLevel));
  parts_.policy.follow(parts_.settings);
  publish_settings();
  if (is_copying) parts_.engine.set_copies(parts_.copy_engines.copier_settings());
  if (is_scaling)
    if (auto done = parts_.offloader.follow_scaling(); !done)
      spdlog::error("receive-side scaling stays as it was: {}", done.error().message);
  if (is_host_scaling) parts_.host_scaling.follow();
  parts_.host_scaling.plan();
  if (is_policy) follow_policy();
}

void Control::publish_settings() {
  ipc::Bulletin& page = bulletin();
  const std::string& mode = parts_.settings.text(Setting::kChimney);
  page.shards.store(shards());
  page.automatic_bytes.store(clamp32(parts_.settings.number(Setting::kAutomaticBytes)));
  page.automatic_calls.store(clamp32(parts_.settings.number(Setting::kAutomaticCalls)));
  page.spin_us.store(clamp32(parts_.settings.number(Setting::kAppSpinUs)));
  page.local_spin_us.store(clamp32(parts_.settings.number(Setting::kLocalSpinUs)));
  page.chimney.store(mode == "disabled"  ? ipc::ChimneyMode::kDisabled
                     : mode == "enabled" ? ipc::ChimneyMode::kEnabled
                                         : ipc::ChimneyMode::kAutomatic);
  page.has_eager_rules.store(parts_.policy.policy().has_eager_rules() ? 1 : 0);
  for (const auto& [number, program] : programs_)
    if (!program->has_ended) parts_.learning.refresh(*program);
}

// The switch asks by itself only at its next call; what exists follows the change now. Whoever may
// be eligible is asked for, as if its switch had done it: policy decides there.
void Control::follow_policy(std::optional<Instant> noticed) {
  parts_.offloader.recheck_policy(noticed);
  const chimney::Policy& policy = parts_.policy.policy();
  if (policy.mode == chimney::Mode::kDisabled) return;
  const bool is_eager = policy.mode == chimney::Mode::kEnabled || policy.has_eager_rules();
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    for (const ipc::SlotId id : open_slots(program->arena->memory)) {
      const ipc::Slot& slot = program->slot(id);
      if (ipc::mode_of(slot.engine.mode_word.load()) != ipc::SlotMode::kInHost) continue;
      const bool has_asked = slot.app.request.load() == ipc::SlotRequest::kOffload;
      if (is_eager || has_asked) parts_.offloader.offload(*program, id, {});
    }
  }
}

std::string Control::rules_path() const {
  return config_path_.empty() ? std::string() : daemon::rules_path(parts_.inheritance.options);
}

Result<> Control::load_rules(const std::string& text, const std::string& name) {
  // Checked aside first: what is refused leaves both file and policy as they are.
  if (auto done = PolicyBook().set_rules(text, name, parts_.settings); !done) return done;
  if (const std::string path = rules_path(); !path.empty())
    if (auto done = settings::replace_file(path, text); !done) return done;
  if (auto done = parts_.policy.set_rules(text, name, parts_.settings); !done) return done;
  parts_.keeper.tell_text(KeeperNews::kRules, text);
  spdlog::info("{} policy rules in effect", rules().size());
  publish_settings();
  follow_policy();
  return {};
}

commands::PolicyAnswer Control::judge(const commands::PolicyQuestion& question) {
  chimney::Verdict verdict;
  if (const auto found = find_slot(question.flow)) {
    const Flow* flow = parts_.offloader.find(found->program->note(found->slot).flow);
    Flow looked_at;
    verdict = flow != nullptr
                  ? parts_.offloader.judge(*flow)
                  : parts_.offloader.judge(*found->program, found->slot, looked_at, false);
  } else {
    verdict = parts_.offloader.judge(question);
  }
  commands::PolicyAnswer answer{verdict.reason, verdict.step, 0, {}, verdict.detail};
  if (verdict.rule != nullptr) {
    answer.rule_line = verdict.rule->line;
    answer.rule = verdict.rule->text;
  }
  return answer;
}

}  // namespace snp::daemon
