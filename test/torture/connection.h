// One connection of the torture program: sends a stream at a gentle rate with bursts, receives and
// checks the other one, through every call that a program may use. One thread for each direction
// at most.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "test/torture/stream.h"

namespace snp::torture {

enum class Step {
  kMoved,    // bytes went through; try again
  kBlocked,  // EAGAIN
  kPaused,   // not before send_at() or receive_at()
  kDone,     // this direction is finished
};

class Connection {
 public:
  // `listening`: this is the end that accepted.
  Connection(int fd, std::uint32_t id, bool listening, std::uint64_t seed, double bytes_per_second);

  // Both programs have all their connections: what is not there from now on is waited for.
  void begin(std::uint64_t now) noexcept { content_at_.store(now, std::memory_order_relaxed); }

  // Each does at most one call on the socket; fails the program on a reset or a wrong byte.
  Step send_step(std::uint64_t now);
  Step receive_step(std::uint64_t now);

  // From now on the sending direction ends with what is under way. Any thread.
  void stop() noexcept { stopping_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] std::uint64_t send_at() const noexcept { return send_at_; }
  [[nodiscard]] std::uint64_t receive_at() const noexcept { return receive_at_; }
  [[nodiscard]] bool is_sent() const noexcept { return sent_all_; }
  [[nodiscard]] bool is_received() const noexcept {
    return received_all_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }
  // Any thread may ask for this one: a diagnosis, possibly a moment old.
  [[nodiscard]] std::uint64_t received() const noexcept {
    return received_.load(std::memory_order_relaxed);
  }

  // When the receiver last had no reason to complain. Any thread.
  [[nodiscard]] std::uint64_t content_at() const noexcept {
    return content_at_.load(std::memory_order_relaxed);
  }

 private:
  void make_pending();
  ssize_t call_send(std::span<const std::byte> bytes);
  ssize_t call_receive(std::span<std::byte> room);
  void check(std::span<const std::byte> bytes);
  [[nodiscard]] std::string name() const;

  const int fd_;
  const std::uint32_t id_;
  const std::uint64_t seed_;
  const double ns_per_byte_;
  Stream out_, in_;
  Random send_dice_, receive_dice_;
  std::vector<std::byte> pending_, room_;
  std::size_t pending_from_ = 0;
  std::uint64_t sent_ = 0, peeked_ = 0;
  std::atomic<std::uint64_t> received_{0};
  std::uint64_t send_at_ = 0, receive_at_ = 0, burst_left_ = 0;
  bool sent_all_ = false;
  std::atomic<bool> stopping_{false}, received_all_{false};
  std::atomic<std::uint64_t> content_at_;
};

}  // namespace snp::torture
