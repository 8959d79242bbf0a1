// What the engine process tells the keeper, over a SEQPACKET pair: every descriptor that must
// outlive the engine. The keeper never answers. Descriptors in flight when the engine dies are
// still delivered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "snp/base/unique_fd.h"
#include "snp/ipc/arena.h"
#include "snp/ipc/flow_record.h"

namespace snp::daemon {

enum class KeeperNews : std::uint32_t {
  kArena = 1,      // + fd: the arena `number` of `size` bytes
  kArenaGone = 2,  // arena `number`: its process has ended and nothing of it is offloaded
  kSocket = 3,     // + fd: the socket of flow `number`, before it is parked
  kForget = 4,     // flow `number` is over: home again, or finished
  kWaitSet = 5,    // + fd: the eventfd of wait set `size` of arena `number`
  kReady = 6,      // the engine serves programs
  kSettings = 7,   // + fd: `size` bytes of text, the settings (TOML) as they are now
};

struct KeeperMessage {
  KeeperNews news{};
  std::uint32_t number = 0;
  std::uint64_t size = 0;
};

class KeeperLink {
 public:
  explicit KeeperLink(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
  // False: the keeper is gone; the engine must not park anything more.
  bool tell(KeeperNews news, std::uint32_t number, std::uint64_t size = 0, int fd = -1);
  // A text of any length.
  bool tell_text(KeeperNews news, std::string_view text);
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

 private:
  UniqueFd socket_;
};

// What tell_text() sent; empty if it is not what it should be.
std::string read_text(int fd, std::uint64_t size);

}  // namespace snp::daemon
