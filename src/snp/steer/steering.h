// Owner of the BPF steering programs and their flow map: who gets a packet, the host or a shard.
// Control thread, or the keeper once the engine is gone: map and programs are the kernel's and
// survive a fork. `cleanup` undoes what a killed process left.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snp/base/result.h"
#include "snp/rss/hash_type.h"
#include "snp/rss/toeplitz.h"
#include "snp/wire/address.h"
#include "snp/wire/seq_num.h"

namespace snp::steer {

// Design section 3. Removal is the way back to the host.
enum class FlowSteering : std::uint8_t {
  kShadow = 1,  // the shard gets copies, the host still receives
  kHold =
      2,  // only the shard receives (it keeps what it has no connection for); host egress is fenced
  kActive = 3,  // the same, and the shard has the connection
  kReturn = 4,  // upload, from unpark() on: only the shard receives (it keeps), the host may send
  // The host has the connection again, but the shard may have frames for it that came before those
  // that come now: only what follows what the host was given goes straight to it, the rest by the
  // shard. Set by let_follow().
  kFollow = 5,
};

// Marks on packets that snpd sends (skb->mark), known to the egress program.
inline constexpr std::uint32_t kEngineMark = 0x534e5001;  // from the engine: passes the fence
inline constexpr std::uint32_t kReinjectMark =
    0x534e5002;  // turned round into the device's receive path

// What became of the packets of the flows of an account, since load(). Nothing is missing: who
// counts when the flow's entry is gone already counts here, too. Octets are those of IP; segments
// as the device cuts or has merged them.
struct AccountCounters {
  std::uint64_t taken_frames = 0, taken_octets = 0, taken_segments = 0;  // kept from the host
  // Sent by the host, dropped by the egress fence.
  std::uint64_t fenced_frames = 0, fenced_octets = 0, fenced_segments = 0, fenced_resets = 0;
};
using AccountId = std::uint32_t;
inline constexpr AccountId kNobodysAccount = 0;  // of flows that have none of their own

// Instead of a shard: where the distribution sends the flow's packets.
inline constexpr std::uint32_t kByHash = 0xffffffff;

// How packets of flows that are steered by hash are distributed (reference 5.1).
struct Distribution {
  rss::HashTypes types = 0;  // none: everything to the default shard
  rss::HashKey key{};
  std::span<const std::uint32_t> shards;  // of each bucket: a power of two, up to 1024
  std::uint32_t default_shard = 0;
};

// Where the programs are called in a device's path.
enum class Hook : std::uint8_t {
  kTcx,     // comes and goes without a packet lost
  kClsact,  // a qdisc: making or removing it stops the device's queue for a moment
};

class Steering {
 public:
  // Loads the programs. Fails with one clear line when a privilege or kernel feature is missing.
  static Result<std::unique_ptr<Steering>> load(std::uint32_t max_flows) {
    return load(max_flows, best_hook());
  }
  static Result<std::unique_ptr<Steering>> load(std::uint32_t max_flows, Hook hook);
  static Hook best_hook();  // of this kernel
  // Undoes every attach(), unless disowned.
  virtual ~Steering() = default;

  // attach() and detach(): one thread at a time, whatever another does with flows meanwhile.
  // Attaches the ingress and egress programs to a device. Refuses nothing that others attached;
  // replaces what a killed process of ours left, unless these very programs are there (of a process
  // that had them from the same load()).
  virtual Result<> attach(std::uint32_t ifindex) = 0;
  // Takes our programs off a device, and the clsact qdisc if we made it and nobody else uses it.
  virtual Result<> detach(std::uint32_t ifindex) = 0;
  // While no flow is steered: as detach() where that disturbs nobody (kTcx), until the next
  // attach(). Elsewhere the programs stay.
  virtual Result<> rest(std::uint32_t ifindex) = 0;
  virtual void detach_all() noexcept = 0;
  // After a fork, in the process that must leave the attached programs alone when it ends.
  virtual void disown() noexcept = 0;

  // shard: a number below the number of the device's queues, or kByHash. The flow keeps the account
  // that it has, nobody's when it is new.
  virtual Result<> set(const FourTuple& flow, FlowSteering state, std::uint32_t shard) = 0;
  // `account`: below max_flows.
  virtual Result<> set(const FourTuple& flow, FlowSteering state, std::uint32_t shard,
                       AccountId account) = 0;
  // kFollow. `next`: what the host wants to receive next; nothing: all goes by the shard, until the
  // first frame has come that way. The account must be the flow's alone.
  virtual Result<> let_follow(const FourTuple& flow, std::uint32_t shard, AccountId account,
                              std::optional<SeqNum> next) = 0;
  // Of the flow in kFollow that has this account: from here on all of its frames go to the shard,
  // and only there. kHold may be next, without kShadow.
  virtual void recall(AccountId account) = 0;
  virtual Result<> remove(const FourTuple& flow) = 0;
  // Removes all that are in kFollow: there is no shard any more that would give them frames.
  virtual void end_following() noexcept = 0;

  // Pre: no flow is steered by hash. Before the first call everything goes to shard 0. kInvalid: a
  // table whose size is no power of two or too large; nothing has changed then.
  virtual Result<> distribute(const Distribution& distribution) = 0;
  // Another shard for a bucket, at once and whatever is steered by hash.
  virtual void move_bucket(std::uint32_t bucket, std::uint32_t shard) = 0;
  // Packets of each bucket since distribute().
  [[nodiscard]] virtual std::vector<std::uint64_t> bucket_packets() const = 0;
  // Pre: `account` is below max_flows.
  [[nodiscard]] virtual AccountCounters counters(AccountId account) const = 0;
  [[nodiscard]] virtual Result<AccountCounters> counters(const FourTuple& flow) const = 0;

  // For the af_packet driver: programs for SO_ATTACH_BPF and PACKET_FANOUT_DATA.
  [[nodiscard]] virtual int socket_filter_fd() const = 0;
  [[nodiscard]] virtual int fanout_fd() const = 0;

  // Detaches our programs from a device, whoever of our processes attached them; the qdisc as in
  // detach(). Pre: no other snpd serves the device.
  static Result<> cleanup(std::uint32_t ifindex);
};

}  // namespace snp::steer
