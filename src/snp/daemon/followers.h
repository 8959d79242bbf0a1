// Connections that are home again and whose steering entry stays for a while: until the shard has
// given what it had for them, so that nothing overtakes it (steer::FlowSteering::kFollow). Control
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "snp/daemon/event_loop.h"
#include "snp/daemon/presence.h"
#include "snp/steer/steering.h"
#include "snp/wire/address.h"

namespace snp::daemon {

class Followers {
 public:
  Followers(EventLoop& loop, steer::Steering& steering, Presence& presence)
      : loop_(loop), steering_(steering), presence_(presence) {}

  // It is in kFollow, by that shard. One flow of the presence goes with it, until the entry is
  // removed.
  void add(const FourTuple& tuple, std::uint32_t shard);
  // It is steered anew: the entry stays. The shard, when it is in kFollow still.
  std::optional<std::uint32_t> fetch(const FourTuple& tuple);
  // They need the room.
  void end();

 private:
  EventLoop& loop_;
  steer::Steering& steering_;
  Presence& presence_;
  struct Follower {
    std::uint64_t number = 0;  // of the add() that the entry belongs to: only that one's end counts
    std::uint32_t shard = 0;
  };
  std::map<FourTuple, Follower> latest_;
  std::uint64_t added_ = 0;
};

}  // namespace snp::daemon
