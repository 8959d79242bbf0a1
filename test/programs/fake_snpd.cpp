#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "snp/base/assert.h"
#include "snp/ipc/control_protocol.h"
#include "snp/ipc/slot_bitmap.h"
#include "snp/ipc/slot_gate.h"
#include "snp/state/stream_ring.h"

#include "test/programs/fake_session.h"

namespace snp::test {
namespace {

int poll_now(int fd, short events) {
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, 0) > 0 ? p.revents : 0;
}

}  // namespace

FakeSnpd::FakeSnpd(FakeSnpdConfig config)
    : config_(std::move(config)), random_(config_.seed), scratch_(config_.ring_bytes) {
  auto bulletin = ipc::SharedMemory::create("fake-bulletin", sizeof(ipc::Bulletin));
  SNP_ASSERT(bulletin.has_value());
  bulletin_ = std::move(*bulletin);
  auto* board = new (bulletin_.data()) ipc::Bulletin;
  board->chimney.store(ipc::ChimneyMode::kEnabled);
  board->spin_us.store(config_.spin_us);
  board->local_spin_us.store(config_.spin_us);
  listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, config_.control_name.data(), config_.control_name.size());
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + config_.control_name.size());
  SNP_ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  SNP_ASSERT(::listen(listener_.get(), 64) == 0);
  thread_ = std::thread([this] { run(); });
}

FakeSnpd::~FakeSnpd() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

void FakeSnpd::vanish() {
  leaves_connections_.store(true);
  stop_.store(true);
  thread_.join();
  listener_.reset();
  for (const auto& session : sessions_)
    session->control.reset();
}

void FakeSnpd::run() {
  while (!stop_.load()) {
    turn();
    auto& board = bulletin_.at<ipc::Bulletin>(0);
    board.shard[0].sleeping.store(++sleeps_);
    board.control.sleeping.store(1);
    std::vector<pollfd> polls{{listener_.get(), POLLIN, 0}};
    for (const auto& s : sessions_) {
      polls.push_back({s->is_gone ? -1 : s->control.get(), POLLIN, 0});
      polls.push_back({s->control_bell.get(), POLLIN, 0});
      polls.push_back({s->shard_bell.get(), POLLIN, 0});
      for (const auto& [id, flow] : s->flows)
        polls.push_back({flow->socket.get(), POLLIN | POLLRDHUP, 0});
    }
    const bool is_rung = std::any_of(sessions_.begin(), sessions_.end(), [](const auto& s) {
      return s->doorbells != nullptr &&
             (!ipc::is_empty(s->doorbells->shard[0]) || !ipc::is_empty(s->doorbells->control));
    });
    // Unread bytes keep a socket readable: look at it once in a while instead of at once.
    if (!is_rung && ::poll(polls.data(), polls.size(), 1) > 0) {
      const bool only_flows = std::all_of(polls.begin(), polls.end(), [](const pollfd& p) {
        return p.revents == 0 || (p.events & POLLRDHUP) != 0;
      });
      if (only_flows) ::usleep(20);
    }
    board.shard[0].sleeping.store(0);
    board.control.sleeping.store(0);
  }
  if (leaves_connections_.load()) return;
  for (const auto& s : sessions_)
    for (const auto& [id, flow] : s->flows)
      ipc::set_mode(*flow->slot, ipc::SlotMode::kInHost);
}

void FakeSnpd::turn() {
  accept_session();
  for (const auto& session : sessions_) {
    Session& s = *session;
    while (!s.is_gone && serve_control(s)) {
    }
    if (s.doorbells == nullptr) continue;
    std::uint64_t count = 0;
    static_cast<void>(::read(s.control_bell.get(), &count, sizeof count));
    static_cast<void>(::read(s.shard_bell.get(), &count, sizeof count));
    ipc::drain(s.doorbells->shard[0], [](ipc::SlotId) {});
    look_at_requests(s);
    if (config_.moves_at_random && !s.is_gone) move_at_random(s);
    for (auto it = s.flows.begin(); it != s.flows.end();) {
      if (pump(s, *it->second)) {
        ++it;
        continue;
      }
      s.free_rings.push_back(it->second->slot->engine.rx_ring);
      s.free_rings.push_back(it->second->slot->engine.tx_ring);
      it = s.flows.erase(it);
    }
    wake(s);
  }
  serve_all_local();
  for (const auto& s : sessions_)
    wake(*s);
  std::erase_if(sessions_, [this](const auto& s) {
    return s->is_gone && s->flows.empty() && !is_in_pair(*s);
  });
}

