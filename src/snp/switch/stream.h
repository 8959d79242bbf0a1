// The application's ends of the rings of an offloaded connection, and its readiness as the kernel's
// tcp_poll() would tell it. Call inside the gate with the connection in mode Offloaded (readiness:
// also outside; it is advice). Results: bytes, or a negative errno.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

#include <sys/uio.h>

#include "snp/switch/connection.h"

namespace snp::switch_ {

// Where a scatter-gather transfer stands.
class Buffers {
 public:
  explicit Buffers(std::span<const iovec> pieces) noexcept : pieces_(pieces) {
    for (const iovec& piece : pieces)
      left_ += piece.iov_len;
    skip_empty();
  }
  [[nodiscard]] std::size_t left() const noexcept { return left_; }
  // The next piece of memory. Pre: left() > 0.
  [[nodiscard]] std::span<std::byte> front() const noexcept {
    return {static_cast<std::byte*>(pieces_[0].iov_base) + skipped_, pieces_[0].iov_len - skipped_};
  }
  void advance(std::size_t n) noexcept {
    left_ -= n;
    skipped_ += n;
    while (!pieces_.empty() && skipped_ >= pieces_[0].iov_len) {
      skipped_ -= pieces_[0].iov_len;
      pieces_ = pieces_.subspan(1);
    }
  }
  // The rest as an iovec array: the caller's own while nothing of its first piece is used, else up
  // to `space.size()` pieces of it.
  [[nodiscard]] std::span<const iovec> rest(std::span<iovec> space) const noexcept {
    if (skipped_ == 0) return pieces_;
    const std::size_t n = std::min(space.size(), pieces_.size());
    std::copy_n(pieces_.begin(), n, space.begin());
    space[0].iov_base = front().data();
    space[0].iov_len = front().size();
    return space.first(n);
  }

 private:
  void skip_empty() noexcept {
    while (!pieces_.empty() && pieces_[0].iov_len == 0)
      pieces_ = pieces_.subspan(1);
  }
  std::span<const iovec> pieces_;
  std::size_t skipped_ = 0;
  std::size_t left_ = 0;
};

// The connection was taken away in the middle of the call, and nothing has happened: pass the gate
// again. No errno.
inline constexpr long kMoved = -0x10000;

// Copies (MSG_TRUNC: skips) what is there, up to buffers.left(). 0: end of file. -EAGAIN: nothing.
// MSG_PEEK leaves the stream as it is. Does not advance the buffers.
long ring_receive(Connection& c, const Buffers& buffers, int flags) noexcept;

// Takes as much as there is room for. -EAGAIN: none; the shard tells when there is.
long ring_send(Connection& c, const Buffers& buffers) noexcept;

// Fills the transmit ring from a file: sendfile without a copy of its own.
long ring_send_file(Connection& c, int file, long long* offset, std::size_t count) noexcept;

// EPOLLIN, EPOLLOUT, ... by level. 0 while the connection is not offloaded, or just moves.
std::uint32_t readiness(Connection& c) noexcept;
// The same, and what tells that a reader has news since another look. What comes after a look is in
// a later one.
struct Look {
  std::uint32_t ready = 0;
  std::uint32_t news = 0;     // Connection::news
  std::uint32_t status = 0;   // has the other side ended, or failed
  std::uint64_t arrived = 0;  // position
};
Look look(Connection& c) noexcept;
// What makes the kernel wake readers: data enough, or the end of file (tcp_data_ready). Inside the
// gate.
bool tells_reader(const Connection& c) noexcept;
// Asks to be told about room, unless there is some. True: there is. Outside the gate.
bool want_write(Connection& c) noexcept;

// Bytes that a read finds (nothing: the other side of a local connection wrote nonsense), and bytes
// that the peer has not acknowledged (SIOCINQ, SIOCOUTQ).
std::optional<std::uint32_t> unread(const Connection& c) noexcept;
std::size_t unacknowledged_bytes(const Connection& c) noexcept;
// Of these, the bytes that were never sent (SIOCOUTQNSD). While the shard is busy it says so every
// few milliseconds only: a little more than is true then.
std::size_t unsent_bytes(const Connection& c) noexcept;

// SO_ERROR: the error that no call has reported yet, once.
int take_error(Connection& c) noexcept;
bool has_failed(const Connection& c) noexcept;

}  // namespace snp::switch_
