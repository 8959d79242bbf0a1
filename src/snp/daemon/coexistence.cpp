#include "snp/daemon/coexistence.h"

#include <algorithm>

#include <sys/epoll.h>

#include <spdlog/spdlog.h>

#include "snp/engine/clock.h"

namespace snp::daemon {
namespace {

using chimney::Reason;
using settings::Setting;

// A ruleset that changes all the time is read so often, at most.
constexpr Duration kBetweenLooks = milliseconds(100);
constexpr Duration kRetry = seconds(1);  // after what could not be read

struct Overrule {
  Reason reason;
  Setting setting;
};
constexpr Overrule kOverrules[] = {
    {Reason::kFirewall, Setting::kCoexistFirewall},
    {Reason::kNat, Setting::kCoexistNat},
    {Reason::kIpsec, Setting::kCoexistIpsec},
    {Reason::kForwarding, Setting::kCoexistForwarding},
    {Reason::kBridge, Setting::kCoexistBridging},
    {Reason::kDeviceProgram, Setting::kCoexistDevicePrograms},
    {Reason::kCapture, Setting::kCoexistCaptures},
};

std::vector<std::string> names_of(const host::Features& features) {
  std::vector<std::string> names;
  for (const host::Feature& feature : features)
    names.push_back(feature.what);
  std::sort(names.begin(), names.end());
  return names;
}

void log_difference(const host::Features& before, const host::Features& after) {
  const auto old_names = names_of(before);
  const auto new_names = names_of(after);
  for (const std::string& name : new_names)
    if (!std::binary_search(old_names.begin(), old_names.end(), name))
      spdlog::info("coexistence: {} appeared", name);
  for (const std::string& name : old_names)
    if (!std::binary_search(new_names.begin(), new_names.end(), name))
      spdlog::info("coexistence: {} is gone", name);
}

}  // namespace

Coexistence::Coexistence(EventLoop& loop, const settings::Settings& settings)
    : loop_(loop), settings_(settings) {}

Result<> Coexistence::start(OnChange on_change) {
  on_change_ = std::move(on_change);
  const struct {
    const char* name;
    Result<host::WatchPtr> (*open)();
  } watches[] = {
      {"nftables", host::watch_nftables},
      {"iptables", host::watch_iptables},
      {"ip xfrm", host::watch_xfrm},
      {"XDP and tc", host::watch_device_programs},
      {"tcx", host::watch_tcx},
      {"bridging and forwarding", host::watch_routing},
      {"the list of packet sockets", host::watch_captures},
  };
  for (const auto& watch : watches)
    if (auto added = add(watch.name, watch.open()); !added) return added;
  return {};
}

Result<> Coexistence::add(std::string name, Result<host::WatchPtr> watch) {
  if (!watch && watch.error().code == Errc::kUnsupported) return {};
  if (!watch) return with_context("cannot watch " + name, watch.error());
  auto owned = std::make_unique<Watched>();
  owned->name = std::move(name);
  owned->watch = std::move(*watch);
  Watched& watched = *watched_.emplace_back(std::move(owned));
  (void)look(watched);
  if (watched.watch->is_blind())
    spdlog::info(
        "coexistence: this kernel does not tell of every change of {}; it is looked at before "
        "each offload, and every 5 s while connections are offloaded",
        watched.name);
  return loop_.add(watched.watch->fd(), EPOLLIN, [this, &watched](std::uint32_t) {
    if (watched.watch->drain()) notice(watched);
  });
}

void Coexistence::look_where_blind() {
  const Instant now = engine::monotonic_now();
  for (const auto& watched : watched_) {
    if (!watched->watch->is_blind() || now - watched->looked < kBetweenLooks) continue;
    if (look(*watched)) loop_.call_soon([this, now] { on_change_(now); });
  }
}

void Coexistence::notice(Watched& watched) {
  if (watched.is_look_due) return;
  watched.is_look_due = true;
  watched.noticed = engine::monotonic_now();
  loop_.call_at(std::max(watched.noticed, watched.looked + kBetweenLooks), [this, &watched] {
    watched.is_look_due = false;
    const bool is_different = look(watched);
    look_where_blind();  // who changes one thing may change others
    if (is_different) on_change_(watched.noticed);
    // A capture switches promiscuous mode on, and takes its socket out once more to make its ring.
    if (!watched.watch->is_blind() || !watched.features.empty()) return;
    loop_.call_at(watched.looked + kBetweenLooks, [this, &watched] {
      if (look(watched)) on_change_(watched.noticed);
    });
  });
}

// True: something may be different.
bool Coexistence::look(Watched& watched) {
  watched.looked = engine::monotonic_now();
  auto features = watched.watch->look();
  if (!features) {
    spdlog::error("coexistence: {} cannot be read, connections stay in the host: {}", watched.name,
                  features.error().message);
    features = host::Features{{Reason::kUnwatched, watched.name + " cannot be read", {}}};
    loop_.call_at(watched.looked + kRetry, [this, &watched] { notice(watched); });
  }
  log_difference(watched.features, *features);
  const bool is_different = !watched.features.empty() || !features->empty();
  watched.features = std::move(*features);
  if (watched.watch->is_blind() && !watched.features.empty()) await_end(watched);
  return is_different;
}

// Connections wait in the host for it, and may have no reason to ask again.
void Coexistence::await_end(Watched& watched) {
  if (watched.is_end_awaited) return;
  watched.is_end_awaited = true;
  loop_.call_at(engine::monotonic_now() + kRetry, [this, &watched] {
    watched.is_end_awaited = false;
    notice(watched);
  });
}

bool Coexistence::is_respected(Reason reason) const {
  for (const Overrule& overrule : kOverrules)
    if (overrule.reason == reason) return settings_.text(overrule.setting) != "ignore";
  return true;
}

// Forwarding matters only together with address translation.
bool Coexistence::is_active(const host::Feature& feature) const {
  if (feature.reason != Reason::kForwarding) return true;
  return std::any_of(watched_.begin(), watched_.end(), [](const auto& watched) {
    return std::any_of(watched->features.begin(), watched->features.end(),
                       [](const auto& other) { return other.reason == Reason::kNat; });
  });
}

std::optional<Coexistence::Found> Coexistence::find(host::FlowView view) const {
  view.is_acceptance_enough = settings_.text(Setting::kCoexistFirewall) == "accepted";
  for (const auto& watched : watched_)
    for (const host::Feature& feature : watched->features) {
      if (!is_respected(feature.reason) || !is_active(feature)) continue;
      if (feature.concerns && !feature.concerns(view)) continue;
      Found found{feature.reason, feature.what};
      if (feature.where)
        if (const std::string where = feature.where(view); !where.empty())
          found.what += ", " + where;
      return found;
    }
  return std::nullopt;
}

bool Coexistence::is_empty() const noexcept {
  return std::all_of(watched_.begin(), watched_.end(),
                     [](const auto& watched) { return watched->features.empty(); });
}

std::vector<commands::FeatureRow> Coexistence::rows() const {
  std::vector<commands::FeatureRow> rows;
  for (const auto& watched : watched_)
    for (const host::Feature& feature : watched->features)
      if (is_active(feature))
        rows.push_back({feature.reason, feature.what, is_respected(feature.reason)});
  return rows;
}

}  // namespace snp::daemon
