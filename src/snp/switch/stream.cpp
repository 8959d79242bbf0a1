#include "snp/switch/stream.h"

#include <algorithm>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "snp/ipc/pair_stream.h"
#include "snp/switch/local.h"

namespace snp::switch_ {
namespace {

// slot_status bits, whoever carries the connection.
std::uint32_t status_of(const Connection& c) noexcept {
  return is_local(c) ? local_status(c) : c.slot->engine.status.load(std::memory_order_acquire);
}
bool has_flag(const Connection& c, std::uint32_t bit) noexcept {
  return (c.slot->app.flags.load(std::memory_order_relaxed) & bit) != 0;
}

// Our word moves by `n`. False: frozen, and nothing has happened.
bool move(const Connection& c, std::atomic<std::uint64_t>& word, std::uint64_t from,
          std::uint64_t n) noexcept {
  if (is_local(c)) return ipc::commit(word, from, n);
  word.store(from + n, std::memory_order_release);
  return true;
}

// The word did not move. Whatever it is, the next pass through the gate shows it.
long gone_or_broken(Connection& c) noexcept {
  static_cast<void>(must_pass_again(c));
  return kMoved;
}

// The shard learns of room when the window would open by a good part, not after each byte.
void tell_window(Connection& c, std::uint64_t tail, std::uint64_t unread_before) noexcept {
  const std::uint32_t size =
      ipc::usable(c.slot->buffers.rx_limit.load(std::memory_order_relaxed), c.ends.rx.size);
  if (tail - c.window_told < size / 4 && unread_before <= size / 2) return;
  c.window_told = tail;
  ring_shard(*c.session, *c.slot, c.slot_id);
}

// Nothing is left to read: why? As tcp_recvmsg: the end of file if there was one, else the error
// once, then end of file.
long at_end(Connection& c, std::uint32_t status) noexcept {
  if ((status & ipc::slot_status::kPeerClosed) != 0) return 0;
  if ((status & ipc::slot_status::kError) != 0) return -take_error(c);
  return has_flag(c, ipc::slot_flag::kShutdownRead) ? 0 : -EAGAIN;
}

// How much may lie in the transmit ring.
std::uint32_t limit(const Connection& c) noexcept {
  return is_local(c) ? local_limit(c)
                     : ipc::usable(c.slot->buffers.tx_limit.load(), c.ends.tx.size);
}

// How much must be free for a writer to be told.
std::uint32_t room_to_tell(const Connection& c) noexcept {
  return ipc::write_room(limit(c), is_local(c) ? 0 : c.slot->facts.options.notsent_lowat);
}

std::uint32_t room_before(const Connection& c, std::uint64_t tail) noexcept {
  const auto used =
      ipc::bytes_between(tail, c.ends.tx_head->load(std::memory_order_relaxed), c.ends.tx.size);
  const std::uint32_t most = limit(c);
  return used.has_value() && *used < most ? most - *used : 0;
}

std::uint32_t room(const Connection& c) noexcept {
  return room_before(c, c.ends.tx_tail->load());
}

void ask_for_room(const Connection& c) noexcept {
  c.ends.wants_write->store(1 + limit(c) - room_to_tell(c));
}

// As sk_stream_error: a pending error once, then EPIPE. Caller raises SIGPIPE for EPIPE.
long send_error(Connection& c) noexcept {
  const int error = take_error(c);
  return error != 0 ? -error : -EPIPE;
}

bool cannot_send(const Connection& c) noexcept {
  return (status_of(c) & ipc::slot_status::kError) != 0 ||
         has_flag(c, ipc::slot_flag::kShutdownWrite);
}

// Room for a writer that is about to put `wanted` bytes there; 0 after having asked to be told.
std::size_t claim_room(Connection& c, std::size_t wanted) noexcept {
  std::atomic<std::uint32_t>& wants = *c.ends.wants_write;
  const bool is_awaited = wants.load(std::memory_order_relaxed) != 0;
  std::uint32_t free = room_before(c, c.tx_tail_seen);
  if (free >= wanted && !is_awaited) return free;
  c.tx_tail_seen = ipc::position_of(c.ends.tx_tail->load());
  free = room_before(c, c.tx_tail_seen);
  if (free == 0) {
    ask_for_room(c);
    free = room(c);
  }
  // Others may wait for the same room; the wish is one for all, so who takes it back tells them.
  if (free >= room_to_tell(c) && wants.load(std::memory_order_relaxed) != 0 &&
      wants.exchange(0) != 0)
    mark_watchers(*c.session, *c.slot, c.slot_id);
  return free;
}

// Could a writer put in what it wanted?
void note_fit(Connection& c, std::size_t length, std::size_t wanted) noexcept {
  const bool wants_more = length < wanted;
  if (c.wants_more.load(std::memory_order_relaxed) != wants_more)
    c.wants_more.store(wants_more, std::memory_order_relaxed);
  if (length == 0 && is_local(c)) note_stall(c);
}

// A write that took a part only is told of room as one that took nothing (SOCK_NOSPACE).
void wait_for_the_rest(Connection& c) noexcept {
  ask_for_room(c);
  if (room(c) >= room_to_tell(c) && c.ends.wants_write->exchange(0) != 0)
    mark_watchers(*c.session, *c.slot, c.slot_id);
}

// `n` bytes more stand in the ring, of so many wanted: `n`, or kMoved.
long publish(Connection& c, std::uint64_t head, std::size_t n, std::size_t wanted) noexcept {
  if (!move(c, *c.ends.tx_head, head, n)) return gone_or_broken(c);
  if (is_local(c))
    after_local_write(c);
  else
    ring_shard(*c.session, *c.slot, c.slot_id);
  if (n < wanted) wait_for_the_rest(c);
  return static_cast<long>(n);
}

long take_out(Connection& c, std::uint64_t tail, std::uint32_t unread, std::size_t n) noexcept {
  if (!move(c, *c.ends.rx_tail, tail, n)) return gone_or_broken(c);
  if (is_local(c))
    after_local_read(c, unread - static_cast<std::uint32_t>(n));
  else
    tell_window(c, tail + n, unread);
  return static_cast<long>(n);
}

}  // namespace

long ring_receive(Connection& c, const Buffers& buffers, int flags) noexcept {
  const Guard guard(c.read_lock);
  // The status before the positions: it was stored after the last byte.
  const std::uint32_t status = status_of(c);
  const std::uint64_t tail = c.ends.rx_tail->load(std::memory_order_relaxed);
  const auto there = unread(c);
  if (!there.has_value()) fail_local(c);
  if (c.is_broken.load(std::memory_order_relaxed)) [[unlikely]]
    return -take_error(c);
  if (*there == 0) return at_end(c, status);
  const std::size_t length = std::min<std::size_t>(*there, buffers.left());
  if ((flags & MSG_TRUNC) == 0) {
    const StreamRing& ring = c.ends.rx;
    Buffers out = buffers;
    for (std::uint64_t pos = tail; pos != tail + length;) {
      const auto piece =
          out.front().first(std::min<std::size_t>(out.front().size(), tail + length - pos));
      ring.copy_out(pos, piece);
      pos += piece.size();
      out.advance(piece.size());
    }
  }
  if ((flags & MSG_PEEK) != 0 || length == 0) return static_cast<long>(length);
  return take_out(c, tail, *there, length);
}

long ring_send(Connection& c, const Buffers& buffers) noexcept {
  const Guard guard(c.write_lock);
  if (cannot_send(c)) [[unlikely]]
    return send_error(c);
  if (buffers.left() == 0) return 0;
  const std::size_t length = std::min(claim_room(c, buffers.left()), buffers.left());
  note_fit(c, length, buffers.left());
  if (length == 0) return -EAGAIN;
  if (is_local(c) && draws_reset(c)) return static_cast<long>(length);
  const std::uint64_t head = c.ends.tx_head->load(std::memory_order_relaxed);
  Buffers in = buffers;
  for (std::uint64_t pos = head; pos != head + length;) {
    const auto piece =
        in.front().first(std::min<std::size_t>(in.front().size(), head + length - pos));
    c.ends.tx.copy_in(pos, piece);
    pos += piece.size();
    in.advance(piece.size());
  }
  return publish(c, head, length, buffers.left());
}

long ring_send_file(Connection& c, int file, long long* offset, std::size_t count) noexcept {
  constexpr std::uint32_t kMostAtOnce = 256 * 1024;  // the gate must not stay shut for long
  const Guard guard(c.write_lock);
  if (cannot_send(c)) return send_error(c);
  if (count == 0) return 0;
  const std::size_t wanted = std::min<std::size_t>(count, kMostAtOnce);
  const std::size_t length = std::min(claim_room(c, wanted), wanted);
  note_fit(c, length, wanted);
  if (length == 0) return -EAGAIN;
  const std::uint64_t head = c.ends.tx_head->load(std::memory_order_relaxed);
  const auto [a, b] = c.ends.tx.pieces(head, static_cast<std::uint32_t>(length));
  const iovec pieces[2] = {{a.data(), a.size()}, {b.data(), b.size()}};
  const int used = b.empty() ? 1 : 2;
  const long n = offset != nullptr ? sys(SYS_preadv, file, pieces, used, *offset, 0L)
                                   : sys(SYS_readv, file, pieces, used);
  if (n <= 0) return n;
  const long result =
      publish(c, head, static_cast<std::size_t>(n), n == static_cast<long>(length) ? wanted : 0);
  if (result < 0 && offset == nullptr) sys(SYS_lseek, file, -n, SEEK_CUR);
  if (result > 0 && offset != nullptr) *offset += n;
  return result;
}

namespace {

std::size_t low_water(const Connection& c) noexcept {
  const std::uint32_t most =
      is_local(c)
          ? c.ends.rx.size
          : ipc::usable(c.slot->buffers.rx_limit.load(std::memory_order_relaxed), c.ends.rx.size);
  return std::min(c.slot->app.receive_low_at.load(std::memory_order_relaxed),
                  std::max(1u, most / 2));
}

std::uint32_t judge(const Connection& c) noexcept {
  const std::uint32_t status = status_of(c);
  const std::uint32_t flags = c.slot->app.flags.load(std::memory_order_relaxed);
  const auto there = unread(c);
  const bool failed = (status & ipc::slot_status::kError) != 0 || !there.has_value();
  const bool no_more_in = failed || (status & ipc::slot_status::kPeerClosed) != 0 ||
                          (flags & ipc::slot_flag::kShutdownRead) != 0;
  const bool no_more_out = failed || (flags & ipc::slot_flag::kShutdownWrite) != 0;
  std::uint32_t mask = 0;
  if (no_more_in && no_more_out) mask |= EPOLLHUP;
  if (no_more_in) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (there.value_or(0) >= low_water(c)) mask |= EPOLLIN | EPOLLRDNORM;
  if (no_more_out || room(c) >= room_to_tell(c)) mask |= EPOLLOUT | EPOLLWRNORM;
  if (failed && !c.error_taken.load(std::memory_order_relaxed)) mask |= EPOLLERR;
  return mask;
}

}  // namespace

Look look(Connection& c) noexcept {
  const std::uint32_t word = mode_word(c);
  if (ipc::mode_of(word) != ipc::SlotMode::kOffloaded) return {};
  if (c.ends.word.load(std::memory_order_acquire) != word) [[unlikely]] {
    if (!PassAt(c, word).is_inside()) return {};
  }
  Look seen;
  seen.news = c.news.load();
  seen.status = status_of(c);
  seen.arrived = ipc::position_of(c.ends.rx_head->load());
  seen.ready = judge(c);
  std::atomic_thread_fence(std::memory_order_acquire);
  return mode_word(c) == word ? seen : Look{};
}

std::uint32_t readiness(Connection& c) noexcept {
  return look(c).ready;
}

bool tells_reader(const Connection& c) noexcept {
  return (status_of(c) & ipc::slot_status::kPeerClosed) != 0 ||
         unread(c).value_or(0) >= low_water(c);
}

bool want_write(Connection& c) noexcept {
  const std::uint32_t word = mode_word(c);
  const PassAt pass(c, word);
  if (!pass.is_inside()) return false;
  if ((judge(c) & EPOLLOUT) != 0) return true;
  ask_for_room(c);
  return (judge(c) & EPOLLOUT) != 0;
}

std::optional<std::uint32_t> unread(const Connection& c) noexcept {
  return ipc::bytes_between(c.ends.rx_tail->load(std::memory_order_relaxed), c.ends.rx_head->load(),
                            c.ends.rx.size);
}

std::size_t unacknowledged_bytes(const Connection& c) noexcept {
  if (is_local(c)) return 0;  // what is written has arrived
  return ipc::bytes_between(c.ends.tx_tail->load(), c.ends.tx_head->load(), c.ends.tx.size)
      .value_or(0);
}

std::size_t unsent_bytes(const Connection& c) noexcept {
  if (is_local(c)) return 0;
  const std::size_t queued = unacknowledged_bytes(c);
  const std::uint64_t unsent =
      c.ends.tx_head->load() - c.slot->life.sent.load(std::memory_order_relaxed);
  return std::min<std::uint64_t>(queued, unsent);
}

int take_error(Connection& c) noexcept {
  if (!has_failed(c) || c.error_taken.exchange(true)) return 0;
  return is_local(c) ? local_error(c) : c.slot->engine.error.load();
}

bool has_failed(const Connection& c) noexcept {
  return (status_of(c) & ipc::slot_status::kError) != 0;
}

}  // namespace snp::switch_
