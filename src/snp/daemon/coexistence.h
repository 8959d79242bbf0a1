// The features of the host with which offload does not go together (reference 3.2): watched through
// notifications, overruled by settings, asked for each connection. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snp/base/time.h"
#include "snp/chimney/reason.h"
#include "snp/commands/service.h"
#include "snp/daemon/event_loop.h"
#include "snp/host/features.h"
#include "snp/settings/settings.h"

namespace snp::daemon {

class Coexistence {
 public:
  // `loop` and `settings` outlive it.
  Coexistence(EventLoop& loop, const settings::Settings& settings);

  // Looks at everything once. What this kernel has not got is left out. After it, `on_change` is
  // called whenever features came or went, with the time when the first sign of it was seen.
  using OnChange = std::function<void(Instant noticed)>;
  Result<> start(OnChange on_change);

  // The feature that concerns the connection, the first in the order of the watches.
  struct Found {
    chimney::Reason reason;
    std::string what;  // down to the rule
  };
  [[nodiscard]] std::optional<Found> find(host::FlowView view) const;
  // Before an offload, and every few seconds while something is offloaded: at what nobody tells of.
  void look_where_blind();
  [[nodiscard]] bool is_empty() const noexcept;
  // All there are, respected or not.
  [[nodiscard]] std::vector<commands::FeatureRow> rows() const;

 private:
  struct Watched {
    std::string name;
    host::WatchPtr watch;
    host::Features features;
    Instant looked = {};
    Instant noticed = {};  // the first sign since `looked`
    bool is_look_due = false;
    bool is_end_awaited = false;  // looked at again, because nobody tells when what is there goes
  };

  Result<> add(std::string name, Result<host::WatchPtr> watch);
  void notice(Watched& watched);
  bool look(Watched& watched);
  void await_end(Watched& watched);
  [[nodiscard]] bool is_active(const host::Feature& feature) const;
  [[nodiscard]] bool is_respected(chimney::Reason reason) const;

  EventLoop& loop_;
  const settings::Settings& settings_;
  std::vector<std::unique_ptr<Watched>> watched_;
  OnChange on_change_;
};

}  // namespace snp::daemon
