// A retransmission timeout that was running when a connection came home, kept for the case that it
// leaves again before anything was acknowledged. A refilled socket starts a timeout of its own and
// cannot say when that expires: without this, hand-overs in quick succession would keep what was
// lost from ever being sent again (reference 4.3: the remainder goes on).
#pragma once

#include <algorithm>
#include <cstdint>

#include "snp/base/time.h"
#include "snp/state/connection_state.h"

namespace snp::daemon {

class RunningTimeout {
 public:
  // From the target that gives the connection back.
  void learn(const DelegatedState& from, Instant now) noexcept {
    const bool is_running = from.retransmit_delta_ms >= 0 && from.snd_una != from.snd_max;
    due_ = is_running ? now + milliseconds(from.retransmit_delta_ms) : kNever;
    snd_una_ = from.snd_una;
    was_probed_ = from.loss_probe_sent;
  }

  // For the target that takes it from the host. A host that has sent again itself has seen to it.
  void tell(DelegatedState& to, Instant now) const noexcept {
    const bool has_moved_on = to.snd_una > snd_una_ || to.snd_una == to.snd_max;
    if (due_ == kNever || has_moved_on || to.retransmits != 0 || to.retransmit_delta_ms >= 0)
      return;
    to.retransmit_delta_ms =
        static_cast<std::int32_t>(std::max<std::int64_t>((due_ - now) / milliseconds(1), 0));
    to.loss_probe_sent = was_probed_;
  }

 private:
  Instant due_ = kNever;
  SeqNum snd_una_;
  bool was_probed_ = false;  // RFC 8985 7: the timeout is next, not another probe of the tail
};

}  // namespace snp::daemon
