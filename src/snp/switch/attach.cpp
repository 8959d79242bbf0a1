#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "snp/ipc/control_protocol.h"
#include "snp/ipc/shared_memory.h"
#include "snp/switch/clock.h"
#include "snp/switch/fork.h"
#include "snp/switch/memory.h"
#include "snp/switch/pairs.h"
#include "snp/switch/real.h"
#include "snp/switch/session.h"
#include "snp/switch/table.h"

namespace snp::switch_ {
namespace {

constexpr Duration kRetryAfter = seconds(1);  // between two attempts to find snpd
constexpr Duration kLookAfter = milliseconds(100);
constexpr int kMaxFdsOfAttached = 3 + static_cast<int>(ipc::kMaxShards);

struct Attachment {
  Lock lock;
  std::atomic<Session*> session{nullptr};
  std::atomic<Instant::rep> next_try{0};
  std::atomic<Instant::rep> next_look{0};
};

Attachment& attachment() noexcept {
  static constinit Attachment a{};
  return a;
}

Instant::rep ticks(Instant t) noexcept {
  return t.time_since_epoch().count();
}

int connect_to_snpd() noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const char* name = ::secure_getenv("SNP_CONTROL_SOCKET");
  if (name == nullptr || *name == 0) name = ipc::kControlSocketName;
  const std::size_t length = std::min(std::strlen(name), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name, length);
  const long fd = sys(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const auto address_length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  const timeval patience{2, 0};
  ucred peer{};
  socklen_t peer_length = sizeof peer;
  const bool good =
      sys(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
      sys(SYS_connect, fd, &address, address_length) == 0 &&
      sys(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) == 0 &&
      (peer.uid == 0 || peer.uid == ::geteuid());  // an impostor could read all our data
  if (good) return static_cast<int>(fd);
  sys(SYS_close, fd);
  return -1;
}

struct Received {
  ipc::Attached attached;
  int fds[kMaxFdsOfAttached];
  int fd_count = 0;
};

bool receive_attached(int control, Received& received) noexcept {
  iovec iov{&received.attached, sizeof received.attached};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof received.fds)];
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  const long n = sys(SYS_recvmsg, control, &message, MSG_CMSG_CLOEXEC);
  if (n >= 0) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t bytes = c->cmsg_len - CMSG_LEN(0);
      received.fd_count = static_cast<int>(bytes / sizeof(int));
      std::memcpy(received.fds, CMSG_DATA(c), bytes);
    }
  }
  const ipc::Attached& attached = received.attached;
  return n == sizeof attached && attached.header.magic == ipc::kProtocolMagic &&
         attached.header.kind == ipc::MessageKind::kAttached && attached.shards >= 1 &&
         attached.shards <= ipc::kMaxShards && attached.arena_size >= ipc::kRingsOffset &&
         received.fd_count == 3 + static_cast<int>(attached.shards);
}

bool send_attach(int control) noexcept {
  ipc::Attach attach;
  attach.arena_version = ipc::kArenaVersion;
  attach.pid = static_cast<std::uint32_t>(::getpid());
  const char* program = program_invocation_short_name;
  std::memcpy(attach.program.data(), program,
              std::min(std::strlen(program), attach.program.size() - 1));
  return sys(SYS_sendto, control, &attach, sizeof attach, MSG_NOSIGNAL, nullptr, 0) ==
         sizeof attach;
}

// Maps what came with Attached. Takes fds[0] and [1] in any case.
bool map_session(Session& session, Received& received) noexcept {
  auto arena =
      ipc::SharedMemory::map(UniqueFd(received.fds[0]), received.attached.arena_size, true);
  auto bulletin = ipc::SharedMemory::map(UniqueFd(received.fds[1]), sizeof(ipc::Bulletin), false);
  if (!arena || !bulletin) return false;
  const auto& header = arena->at<ipc::ArenaHeader>(0);
  const auto& board = bulletin->at<ipc::Bulletin>(0);
  if (header.magic != ipc::kArenaMagic || header.version != ipc::kArenaVersion) return false;
  if (board.magic != ipc::kArenaMagic || board.version != ipc::kArenaVersion) return false;
  // A session is never unmapped, so its owners are never destroyed; only the descriptors go.
  auto* kept_arena = new (session.arena_owner) ipc::SharedMemory(std::move(*arena));
  auto* kept_bulletin = new (session.bulletin_owner) ipc::SharedMemory(std::move(*bulletin));
  sys(SYS_close, kept_arena->fd());
  sys(SYS_close, kept_bulletin->fd());
  session.base = kept_arena->data();
  session.size = received.attached.arena_size;
  session.bulletin = &kept_bulletin->at<ipc::Bulletin>(0);
  session.slots = &kept_arena->at<ipc::Slot>(ipc::kSlotsOffset);
  session.wait_sets = &kept_arena->at<ipc::WaitSet>(ipc::kWaitSetsOffset);
  session.doorbells = &kept_arena->at<ipc::Doorbells>(ipc::kDoorbellsOffset);
  session.origins = &kept_arena->at<ipc::OriginRow>(ipc::kOriginsOffset);
  return true;
}

