// Settings of a running snpd: changed live, kept on disk, told to those who follow them.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "snp/daemon/control.h"
#include "snp/daemon/log.h"

namespace snp::daemon {
namespace {

using chimney::Reason;
using settings::Change;
using settings::Setting;
using settings::SettingInfo;

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
  stored_ = *config;
  apply_settings(*config);
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
  const std::string mode = parts_.settings.text(Setting::kChimney);
  for (const SettingInfo& info : settings::all_settings()) {
    if (wanted.is_same(info.id, parts_.settings)) continue;
    if (info.change == Change::kRestart) continue;
    parts_.settings.copy(info.id, wanted);
    spdlog::info("setting {} is {}", info.name, parts_.settings.to_text(info.id));
  }
  parts_.keeper.tell_text(KeeperNews::kSettings, settings::to_toml(parts_.settings));
  set_log_level(parts_.settings.text(Setting::kLogLevel));
  publish_settings();
  if (mode != parts_.settings.text(Setting::kChimney)) follow_chimney_mode();
}

void Control::publish_settings() {
  ipc::Bulletin& page = bulletin();
  const std::string& mode = parts_.settings.text(Setting::kChimney);
  page.shards.store(shards());
  page.automatic_bytes.store(clamp32(parts_.settings.number(Setting::kAutomaticBytes)));
  page.automatic_calls.store(clamp32(parts_.settings.number(Setting::kAutomaticCalls)));
  page.spin_us.store(clamp32(parts_.settings.number(Setting::kAppSpinUs)));
  page.chimney.store(mode == "disabled"  ? ipc::ChimneyMode::kDisabled
                     : mode == "enabled" ? ipc::ChimneyMode::kEnabled
                                         : ipc::ChimneyMode::kAutomatic);
}

// The switch asks by itself only at its next call; what exists follows the change now.
void Control::follow_chimney_mode() {
  const std::string& mode = parts_.settings.text(Setting::kChimney);
  if (mode == "disabled")
    for (const auto& [id, flow] : parts_.offloader.flows())
      parts_.offloader.upload(*flow, Reason::kChimneyDisabled, {});
  if (mode != "enabled") return;
  for (const auto& [number, program] : programs_) {
    if (program->has_ended) continue;
    for (const ipc::SlotId slot : open_slots(program->arena->memory))
      if (ipc::mode_of(program->slot(slot).engine.mode_word.load()) == ipc::SlotMode::kInHost)
        parts_.offloader.offload(*program, slot, {});
  }
}

}  // namespace snp::daemon
