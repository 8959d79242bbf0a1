// What was measured of a connection's path, kept across hand-overs: a socket that was refilled and
// moves again before an answer came knows nothing, and would start with the initial timeout; one
// whose congestion control has no model of the path would lose the target's.
#pragma once

#include <cstdint>

#include "snp/base/time.h"
#include "snp/state/connection_state.h"

namespace snp::daemon {

class PathMemo {
 public:
  // From the owner that gives the connection away.
  void learn(const ConnectionState& state, Instant now) noexcept {
    const DelegatedState& from = state.delegated;
    if (from.srtt_us != 0) {
      srtt_us_ = from.srtt_us;
      rttvar_us_ = from.rttvar_us;
      min_rtt_us_ = from.min_rtt_us;
    }
    reordering_seen_ = reordering_seen_ || from.reordering_seen;
    if (state.path.is_known()) {
      model_ = state.path;
      model_at_ = now;
    }
  }

  // From a target; the host has no such search, and what it takes for the peer's segment size may
  // be what it was told because of it.
  void learn_search(const ConnectionState& state) noexcept {
    mtu_search_ = state.mtu_search;
    mtu_search_.probe = 0;  // in whose size the host sends that again nobody knows
    remote_mss_ = state.constant.remote_mss;
    path_mtu_ = state.cached.path_mtu;
  }

  // For the owner that takes it, when the one before knew nothing.
  void tell(ConnectionState& state, Instant now) const noexcept {
    DelegatedState& to = state.delegated;
    if (to.srtt_us == 0 && srtt_us_ != 0) {
      to.srtt_us = srtt_us_;
      to.rttvar_us = rttvar_us_;
      to.min_rtt_us = min_rtt_us_;
    }
    to.reordering_seen = to.reordering_seen || reordering_seen_;
    if (mtu_search_.mss_limit != 0) {
      state.constant.remote_mss = remote_mss_;
      // What the host has been told of the path meanwhile is newer.
      if (state.cached.path_mtu == path_mtu_) state.mtu_search = mtu_search_;
    }
    if (!state.path.is_known() && model_.is_known()) {
      state.path = model_;
      state.path.age(static_cast<std::uint64_t>((now - model_at_) / milliseconds(1)));
    }
  }

  [[nodiscard]] std::uint32_t srtt_us() const noexcept { return srtt_us_; }

 private:
  std::uint32_t srtt_us_ = 0;  // 0: never measured
  std::uint32_t rttvar_us_ = 0;
  std::uint32_t min_rtt_us_ = 0;
  bool reordering_seen_ = false;
  MtuSearch mtu_search_;
  std::uint16_t remote_mss_ = 0, path_mtu_ = 0;  // as the search began
  PathModel model_;
  Instant model_at_;
};

}  // namespace snp::daemon
