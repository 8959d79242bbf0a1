// read, write, send, recv and their relatives.
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "snp/switch/clock.h"
#include "snp/switch/export.h"
#include "snp/switch/real.h"
#include "snp/switch/transfer.h"

namespace snp::switch_ {
namespace {

ssize_t receive_one(Connection& c, int fd, void* buffer, std::size_t length, int flags) noexcept {
  return finish<ssize_t>(receive(c, fd, buffer, length, flags));
}

ssize_t send_one(Connection& c, int fd, const void* buffer, std::size_t length,
                 int flags) noexcept {
  return finish<ssize_t>(send(c, fd, buffer, length, flags));
}

long receive_message(Connection& c, int fd, msghdr& message, int flags) noexcept {
  return receive(c, fd, {message.msg_iov, message.msg_iovlen}, flags, &message);
}

long send_message(Connection& c, int fd, const msghdr& message, int flags) noexcept {
  return send(c, fd, {message.msg_iov, message.msg_iovlen}, flags, &message);
}

// A descriptor that goes to another process: nobody knows what it will do with it.
void settle_passed(const msghdr& message) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr;
       c = CMSG_NXTHDR(const_cast<msghdr*>(&message), c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      __builtin_memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      settle_descriptor(fd, Why::kSharedDescriptor);
    }
  }
}

bool has_control(const msghdr* message) noexcept {
  return message != nullptr && message->msg_control != nullptr && message->msg_controllen != 0;
}

bool is_valid_count(int count) noexcept {
  return count >= 0 && count <= 1024;  // IOV_MAX
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

SNP_EXPORT ssize_t read(int fd, void* buffer, size_t length) {
  Connection* c = tracked(fd);
  if (c == nullptr) [[likely]]
    return real().read(fd, buffer, length);
  return length == 0 ? 0 : receive_one(*c, fd, buffer, length, 0);  // as sock_read_iter
}

SNP_EXPORT ssize_t write(int fd, const void* buffer, size_t length) {
  Connection* c = tracked(fd);
  if (c == nullptr) [[likely]]
    return real().write(fd, buffer, length);
  return send_one(*c, fd, buffer, length, 0);
}

SNP_EXPORT ssize_t readv(int fd, const iovec* pieces, int count) {
  Connection* c = tracked(fd);
  if (c == nullptr || !is_valid_count(count)) return real().readv(fd, pieces, count);
  const std::span<const iovec> all(pieces, static_cast<std::size_t>(count));
  std::size_t total = 0;
  for (const iovec& piece : all)
    total += piece.iov_len;
  return total == 0 ? 0 : finish<ssize_t>(receive(*c, fd, all, 0, nullptr));
}

SNP_EXPORT ssize_t writev(int fd, const iovec* pieces, int count) {
  Connection* c = tracked(fd);
  if (c == nullptr || !is_valid_count(count)) return real().writev(fd, pieces, count);
  const std::span<const iovec> all(pieces, static_cast<std::size_t>(count));
  return finish<ssize_t>(send(*c, fd, all, 0, nullptr));
}

SNP_EXPORT ssize_t recv(int fd, void* buffer, size_t length, int flags) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().recv(fd, buffer, length, flags);
  return receive_one(*c, fd, buffer, length, flags);
}

SNP_EXPORT ssize_t recvfrom(int fd, void* buffer, size_t length, int flags, sockaddr* address,
                            socklen_t* address_length) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().recvfrom(fd, buffer, length, flags, address, address_length);
  const ssize_t n = receive_one(*c, fd, buffer, length, flags);
  if (n >= 0 && address != nullptr && address_length != nullptr) *address_length = 0;
  return n;
}

SNP_EXPORT ssize_t recvmsg(int fd, msghdr* message, int flags) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().recvmsg(fd, message, flags);
  return finish<ssize_t>(receive_message(*c, fd, *message, flags));
}