void FakeSnpd::accept_session() {
  const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  auto session = std::make_unique<Session>();
  session->control.reset(fd);
  sessions_.push_back(std::move(session));
}

bool FakeSnpd::serve_control(Session& session) {
  std::byte message[512];
  iovec iov{message, sizeof message};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  const ssize_t n = ::recvmsg(session.control.get(), &header, MSG_CMSG_CLOEXEC);
  if (n < 0) return false;
  if (n == 0) {
    session.is_gone = true;
    return false;
  }
  ipc::MessageHeader kind;
  std::memcpy(&kind, message, sizeof kind);
  if (kind.kind == ipc::MessageKind::kAttach) attach(session);
  if (kind.kind == ipc::MessageKind::kWaitSet) {
    ipc::WaitSetMessage set;
    std::memcpy(&set, message, sizeof set);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
    session.wait_set_fds[set.wait_set] = UniqueFd(fd);
    const std::uint64_t one = 1;  // it may sleep already, and a wake-up have found no descriptor
    static_cast<void>(::write(fd, &one, sizeof one));
  }
  if (kind.kind == ipc::MessageKind::kLane) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
    pass_lane_on(session, message, fd);
  }
  return true;
}

void FakeSnpd::attach(Session& session) {
  ucred peer{};
  socklen_t length = sizeof peer;
  ::getsockopt(session.control.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length);
  session.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  auto arena = ipc::SharedMemory::create("fake-arena", kArenaSize);
  SNP_ASSERT(arena.has_value());
  session.arena = std::move(*arena);
  new (session.arena.data())
      ipc::ArenaHeader{ipc::kArenaMagic, ipc::kArenaVersion, kArenaSize, 1, 0};
  session.slots = &session.arena.at<ipc::Slot>(ipc::kSlotsOffset);
  session.wait_sets = &session.arena.at<ipc::WaitSet>(ipc::kWaitSetsOffset);
  session.doorbells = &session.arena.at<ipc::Doorbells>(ipc::kDoorbellsOffset);
  session.control_bell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  session.shard_bell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

  ipc::Attached attached;
  attached.shards = 1;
  attached.arena_size = kArenaSize;
  const int fds[4] = {session.arena.fd(), bulletin_.fd(), session.control_bell.get(),
                      session.shard_bell.get()};
  iovec iov{&attached, sizeof attached};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fds)]{};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(c), fds, sizeof fds);
  ::sendmsg(session.control.get(), &header, MSG_NOSIGNAL);
}

void FakeSnpd::look_at_requests(Session& session) {
  ipc::drain(session.doorbells->control, [&](ipc::SlotId id) { look_at_slot(session, id); });
}

void FakeSnpd::look_at_slot(Session& session, ipc::SlotId id) {
  const auto& app = session.slots[id].app;
  const auto flow = session.flows.find(id);
  if (app.request.load() == ipc::SlotRequest::kOffload && flow == session.flows.end()) {
    session.asked[id] = app.in_use.load();
    if (config_.is_local) {
      note_names(session, id);
      offload_locally(session, id);
    } else {
      offload(session, id);
    }
  }
}

void FakeSnpd::move_at_random(Session& session) {
  for (const auto& [id, in_use] : session.asked) {
    if (random_() % (config_.is_local ? 4 : 16) != 0) continue;
    const auto flow = session.flows.find(id);
    if (session.slots[id].app.in_use.load() != in_use) continue;
    if (config_.is_local)
      offload_locally(session, id);
    else if (flow != session.flows.end())
      begin_upload(*flow->second);
    else
      offload(session, id);
  }
}

