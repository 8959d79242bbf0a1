#include "snp/switch/stream.h"

#include <algorithm>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "snp/state/stream_ring.h"

namespace snp::switch_ {
namespace {

StreamRing rx_ring(const Connection& c) noexcept {
  return {c.session->base + c.slot->engine.rx_ring, c.slot->engine.rx_size};
}
StreamRing tx_ring(const Connection& c) noexcept {
  return {c.session->base + c.slot->engine.tx_ring, c.slot->engine.tx_size};
}

bool has_status(const Connection& c, std::uint32_t bit) noexcept {
  return (c.slot->engine.status.load(std::memory_order_acquire) & bit) != 0;
}
bool has_flag(const Connection& c, std::uint32_t bit) noexcept {
  return (c.slot->app.flags.load(std::memory_order_relaxed) & bit) != 0;
}

// The shard learns of room when the window would open by a good part, not after each byte.
void tell_window(Connection& c, std::uint64_t tail, std::uint64_t unread_before) noexcept {
  const std::uint32_t size = c.slot->engine.rx_size;
  if (tail - c.window_told < size / 4 && unread_before <= size / 2) return;
  c.window_told = tail;
  ring_shard(*c.session, *c.slot, c.slot_id);
}

// Nothing is left to read: why? As tcp_recvmsg: the error once, then the end of file.
long at_end(Connection& c) noexcept {
  if (has_status(c, ipc::slot_status::kError)) return -take_error(c);
  if (has_status(c, ipc::slot_status::kPeerClosed)) return 0;
  return has_flag(c, ipc::slot_flag::kShutdownRead) ? 0 : -EAGAIN;
}

std::size_t room(const Connection& c) noexcept {
  const std::uint64_t used = c.slot->app.tx_head.load(std::memory_order_relaxed) -
                             c.slot->engine.tx_tail.load(std::memory_order_seq_cst);
  const std::uint32_t size = c.slot->engine.tx_size;
  return used < size ? static_cast<std::size_t>(size - used) : 0;
}

// As sk_stream_error: a pending error once, then EPIPE. Caller raises SIGPIPE for EPIPE.
long send_error(Connection& c) noexcept {
  const int error = take_error(c);
  return error != 0 ? -error : -EPIPE;
}

bool cannot_send(const Connection& c) noexcept {
  return has_status(c, ipc::slot_status::kError) || has_flag(c, ipc::slot_flag::kShutdownWrite);
}

// Room for a writer that is about to put something there; 0 after having asked to be told.
std::size_t claim_room(Connection& c) noexcept {
  std::size_t free = room(c);
  auto& wants = c.slot->app.wants_write;
  if (free == 0) {
    wants.store(1);
    free = room(c);
  }
  // Others may wait for the same room; the wish is one for all, so who takes it back tells them.
  if (free >= ipc::write_room(c.slot->engine.tx_size) &&
      wants.load(std::memory_order_relaxed) != 0 && wants.exchange(0) != 0)
    mark_watchers(*c.session, *c.slot, c.slot_id);
  return free;
}

void publish(Connection& c, std::uint64_t head) noexcept {
  c.slot->app.tx_head.store(head, std::memory_order_release);
  ring_shard(*c.session, *c.slot, c.slot_id);
}

}  // namespace

long ring_receive(Connection& c, const Buffers& buffers, int flags) noexcept {
  const Guard guard(c.read_lock);
  const std::uint64_t tail = c.slot->app.rx_tail.load(std::memory_order_relaxed);
  std::uint64_t unread = c.slot->engine.rx_head.load(std::memory_order_acquire) - tail;
  if (unread == 0) {
    const long end = at_end(c);
    if (end == -EAGAIN) return end;
    // The status was stored after the last byte: look again before believing it.
    unread = c.slot->engine.rx_head.load(std::memory_order_acquire) - tail;
    if (unread == 0) return end;
  }
  const std::size_t length = std::min<std::size_t>(unread, buffers.left());
  if ((flags & MSG_TRUNC) == 0) {
    const StreamRing ring = rx_ring(c);
    Buffers out = buffers;
    for (std::uint64_t pos = tail; pos != tail + length;) {
      const auto piece =
          out.front().first(std::min<std::size_t>(out.front().size(), tail + length - pos));
      ring.copy_out(pos, piece);
      pos += piece.size();
      out.advance(piece.size());
    }
  }
  if ((flags & MSG_PEEK) == 0) {
    c.slot->app.rx_tail.store(tail + length, std::memory_order_release);
    tell_window(c, tail + length, unread);
  }
  return static_cast<long>(length);
}

long ring_send(Connection& c, const Buffers& buffers) noexcept {
  const Guard guard(c.write_lock);
  if (cannot_send(c)) [[unlikely]]
    return send_error(c);
  if (buffers.left() == 0) return 0;
  const std::size_t length = std::min(claim_room(c), buffers.left());
  if (length == 0) return -EAGAIN;
  const std::uint64_t head = c.slot->app.tx_head.load(std::memory_order_relaxed);
  const StreamRing ring = tx_ring(c);
  Buffers in = buffers;
  for (std::uint64_t pos = head; pos != head + length;) {
    const auto piece =
        in.front().first(std::min<std::size_t>(in.front().size(), head + length - pos));
    ring.copy_in(pos, piece);
    pos += piece.size();
    in.advance(piece.size());
  }
  publish(c, head + length);
  return static_cast<long>(length);
}

long ring_send_file(Connection& c, int file, long long* offset, std::size_t count) noexcept {
  constexpr std::uint32_t kMostAtOnce = 256 * 1024;  // the gate must not stay shut for long
  const Guard guard(c.write_lock);
  if (cannot_send(c)) return send_error(c);
  if (count == 0) return 0;
  const std::size_t length = std::min<std::size_t>({claim_room(c), count, kMostAtOnce});
  if (length == 0) return -EAGAIN;
  const std::uint64_t head = c.slot->app.tx_head.load(std::memory_order_relaxed);
  const auto [a, b] = tx_ring(c).pieces(head, static_cast<std::uint32_t>(length));
  const iovec pieces[2] = {{a.data(), a.size()}, {b.data(), b.size()}};
  const int used = b.empty() ? 1 : 2;
  const long n = offset != nullptr ? sys(SYS_preadv, file, pieces, used, *offset, 0L)
                                   : sys(SYS_readv, file, pieces, used);
  if (n <= 0) return n;
  if (offset != nullptr) *offset += n;
  publish(c, head + static_cast<std::uint64_t>(n));
  return n;
}

std::uint32_t readiness(const Connection& c) noexcept {
  const std::uint32_t status = c.slot->engine.status.load(std::memory_order_acquire);
  const std::uint32_t flags = c.slot->app.flags.load(std::memory_order_relaxed);
  const bool failed = (status & ipc::slot_status::kError) != 0;
  const bool no_more_in = failed || (status & ipc::slot_status::kPeerClosed) != 0 ||
                          (flags & ipc::slot_flag::kShutdownRead) != 0;
  const bool no_more_out = failed || (flags & ipc::slot_flag::kShutdownWrite) != 0;
  const std::size_t low_at = std::min(c.slot->app.receive_low_at.load(std::memory_order_relaxed),
                                      std::max(1u, c.slot->engine.rx_size / 2));
  std::uint32_t mask = 0;
  if (no_more_in && no_more_out) mask |= EPOLLHUP;
  if (no_more_in) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (unread_bytes(c) >= low_at) mask |= EPOLLIN | EPOLLRDNORM;
  if (no_more_out || room(c) >= ipc::write_room(c.slot->engine.tx_size))
    mask |= EPOLLOUT | EPOLLWRNORM;
  if (failed && !c.error_taken.load(std::memory_order_relaxed)) mask |= EPOLLERR;
  return mask;
}

bool want_write(Connection& c) noexcept {
  if ((readiness(c) & EPOLLOUT) != 0) return true;
  c.slot->app.wants_write.store(1);
  return (readiness(c) & EPOLLOUT) != 0;
}

std::size_t unread_bytes(const Connection& c) noexcept {
  const std::uint64_t n = c.slot->engine.rx_head.load(std::memory_order_seq_cst) -
                          c.slot->app.rx_tail.load(std::memory_order_relaxed);
  return n <= c.slot->engine.rx_size ? static_cast<std::size_t>(n) : 0;
}

std::size_t unacknowledged_bytes(const Connection& c) noexcept {
  const std::uint64_t n = c.slot->app.tx_head.load(std::memory_order_relaxed) -
                          c.slot->engine.tx_tail.load(std::memory_order_acquire);
  return n <= c.slot->engine.tx_size ? static_cast<std::size_t>(n) : 0;
}

int take_error(Connection& c) noexcept {
  if (!has_failed(c) || c.error_taken.exchange(true)) return 0;
  return c.slot->engine.error.load();
}

bool has_failed(const Connection& c) noexcept {
  return has_status(c, ipc::slot_status::kError);
}

}  // namespace snp::switch_
