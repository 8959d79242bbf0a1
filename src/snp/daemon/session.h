// One connection to the control socket: who is at the other end, and what still has to be sent to
// it. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "snp/base/result.h"
#include "snp/base/unique_fd.h"
#include "snp/ipc/control_protocol.h"

namespace snp::daemon {

class Program;

class Session {
 public:
  Session(std::uint64_t its_number, UniqueFd socket, pid_t its_pid, uid_t its_uid,
          UniqueFd its_pidfd)
      : number(its_number),
        pid(its_pid),
        uid(its_uid),
        pidfd(std::move(its_pidfd)),
        socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

  // A JSON answer, cut into messages. What the socket does not take now waits for flush().
  void send_reply(std::string_view text);
  // One binary message, in order, with duplicates of the descriptors. What the socket does not take
  // now waits for flush(). False: too much waits already, or the other side is gone.
  bool send(std::span<const std::byte> message, std::span<const int> fds = {});
  // Returns false when the other side is gone.
  bool flush();
  [[nodiscard]] bool has_output() const noexcept { return !output_.empty(); }

  const std::uint64_t number;  // never used twice
  const pid_t pid;
  const uid_t uid;
  UniqueFd pidfd;              // moves to the program when it attaches
  Program* program = nullptr;  // attached
  bool is_command_running = false;
  bool is_client = false;  // it has subscribed to events

 private:
  UniqueFd socket_;
  struct Output {
    std::vector<std::byte> bytes;
    std::vector<UniqueFd> fds;
  };
  std::deque<Output> output_;
};

// Takes the next caller; not open: there is none, or it is gone again.
struct Caller {
  UniqueFd socket;
  UniqueFd pidfd;
  pid_t pid = 0;
  uid_t uid = 0;
};
Caller accept_caller(int listener);

}  // namespace snp::daemon
