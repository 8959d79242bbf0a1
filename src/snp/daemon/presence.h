// What every packet of a device pays for, only while flows are steered: the steering programs
// (where the kernel has tcx; at clsact they stay, decision 8) and the shards' taps. They come with
// the first flow and go some seconds after the last. They come to all devices at once: a peer's
// packets may arrive by another device than ours leave by. Coming and going takes milliseconds (the
// kernel waits until no CPU uses what was changed), so a thread of its own does it and hand-overs
// of others go on. Control thread, except for the two acts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "snp/base/result.h"
#include "snp/base/time.h"
#include "snp/base/unique_fd.h"
#include "snp/daemon/event_loop.h"

namespace snp::daemon {

class Presence {
 public:
  // On the thread of their own, one call at a time. `come` that fails leaves nothing.
  struct Acts {
    std::function<Result<>(std::uint32_t ifindex)> come, go;
  };
  struct Delays {
    // From the last flow to the going: longer than a shard gives stragglers of a released flow back
    // to the host, which needs the programs (engine::ShardConfig), and long enough that connections
    // that come one after the other find them there. Setting presence_linger_ms.
    Duration linger = seconds(3);
    // How long a device where the coming failed is left alone.
    Duration retry = seconds(10);
  };
  enum class Answer : std::uint8_t {
    kHere,
    kComing,  // changed() is called when that is known
    kFailed,  // it was logged why
  };

  static Result<std::unique_ptr<Presence>> open(EventLoop& loop,
                                                const std::set<std::uint32_t>& devices, Acts acts,
                                                Delays delays);
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;
  ~Presence();

  // Something came, or could not.
  void on_change(std::function<void()> changed) { changed_ = std::move(changed); }

  // A flow is to be steered on that device; is everything there? Begins to come when it is not.
  Answer want(std::uint32_t ifindex);
  // At the start, for flows that an engine before has left: everything that can come is there when
  // it returns.
  void come_now();
  // One more flow, one less. Pre of keep(): kHere was the answer, in the same turn of the loop.
  void keep() noexcept { ++flows_; }
  void let_go();

  // Waits for an act that is on, and begins no other. What is there stays.
  void stop();

 private:
  enum class State : std::uint8_t { kAway, kComing, kHere, kGoing, kFailed };
  struct Site {
    State state = State::kAway;
    Instant tried;
    std::string error;  // of the last coming; logged when it changes
  };
  struct Outcome {
    std::uint32_t ifindex;
    Result<> result;
  };

  Presence(EventLoop& loop, const std::set<std::uint32_t>& devices, Acts acts, Delays delays);
  void begin(State from, State to, const std::function<Result<>(std::uint32_t)>& act);
  void begin_coming();
  void leave_if_due();
  void schedule_leaving();
  void on_done();
  void came(const Outcome& outcome);
  void went(const Outcome& outcome);

  EventLoop& loop_;
  Acts acts_;
  Delays delays_;
  std::map<std::uint32_t, Site> sites_;  // by ifindex
  std::function<void()> changed_;
  std::size_t flows_ = 0;
  Instant empty_since_;
  bool is_wanted_ = false;  // while going
  bool is_stopped_ = false;
  std::thread thread_;             // joinable: an act is on
  std::vector<Outcome> outcomes_;  // the thread's until `done_` is written
  UniqueFd done_;                  // eventfd
};

}  // namespace snp::daemon