bool FakeSnpd::offload(Session& session, ipc::SlotId id) {
  ipc::Slot& slot = session.slots[id];
  const std::uint32_t in_use = slot.app.in_use.load();
  // The number of a closed slot's descriptor may be another's by now.
  constexpr std::uint32_t kNotNow = ipc::slot_flag::kStayInHost | ipc::slot_flag::kClosed;
  if ((in_use & 1) == 0 || (slot.app.flags.load() & kNotNow) != 0) return false;
  UniqueFd socket(
      static_cast<int>(::syscall(SYS_pidfd_getfd, session.process.get(), slot.app.fd, 0)));
  if (!socket.is_open() || slot.app.in_use.load() != in_use) return false;
  ipc::set_mode(slot, ipc::SlotMode::kOffloading);
  const bool may_move = wait_for_users(slot) && slot.app.in_use.load() == in_use &&
                        (slot.app.flags.load() & kNotNow) == 0;
  if (!may_move) {
    ipc::set_mode(slot, ipc::SlotMode::kInHost);
    tell(session, id);
    return false;
  }
  auto flow = std::make_unique<Flow>();
  flow->id = id;
  flow->slot = &slot;
  flow->socket = std::move(socket);
  auto& engine = slot.engine;
  engine.rx_ring = session.take_ring(config_.ring_bytes);
  engine.tx_ring = session.take_ring(config_.ring_bytes);
  engine.rx_size = engine.tx_size = config_.ring_bytes;
  flow->rx = {session.arena.data() + engine.rx_ring, engine.rx_size};
  flow->tx = {session.arena.data() + engine.tx_ring, engine.tx_size};
  flow->consumed = slot.app.rx_tail.load();
  engine.rx_head.store(slot.app.rx_tail.load());
  engine.tx_tail.store(slot.app.tx_head.load());
  engine.status.store(0);
  pump_in(session, *flow);  // what was readable stays readable
  ipc::set_mode(slot, ipc::SlotMode::kOffloaded);
  tell(session, id);
  session.flows[id] = std::move(flow);
  offloads_.fetch_add(1);
  return true;
}

void FakeSnpd::begin_upload(Flow& flow) {
  const std::uint32_t flags = flow.slot->app.flags.load();
  if ((flow.slot->engine.status.load() & ipc::slot_status::kError) != 0) return;
  if (flow.is_going_home || (flags & ipc::slot_flag::kClosed) != 0) return;
  ipc::set_mode(*flow.slot, ipc::SlotMode::kUploading);
  flow.is_going_home = true;
  flow.turns_on_the_way = 0;
}

// Everything written is in the kernel's send queue, everything unread in its receive queue.
void FakeSnpd::finish_upload(Session& session, Flow& flow) {
  take_out(flow);
  flow.slot->engine.rx_head.store(flow.consumed);
  restore_options(flow.socket.get(), *flow.slot);
  flow.slot->engine.status.store(0);
  ipc::set_mode(*flow.slot, ipc::SlotMode::kInHost);
  tell(session, flow.id);
  uploads_.fetch_add(1);
}

// Unlike the real one this cannot put bytes into a full send queue: it gives up then, for now.
bool FakeSnpd::go_home(Session& session, Flow& flow) {
  const auto is_drained = [&flow] {
    return flow.slot->app.tx_head.load() == flow.slot->engine.tx_tail.load();
  };
  if (is_drained() && wait_for_users(*flow.slot) && is_drained()) {
    finish_upload(session, flow);
    return false;
  }
  if (++flow.turns_on_the_way < 20) return true;
  flow.is_going_home = false;
  ipc::set_mode(*flow.slot, ipc::SlotMode::kOffloaded);
  tell(session, flow.id);
  return true;
}