SNP_EXPORT int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().recvmmsg(fd, messages, count, flags, timeout);
  const snp::Instant end =
      timeout == nullptr ? snp::kNever
                         : now() + snp::seconds(timeout->tv_sec) + snp::Duration(timeout->tv_nsec);
  int done = 0;
  for (unsigned i = 0; i < count && (timeout == nullptr || done == 0 || now() < end); ++i) {
    const int wait = done != 0 && (flags & MSG_WAITFORONE) != 0 ? MSG_DONTWAIT : 0;
    const long n = receive_message(*c, fd, messages[i].msg_hdr, (flags & ~MSG_WAITFORONE) | wait);
    if (n < 0) return done != 0 ? done : finish<int>(n);
    messages[i].msg_len = static_cast<unsigned>(n);
    ++done;
    if (n == 0) break;
  }
  return done;
}

SNP_EXPORT ssize_t send(int fd, const void* buffer, size_t length, int flags) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().send(fd, buffer, length, flags);
  return send_one(*c, fd, buffer, length, flags);
}

SNP_EXPORT ssize_t sendto(int fd, const void* buffer, size_t length, int flags,
                          const sockaddr* address, socklen_t address_length) {
  Connection* c = tracked(fd);
  if (c == nullptr) return real().sendto(fd, buffer, length, flags, address, address_length);
  return send_one(*c, fd, buffer, length, flags);
}

SNP_EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (has_control(message)) settle_passed(*message);
  Connection* c = tracked(fd);
  if (c == nullptr) return real().sendmsg(fd, message, flags);
  return finish<ssize_t>(send_message(*c, fd, *message, flags));
}

SNP_EXPORT int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  for (unsigned i = 0; i < count; ++i)
    if (has_control(&messages[i].msg_hdr)) settle_passed(messages[i].msg_hdr);
  Connection* c = tracked(fd);
  if (c == nullptr) return real().sendmmsg(fd, messages, count, flags);
  int done = 0;
  for (unsigned i = 0; i < count; ++i) {
    const long n = send_message(*c, fd, messages[i].msg_hdr, flags);
    if (n < 0) return done != 0 ? done : finish<int>(n);
    messages[i].msg_len = static_cast<unsigned>(n);
    ++done;
  }
  return done;
}

SNP_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t count) noexcept {
  Connection* c = tracked(out);
  if (c == nullptr) return real().sendfile(out, in, offset, count);
  long long position = offset != nullptr ? *offset : 0;
  const long n = send_file(*c, out, in, offset != nullptr ? &position : nullptr, count);
  if (offset != nullptr) *offset = position;
  return finish<ssize_t>(n);
}

SNP_EXPORT ssize_t sendfile64(int out, int in, off64_t* offset, size_t count) noexcept {
  static_assert(sizeof(off64_t) == sizeof(off_t));
  return sendfile(out, in, offset, count);
}

SNP_EXPORT ssize_t splice(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t length,
                          unsigned flags) {
  settle_descriptor(in, Why::kUnsupportedCall);
  settle_descriptor(out, Why::kUnsupportedCall);
  return real().splice(in, in_offset, out, out_offset, length, flags);
}

// The fortified variants of the headers: the same with the size of the buffer.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the C library's names
extern "C" [[noreturn]] void __chk_fail();

SNP_EXPORT ssize_t __read_chk(int fd, void* buffer, size_t length, size_t size) {
  if (length > size) __chk_fail();
  return read(fd, buffer, length);
}

SNP_EXPORT ssize_t __recv_chk(int fd, void* buffer, size_t length, size_t size, int flags) {
  if (length > size) __chk_fail();
  return recv(fd, buffer, length, flags);
}

SNP_EXPORT ssize_t __recvfrom_chk(int fd, void* buffer, size_t length, size_t size, int flags,
                                  sockaddr* address, socklen_t* address_length) {
  if (length > size) __chk_fail();
  return recvfrom(fd, buffer, length, flags, address, address_length);
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
