// What the engine process tells the keeper, over a SEQPACKET pair: every descriptor that must
// outlive the engine. The keeper never answers. Descriptors in flight when the engine dies are
// still delivered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "snp/base/unique_fd.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/flow_record.h"

namespace snp::daemon {

enum class KeeperNews : std::uint32_t {
  kProgram = 1,      // + fds: an attached program, see ProgramFd
  kProgramGone = 2,  // program `number`: it has ended and nothing of it is offloaded
  kSocket = 3,       // + fd: the socket of flow `number`, before it is parked
  kForget = 4,       // flow `number` is over: home again, or finished
  kWaitSet = 5,      // + fd: the eventfd of wait set `size` of program `number`
  kReady = 6,        // the engine serves programs
  kSettings = 7,     // + fd: `size` bytes of text, the settings (TOML) as they are now
  kRules = 8,        // + fd: `size` bytes of text, the rules of policy as they are now
  kPair = 9,         // + fd: the memory of pair `number`, of `size` bytes; `sides`: the programs
  kPairGone = 10,    // pair `number`: no connection is in it
  kLane = 11,        // + fd: the eventfd of lane side * kLanes + lane (`size`) of pair `number`
};

struct KeeperMessage {
  KeeperNews news{};
  std::uint32_t number = 0;
  std::uint64_t size = 0;
  // kProgram
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::array<char, 64> name{};
  std::array<std::uint32_t, 2> sides{};  // kPair
};

// The descriptors of kProgram, in this order; the bells of all shards follow.
enum ProgramFd : std::size_t {
  kArenaFd,
  kSessionFd,
  kPidFd,
  kControlBellFd,
  kFirstBellFd,
};

class KeeperLink {
 public:
  explicit KeeperLink(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
  // False: the keeper is gone; the engine must not park anything more.
  bool tell(KeeperNews news, std::uint32_t number, std::uint64_t size = 0, int fd = -1);
  // A text of any length.
  bool tell_text(KeeperNews news, std::string_view text);
  bool tell(const KeeperMessage& message, std::span<const int> fds);
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

 private:
  UniqueFd socket_;
};

// What tell_text() sent; empty if it is not what it should be.
std::string read_text(int fd, std::uint64_t size);

}  // namespace snp::daemon