bool FakeSnpd::pump(Session& session, Flow& flow) {
  const auto& app = flow.slot->app;
  const bool has_failed = (flow.slot->engine.status.load() & ipc::slot_status::kError) != 0;
  const std::uint32_t flags = app.flags.load();
  // A child of the dead process may go on with the connection.
  const bool must_go = app.request.load() == ipc::SlotRequest::kUpload ||
                       (session.is_gone && (flags & ipc::slot_flag::kSharedByFork) != 0);
  if (must_go) begin_upload(flow);
  if (!has_failed) pump_out(session, flow);
  const bool is_drained = has_failed || app.tx_head.load() == flow.slot->engine.tx_tail.load();
  if (flow.is_going_home) return go_home(session, flow);
  const bool is_closed = (flags & ipc::slot_flag::kClosed) != 0 || session.is_gone;
  if (!is_closed) {
    if (!has_failed) pump_in(session, flow);
    return true;
  }
  take_out(flow);
  const bool aborts = (flags & ipc::slot_flag::kAbort) != 0;
  if (!is_drained && !aborts) return true;
  const ::linger hard{1, 0};
  if (aborts) ::setsockopt(flow.socket.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  flow.slot->engine.status.fetch_or(ipc::slot_status::kReleased);
  return false;
}

// What the application has read from the ring leaves the kernel's queue.
void FakeSnpd::take_out(Flow& flow) {
  const std::uint64_t tail = flow.slot->app.rx_tail.load();
  if (tail != flow.consumed)
    ::recv(flow.socket.get(), nullptr, tail - flow.consumed, MSG_TRUNC | MSG_DONTWAIT);
  flow.consumed = tail;
}

void FakeSnpd::pump_in(Session& session, Flow& flow) {
  auto& engine = flow.slot->engine;
  take_out(flow);
  const std::uint64_t head = engine.rx_head.load();
  const std::uint64_t known = head - flow.consumed;
  const ssize_t n =
      ::recv(flow.socket.get(), scratch_.data(), flow.rx.size, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) {
    if (errno != EAGAIN && known == 0) fail(session, flow, errno);
    return;
  }
  const auto seen = static_cast<std::uint64_t>(n);
  if (seen > known) {
    flow.rx.copy_in(head, {scratch_.data() + known, seen - known});
    engine.rx_head.store(head + seen - known);
    tell(session, flow.id);
  }
  int queued = 0;
  const bool has_ended = (poll_now(flow.socket.get(), POLLRDHUP) & POLLRDHUP) != 0 &&
                         ::ioctl(flow.socket.get(), FIONREAD, &queued) == 0 &&
                         static_cast<std::uint64_t>(queued) <= seen;
  if (has_ended && (engine.status.load() & ipc::slot_status::kPeerClosed) == 0) {
    engine.status.fetch_or(ipc::slot_status::kPeerClosed);
    tell(session, flow.id);
  }
}

void FakeSnpd::pump_out(Session& session, Flow& flow) {
  auto& app = flow.slot->app;
  auto& engine = flow.slot->engine;
  for (;;) {
    const std::uint64_t tail = engine.tx_tail.load();
    const auto length = static_cast<std::uint32_t>(app.tx_head.load() - tail);
    if (length == 0) break;
    const auto piece = flow.tx.pieces(tail, length).first;
    const ssize_t n =
        ::send(flow.socket.get(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) fail(session, flow, errno);
      break;
    }
    engine.tx_tail.store(tail + static_cast<std::uint64_t>(n));
  }
  const std::uint64_t used = app.tx_head.load() - engine.tx_tail.load();
  if (app.wants_write.load() != 0 && flow.tx.size - used >= ipc::write_room(flow.tx.size, 0))
    tell(session, flow.id);
  const bool wants_fin = (app.flags.load() & ipc::slot_flag::kShutdownWrite) != 0;
  if (wants_fin && used == 0 && !flow.has_shut_down) {
    ::shutdown(flow.socket.get(), SHUT_WR);
    flow.has_shut_down = true;
  }
}

void FakeSnpd::fail(Session& session, Flow& flow, int error) {
  flow.slot->engine.error.store(error);
  flow.slot->engine.status.fetch_or(ipc::slot_status::kError);
  tell(session, flow.id);
}

void FakeSnpd::tell(Session& session, ipc::SlotId id) {
  for (const auto& watcher : session.slots[id].app.wait_sets) {
    const ipc::WaitSetId set = watcher.load();
    if (set == 0 || set >= ipc::kWaitSets) continue;
    ipc::mark(session.wait_sets[set].ready, id);
    session.touched.push_back(set);
  }
}

void FakeSnpd::wake(Session& session) {
  for (const ipc::WaitSetId set : session.touched) {
    if (session.wait_sets[set].sleeping.exchange(0) == 0) continue;
    const std::uint64_t one = 1;
    static_cast<void>(::write(session.wait_set_fds[set].get(), &one, sizeof one));
  }
  session.touched.clear();
}

}  // namespace snp::test
