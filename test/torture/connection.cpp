#include "test/torture/connection.h"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test/bench/peer.h"

namespace snp::torture {
namespace {

constexpr std::size_t kLargestCall = 64 * 1024;
constexpr std::uint64_t kBurstBytes = 512 * 1024;
constexpr std::uint64_t kLongestNap = 60'000'000;  // ns; far below what counts as a stall

}  // namespace

Connection::Connection(int fd, std::uint32_t id, bool listening, std::uint64_t seed,
                       double bytes_per_second)
    : fd_(fd),
      id_(id),
      seed_(seed),
      ns_per_byte_(1e9 / bytes_per_second),
      out_(seed, id, listening ? 1 : 0),
      in_(seed, id, listening ? 0 : 1),
      send_dice_(seed + 2 * id + (listening ? 1 : 0)),
      receive_dice_(~seed + 2 * id + (listening ? 1 : 0)),
      room_(kLargestCall),
      content_at_(peer::now_ns()) {}

std::string Connection::name() const {
  return "connection " + std::to_string(id_) + " (descriptor " + std::to_string(fd_) + ", seed " +
         std::to_string(seed_) + ")";
}

void Connection::make_pending() {
  const std::uint64_t kind = send_dice_.below(10);
  const std::size_t most = kind < 2 ? 16 : kind < 6 ? 1500 : kLargestCall;
  pending_.resize(1 + send_dice_.below(most));
  pending_from_ = 0;
  out_.fill(pending_);
}

Step Connection::send_step(std::uint64_t now) {
  if (sent_all_) return Step::kDone;
  if (now < send_at_) return Step::kPaused;
  if (pending_from_ == pending_.size()) {
    if (stopping_.load(std::memory_order_relaxed)) {
      if (shutdown(fd_, SHUT_WR) != 0) peer::fail(name() + ": shutdown");
      sent_all_ = true;
      return Step::kDone;
    }
    make_pending();
    if (burst_left_ == 0 && send_dice_.below(200) == 0) burst_left_ = kBurstBytes;
  }
  const auto sent = call_send(std::span(pending_).subspan(pending_from_));
  if (sent < 0) {
    if (errno == EAGAIN || errno == EINTR) return Step::kBlocked;
    peer::fail(name() + ": send after " + std::to_string(sent_) + " bytes");
  }
  const auto moved = static_cast<std::uint64_t>(sent);
  pending_from_ += moved;
  sent_ += moved;
  // A burst is not paid back: a long silence after it would look like a stall.
  if (burst_left_ > 0) {
    burst_left_ -= std::min(burst_left_, moved);
  } else {
    const auto nap = static_cast<std::uint64_t>(static_cast<double>(moved) * ns_per_byte_);
    send_at_ = now + std::min(nap, kLongestNap);
  }
  return Step::kMoved;
}

ssize_t Connection::call_send(std::span<const std::byte> bytes) {
  switch (send_dice_.below(4)) {
    case 0:
      return write(fd_, bytes.data(), bytes.size());
    case 1:
      return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    case 2: {
      const std::size_t first = send_dice_.below(bytes.size());
      auto* base = const_cast<std::byte*>(bytes.data());
      const std::array<iovec, 2> parts{{{base, first}, {base + first, bytes.size() - first}}};
      return writev(fd_, parts.data(), 2);
    }
    default: {
      iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      return sendmsg(fd_, &message, MSG_NOSIGNAL);
    }
  }
}

Step Connection::receive_step(std::uint64_t now) {
  if (is_received()) return Step::kDone;
  if (now < receive_at_) return Step::kPaused;
  const std::size_t most = receive_dice_.below(4) == 0 ? 100 : kLargestCall;
  const auto room = std::span(room_).first(
      std::max<std::size_t>(1 + receive_dice_.below(most), static_cast<std::size_t>(peeked_)));
  const auto got = call_receive(room);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return Step::kBlocked;
    peer::fail(name() + ": receive after " + std::to_string(received_) + " bytes");
  }
  content_at_.store(now, std::memory_order_relaxed);
  if (got == 0) {
    if (peeked_ != 0) peer::fail(name() + ": peeked bytes vanished before the end of file");
    received_all_.store(true, std::memory_order_relaxed);
    return Step::kDone;
  }
  if (receive_dice_.below(500) == 0) {  // let the queues fill
    receive_at_ = now + receive_dice_.below(kLongestNap);
    content_at_.store(receive_at_, std::memory_order_relaxed);
  }
  return Step::kMoved;
}

ssize_t Connection::call_receive(std::span<std::byte> room) {
  ssize_t got = 0;
  const std::uint64_t kind = receive_dice_.below(8);
  if (kind == 0 && peeked_ == 0) {
    // A peek takes nothing: the same bytes must come again with the next call.
    got = recv(fd_, room.data(), room.size(), MSG_PEEK);
    if (got > 0) {
      Stream ahead = in_;
      if (ahead.match(room.first(static_cast<std::size_t>(got))) != static_cast<std::size_t>(got)) {
        errno = 0;
        peer::fail(name() + ": wrong byte in a peek behind " + std::to_string(received_));
      }
      peeked_ = static_cast<std::uint64_t>(got);
    }
    return got;
  }
  if (kind < 3) {
    got = read(fd_, room.data(), room.size());
  } else if (kind < 6) {
    got = recv(fd_, room.data(), room.size(), 0);
  } else {
    const std::size_t first = room.size() / 2;
    const std::array<iovec, 2> parts{
        {{room.data(), first}, {room.data() + first, room.size() - first}}};
    got = readv(fd_, parts.data(), 2);
  }
  if (got > 0) check(room.first(static_cast<std::size_t>(got)));
  return got;
}

void Connection::check(std::span<const std::byte> bytes) {
  errno = 0;
  if (bytes.size() < peeked_) peer::fail(name() + ": a read gave less than was peeked");
  peeked_ = 0;
  const std::size_t good = in_.match(bytes);
  if (good != bytes.size())
    peer::fail(name() + ": byte " + std::to_string(received_ + good) + " of the stream is wrong");
  received_ += bytes.size();
}

}  // namespace snp::torture
