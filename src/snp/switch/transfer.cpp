#include "snp/switch/transfer.h"

#include <algorithm>
#include <csignal>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include "snp/switch/real.h"
#include "snp/switch/stream.h"
#include "snp/switch/wait.h"

namespace snp::switch_ {
namespace {

constexpr std::size_t kPiecesAtOnce = 64;

bool may_block(const Connection& c, int flags) noexcept {
  return !c.is_nonblocking.load(std::memory_order_relaxed) && (flags & MSG_DONTWAIT) == 0;
}

Duration limit_of(const std::atomic<std::int64_t>& timeout_ns) noexcept {
  const std::int64_t ns = timeout_ns.load(std::memory_order_relaxed);
  return ns == 0 ? kForever : Duration(ns);
}

long host_receive(int fd, const Buffers& buffers, int flags, msghdr* message) noexcept {
  flags |= MSG_DONTWAIT;
  if (message != nullptr) return sys(SYS_recvmsg, fd, message, flags);
  iovec space[kPiecesAtOnce];
  const auto rest = buffers.rest(space);
  if (rest.empty()) return sys(SYS_recvfrom, fd, nullptr, 0L, flags, nullptr, nullptr);
  if (rest.size() == 1)
    return sys(SYS_recvfrom, fd, rest[0].iov_base, rest[0].iov_len, flags, nullptr, nullptr);
  msghdr header{};
  header.msg_iov = const_cast<iovec*>(rest.data());
  header.msg_iovlen = rest.size();
  return sys(SYS_recvmsg, fd, &header, flags);
}

long host_send(int fd, const Buffers& buffers, int flags, const msghdr* message) noexcept {
  flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
  if (message != nullptr) return sys(SYS_sendmsg, fd, message, flags);
  iovec space[kPiecesAtOnce];
  const auto rest = buffers.rest(space);
  if (rest.empty()) return sys(SYS_sendto, fd, nullptr, 0L, flags, nullptr, 0);
  if (rest.size() == 1)
    return sys(SYS_sendto, fd, rest[0].iov_base, rest[0].iov_len, flags, nullptr, 0);
  msghdr header{};
  header.msg_iov = const_cast<iovec*>(rest.data());
  header.msg_iovlen = rest.size();
  return sys(SYS_sendmsg, fd, &header, flags);
}

// MSG_PEEK with a minimum: data is there, but not enough, so readiness cannot tell when to look
// again. Returns false when no more will come, or time is up.
bool wait_for_more_to_peek(Connection& c, int fd, Deadline& deadline,
                           SignalHold& signals) noexcept {
  pollfd poll{fd, POLLRDHUP, 0};
  const timespec nap{0, 1'000'000};
  const bool has_ended = [&] {
    const Pass pass(c, &signals);  // what the socket says while it moves is not true
    return pass.in_host() ? real().poll(&poll, 1, 0) > 0
                          : (readiness(c) & (EPOLLRDHUP | EPOLLERR)) != 0;
  }();
  return !has_ended && deadline.left() != Duration::zero() &&
         real().ppoll(nullptr, 0, &nap, signals.mask()) == 0;
}

// A call that has done a part of its work leaves an error to the next one (tcp_recvmsg,
// tcp_sendmsg).
bool has_error(Connection& c, int fd, SignalHold& signals) noexcept {
  const Pass pass(c, &signals);
  if (!pass.in_host()) return (readiness(c) & EPOLLERR) != 0;
  pollfd poll{fd, 0, 0};
  return real().poll(&poll, 1, 0) > 0 && (poll.revents & POLLERR) != 0;
}

// What recvmsg() leaves in the header when the rings served it: no ancillary data, no name.
void clear_ancillary(msghdr* message) noexcept {
  if (message == nullptr) return;
  message->msg_controllen = 0;
  message->msg_namelen = 0;
  message->msg_flags = 0;
}

// `signals`: nullptr when it will not block.
long receive_once(Connection& c, int fd, const Buffers& buffers, int flags, msghdr* message,
                  SignalHold* signals) noexcept {
  long n = 0;
  for (;;) {
    const Pass pass(c, signals);
    if (pass.in_host()) {
      n = host_receive(fd, buffers, flags, message);
      break;
    }
    n = ring_receive(c, buffers, flags);
    if (n >= 0) clear_ancillary(message);
    if (n != kMoved) return n;
  }
  if (n > 0) count_in(c, n);
  return n;
}

long send_once(Connection& c, int fd, const Buffers& buffers, int flags, const msghdr* message,
               SignalHold* signals) noexcept {
  long n = 0;
  for (;;) {
    const Pass pass(c, signals);
    if (pass.in_host()) {
      n = host_send(fd, buffers, flags, message);
      break;
    }
    n = ring_send(c, buffers);
    if (n != kMoved) return n;
  }
  if (n > 0) count_out(c, n);
  return n;
}

// As sk_stream_error: SIGPIPE goes to the calling thread.
long with_sigpipe(long result, int flags) noexcept {
  if (result == -EPIPE && (flags & MSG_NOSIGNAL) == 0) ::raise(SIGPIPE);
  return result;
}

std::atomic<bool>& are_timeouts_expected() noexcept {
  static constinit std::atomic<bool> expected{false};
  return expected;
}

}  // namespace

void expect_timeouts() noexcept {
  are_timeouts_expected().store(true, std::memory_order_relaxed);
}

void load_timeouts(Connection& c, int fd) noexcept {
  if (!are_timeouts_expected().load(std::memory_order_relaxed)) return c.timeouts_known.store(true);
  const auto read = [fd](int name) {
    timeval time{};
    socklen_t length = sizeof time;
    sys(SYS_getsockopt, fd, SOL_SOCKET, name, &time, &length);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + std::int64_t{time.tv_usec} * 1000;
  };
  c.receive_timeout_ns.store(read(SO_RCVTIMEO));
  c.send_timeout_ns.store(read(SO_SNDTIMEO));
  c.timeouts_known.store(true);
}

namespace {

// A blocking receive after its first try, which gave `n`.
long receive_on(Connection& c, int fd, Buffers& buffers, int flags, msghdr* message, long n,
                SignalHold& signals) noexcept {
  const std::size_t wanted = buffers.left();
  const std::size_t low_at = c.slot->app.receive_low_at.load(std::memory_order_relaxed);
  const std::size_t target =
      std::max<std::size_t>(1, (flags & MSG_WAITALL) != 0 ? wanted : std::min(low_at, wanted));
  if (!c.timeouts_known.load(std::memory_order_relaxed)) load_timeouts(c, fd);
  Deadline deadline(limit_of(c.receive_timeout_ns));
  long done = 0;
  for (;; n = receive_once(c, fd, buffers, flags, done == 0 ? message : nullptr, &signals)) {
    if (n > 0) {
      if ((flags & MSG_PEEK) != 0) {
        if (static_cast<std::size_t>(n) >= target ||
            !wait_for_more_to_peek(c, fd, deadline, signals))
          return n;
        continue;
      }
      done += n;
      if (static_cast<std::size_t>(done) >= target) return done;
      buffers.advance(static_cast<std::size_t>(n));
    } else {
      if (n != -EAGAIN) return done != 0 ? done : n;
      const int waited = wait_ready(c, fd, EPOLLIN, deadline, signals);
      if (waited != 0) return done != 0 ? done : waited;
    }
    if (done != 0 && has_error(c, fd, signals)) return done;
  }
}

// A send after its first try, which gave `n`.
long send_on(Connection& c, int fd, Buffers& buffers, int flags, const msghdr* message, long n,
             SignalHold& signals) noexcept {
  const bool blocks = may_block(c, flags);
  if (blocks && !c.timeouts_known.load(std::memory_order_relaxed)) load_timeouts(c, fd);
  Deadline deadline(limit_of(c.send_timeout_ns));
  long done = 0;
  for (;; n = send_once(c, fd, buffers, flags, done == 0 ? message : nullptr,
                        blocks ? &signals : nullptr)) {
    if (n >= 0) {
      done += n;
      buffers.advance(static_cast<std::size_t>(n));
      if (buffers.left() == 0 || !blocks) return done;
      continue;
    }
    if (n == -EAGAIN && blocks) {
      const int waited = wait_ready(c, fd, EPOLLOUT, deadline, signals);
      if (waited != 0) return done != 0 ? done : waited;
      if (done != 0 && has_error(c, fd, signals)) return done;
      continue;
    }
    return done != 0 ? done : with_sigpipe(n, flags);
  }
}

}  // namespace

long receive(Connection& c, int fd, std::span<const iovec> pieces, int flags,
             msghdr* message) noexcept {
  if ((flags & (MSG_OOB | MSG_ERRQUEUE)) != 0) {
    settle_in_host(c, Why::kUnsupportedCall);
    return host_receive(fd, Buffers(pieces), flags, message);
  }
  Buffers buffers(pieces);
  SignalHold signals;
  const bool blocks = may_block(c, flags);
  const long n = receive_once(c, fd, buffers, flags, message, blocks ? &signals : nullptr);
  return blocks ? receive_on(c, fd, buffers, flags, message, n, signals) : n;
}

long send(Connection& c, int fd, std::span<const iovec> pieces, int flags,
          const msghdr* message) noexcept {
  if ((flags & MSG_OOB) != 0) {
    settle_in_host(c, Why::kUnsupportedCall);
    return with_sigpipe(host_send(fd, Buffers(pieces), flags, message), flags);
  }
  Buffers buffers(pieces);
  SignalHold signals;
  const long n =
      send_once(c, fd, buffers, flags, message, may_block(c, flags) ? &signals : nullptr);
  return send_on(c, fd, buffers, flags, message, n, signals);
}

// While the host carries the connection, these two are all that a call costs.
long receive(Connection& c, int fd, void* buffer, std::size_t length, int flags) noexcept {
  const iovec piece{buffer, length};
  const std::span<const iovec> pieces(&piece, 1);
  if ((flags & (MSG_OOB | MSG_ERRQUEUE)) != 0) return receive(c, fd, pieces, flags, nullptr);
  long n = 0;
  bool in_host = false;
  SignalHold signals;
  const bool blocks = may_block(c, flags);
  do {
    const Pass pass(c, blocks ? &signals : nullptr);
    in_host = pass.in_host();
    n = in_host ? sys(SYS_recvfrom, fd, buffer, length, flags | MSG_DONTWAIT, nullptr, nullptr)
                : ring_receive(c, Buffers(pieces), flags);
  } while (n == kMoved);
  if (in_host && n > 0) count_in(c, n);
  if (!blocks) return n;
  if (n > 0 && (flags & (MSG_PEEK | MSG_WAITALL)) == 0 &&
      c.slot->app.receive_low_at.load(std::memory_order_relaxed) <= 1)
    return n;
  Buffers buffers(pieces);
  return receive_on(c, fd, buffers, flags, nullptr, n, signals);
}

long send(Connection& c, int fd, const void* buffer, std::size_t length, int flags) noexcept {
  const iovec piece{const_cast<void*>(buffer), length};
  const std::span<const iovec> pieces(&piece, 1);
  if ((flags & MSG_OOB) != 0) return send(c, fd, pieces, flags, nullptr);
  long n = 0;
  bool in_host = false;
  SignalHold signals;
  const bool blocks = may_block(c, flags);
  do {
    const Pass pass(c, blocks ? &signals : nullptr);
    in_host = pass.in_host();
    n = in_host
            ? sys(SYS_sendto, fd, buffer, length, flags | MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0)
            : ring_send(c, Buffers(pieces));
  } while (n == kMoved);
  if (in_host && n > 0) count_out(c, n);
  if (n >= 0 && static_cast<std::size_t>(n) == length) return n;
  Buffers buffers(pieces);
  return send_on(c, fd, buffers, flags, nullptr, n, signals);
}

namespace {

// A blocking sendfile must not sleep inside the gate and knows no MSG_DONTWAIT: read, then send.
long send_file_piece(Connection& c, int fd, int file, long long* offset,
                     std::size_t count) noexcept {
  constexpr std::size_t kPiece = 64 * 1024;
  std::byte buffer[kPiece];
  const std::size_t most = std::min(count, kPiece);
  const long long start = offset != nullptr ? *offset : sys(SYS_lseek, file, 0L, SEEK_CUR);
  if (start < 0) return -EINVAL;
  const long n = sys(SYS_pread64, file, buffer, most, start);
  if (n <= 0) return n;
  const iovec piece{buffer, static_cast<std::size_t>(n)};
  const long sent = send(c, fd, {&piece, 1}, 0, nullptr);
  if (sent <= 0) return sent;
  if (offset != nullptr)
    *offset += sent;
  else
    sys(SYS_lseek, file, start + sent, SEEK_SET);
  return sent;
}

long send_file_once(Connection& c, int fd, int file, long long* offset,
                    std::size_t count) noexcept {
  long n = 0;
  for (;;) {
    const Pass pass(c);
    if (pass.in_host()) {
      n = sys(SYS_sendfile, fd, file, offset, count);
      break;
    }
    n = ring_send_file(c, file, offset, count);
    if (n != kMoved) return n;
  }
  if (n > 0) count_out(c, n);
  return n;
}

}  // namespace

long send_file(Connection& c, int fd, int file, long long* offset, std::size_t count) noexcept {
  long done = 0;
  const bool blocks = may_block(c, 0);
  while (static_cast<std::size_t>(done) < count) {
    const std::size_t left = count - static_cast<std::size_t>(done);
    const long n = blocks ? send_file_piece(c, fd, file, offset, left)
                          : send_file_once(c, fd, file, offset, left);
    if (n < 0) return done != 0 ? done : with_sigpipe(n, blocks ? MSG_NOSIGNAL : 0);
    if (n == 0) break;
    done += n;
    if (!blocks && mode(c) == ipc::SlotMode::kInHost) break;
  }
  return done;
}

}  // namespace snp::switch_