Session* open_session() noexcept {
  const int control = connect_to_snpd();
  if (control < 0) return nullptr;
  Received received;
  auto* session = static_cast<Session*>(map_pages(sizeof(Session)));
  if (session == nullptr || !send_attach(control) || !receive_attached(control, received)) {
    for (int i = 0; i < received.fd_count; ++i)
      sys(SYS_close, received.fds[i]);
    sys(SYS_close, control);
    return nullptr;
  }
  new (session) Session;
  const bool mapped = map_session(*session, received);
  for (int i = 2; !mapped && i < received.fd_count; ++i)
    sys(SYS_close, received.fds[i]);
  if (!mapped) {
    sys(SYS_close, control);
    return nullptr;
  }
  session->control = keep_internal(control);
  session->control_bell = keep_internal(received.fds[2]);
  session->shards = received.attached.shards;
  for (std::uint32_t i = 0; i < session->shards; ++i)
    session->shard_bells[i] = keep_internal(received.fds[3 + i]);
  session->wait_set_ids[0] = 1;  // id 0 means "none"
  session->fork_epoch = fork_epoch();
  return session;
}

}  // namespace

// Programs close "all" low descriptors or expect the lowest number from open: ours go high up, and
// the table protects them.
int keep_internal(int fd) noexcept {
  if (fd < 0) return fd;
  rlimit limit{};
  int floor = 512;
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    floor = static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 2, kMaxFds / 2));
  const long high = sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor);
  if (high >= 0) {
    sys(SYS_close, fd);
    fd = static_cast<int>(high);
  }
  set_entry(fd, EntryKind::kInternal);
  return fd;
}

void close_internal(int fd) noexcept {
  if (fd < 0) return;
  clear_entry(fd);
  sys(SYS_close, fd);
}

bool is_lost(Session& session) noexcept {
  if (session.lost.load(std::memory_order_relaxed)) return true;
  pollfd poll{session.control, POLLRDHUP, 0};
  const timespec at_once{};
  if (sys(SYS_ppoll, &poll, 1, &at_once, nullptr, 0) > 0 && poll.revents != 0) mark_lost(session);
  return session.lost.load(std::memory_order_relaxed);
}

void mark_lost(Session& session) noexcept {
  if (session.lost.load(std::memory_order_relaxed)) return;
  session.lost_at.store(ticks(now()));
  session.lost.store(true);
}

Session* current_session() noexcept {
  Attachment& a = attachment();
  Session* session = a.session.load(std::memory_order_acquire);
  if (session == nullptr || session->lost.load(std::memory_order_relaxed)) return nullptr;
  const Instant t = coarse_now();
  if (ticks(t) >= a.next_look.load(std::memory_order_relaxed)) {
    a.next_look.store(ticks(t + kLookAfter), std::memory_order_relaxed);
    read_control(*session);
    if (session->lost.load(std::memory_order_relaxed)) return nullptr;
  }
  return session;
}

Session* attach() noexcept {
  if (Session* session = current_session(); session != nullptr) [[likely]]
    return session;
  Attachment& a = attachment();
  if (ticks(coarse_now()) < a.next_try.load(std::memory_order_relaxed)) return nullptr;
  const Guard guard(a.lock);
  if (Session* session = current_session(); session != nullptr) return session;
  if (ticks(coarse_now()) < a.next_try.load(std::memory_order_relaxed)) return nullptr;
  const int saved = errno;
  watch_forks();
  Session* session = open_session();
  errno = saved;
  if (session == nullptr) {
    a.next_try.store(ticks(coarse_now() + kRetryAfter), std::memory_order_relaxed);
    return nullptr;
  }
  Session* old = a.session.exchange(session, std::memory_order_acq_rel);
  if (old != nullptr && old->fork_epoch == fork_epoch()) {
    close_internal(old->control);
    old->control = -1;
  }
  return session;
}

void forget_session() noexcept {
  attachment().lock.reset();
  attachment().session.store(nullptr, std::memory_order_relaxed);
  attachment().next_try.store(0, std::memory_order_relaxed);
}

void write_bell(int eventfd) noexcept {
  const std::uint64_t one = 1;
  sys(SYS_write, eventfd, &one, sizeof one);
}

}  // namespace snp::switch_
