// The fake snpd's local target: two slots whose sockets are each other's peer get a connection in
// the memory of a pair. The sockets are emptied with plain reads instead of being parked, and
// refilled by writing from the other end.
#include <algorithm>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "snp/ipc/control_protocol.h"
#include "snp/ipc/pair_stream.h"

#include "test/programs/fake_session.h"

namespace snp::test {
namespace {

constexpr std::size_t kRingSpace = 256 * 1024 * 1024;

// Address and port in one form for IPv4, IPv6 and mapped IPv4.
std::string name_of(int socket, bool peer) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if ((peer ? ::getpeername(socket, plain, &length) : ::getsockname(socket, plain, &length)) != 0)
    return {};
  sockaddr_in6 name{};
  if (address.ss_family == AF_INET6) {
    std::memcpy(&name, &address, sizeof name);
  } else {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    name.sin6_port = v4.sin_port;
    name.sin6_addr.s6_addr[10] = name.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(&name.sin6_addr.s6_addr[12], &v4.sin_addr, sizeof v4.sin_addr);
  }
  std::string text(reinterpret_cast<const char*>(&name.sin6_addr), sizeof name.sin6_addr);
  return text.append(reinterpret_cast<const char*>(&name.sin6_port), sizeof name.sin6_port);
}

int state_of(int socket) {
  tcp_info info{};
  socklen_t length = sizeof info;
  ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length);
  return info.tcpi_state;
}

int ask(int socket, unsigned long what) {
  int n = 0;
  ::ioctl(socket, what, &n);
  return n;
}

bool is_ready(int fd, short events) {
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, 0) > 0;
}

// What `to` has not read, moved from the kernel into the ring: everything that `from` has written,
// seen by its being acknowledged.
std::uint64_t empty(int from, int to, const StreamRing& ring, std::uint64_t head) {
  std::vector<std::byte> bytes(ring.size);
  std::uint64_t done = 0;
  for (int tries = 0; ask(from, SIOCOUTQ) != 0 || ask(to, FIONREAD) != 0; ++tries) {
    SNP_ASSERT(tries < 100'000);
    const int at_once = 1;
    ::setsockopt(to, IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof at_once);
    const ssize_t n = ::recv(to, bytes.data() + done, bytes.size() - done, MSG_DONTWAIT);
    if (n > 0) done += static_cast<std::uint64_t>(n);
  }
  ring.copy_in(head, {bytes.data(), done});
  return done;
}

// All of it goes into the two queues, while nobody reads.
void refill(int socket, const StreamRing& ring, std::uint64_t tail, std::uint64_t head) {
  std::vector<std::byte> bytes(head - tail);
  ring.copy_out(tail, bytes);
  const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  int before = 0;
  socklen_t length = sizeof before;
  ::getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &before, &length);
  before /= 2;  // the kernel doubles what it is told
  bool is_raised = false;
  for (std::size_t done = 0, tries = 0; done < bytes.size();) {
    const ssize_t n = ::send(socket, bytes.data() + done, bytes.size() - done, flags);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (errno != EAGAIN) return;  // the other end has closed: as on the wire
    const int much = 4 * 1024 * 1024;
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &much, sizeof much);
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &much, sizeof much);
    is_raised = true;
    SNP_ASSERT(++tries < 10'000);
  }
  if (is_raised) ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &before, sizeof before);
}

}  // namespace

FakeSnpd::LocalFlow* FakeSnpd::local_flow_of(const Session& session, ipc::SlotId id) {
  for (const auto& flow : local_flows_)
    for (std::size_t side = 0; side < 2; ++side)
      if (!flow->is_leaving && flow->pair->session[side] == &session && flow->id[side] == id &&
          !flow->is_closed[side])
        return flow.get();
  return nullptr;
}

bool FakeSnpd::send_later(Session& session, std::string bytes, std::vector<int> fds,
                          int ring_after) {
  Session::Outgoing out{std::move(bytes), {}, ring_after};
  for (const int fd : fds)
    out.fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  session.outgoing.push_back(std::move(out));
  return flush(session);
}

// True: everything has gone.
bool FakeSnpd::flush(Session& session) {
  while (!session.outgoing.empty()) {
    Session::Outgoing& out = session.outgoing.front();
    iovec iov{out.bytes.data(), out.bytes.size()};
    alignas(cmsghdr) char space[CMSG_SPACE(2 * sizeof(int))]{};
    msghdr header{};
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    int fds[2] = {-1, -1};
    const std::size_t size = out.fds.size() * sizeof(int);
    if (!out.fds.empty()) {
      for (std::size_t i = 0; i < out.fds.size(); ++i)
        fds[i] = out.fds[i].get();
      header.msg_control = space;
      header.msg_controllen = CMSG_SPACE(size);
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(size);
      std::memcpy(CMSG_DATA(c), fds, size);
    }
    if (::sendmsg(session.control.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno == EAGAIN)
      return false;  // one that is gone misses nothing, but the sender of a lane waits for the ring
    const std::uint64_t one = 1;
    if (out.ring_after >= 0) static_cast<void>(::write(out.ring_after, &one, sizeof one));
    session.outgoing.pop_front();
  }
  return true;
}

void FakeSnpd::pass_lane_on(Session& session, const void* message, int fd) {
  ipc::LaneMessage lane;
  std::memcpy(&lane, message, sizeof lane);
  UniqueFd bell(fd);
  for (const auto& pair : local_pairs_) {
    if (pair->number != lane.pair || pair->session[lane.side] != &session) continue;
    const int kept = bell.get();
    pair->bells[lane.side][lane.lane] = std::move(bell);
    send_later(*pair->session[1 - lane.side], {static_cast<const char*>(message), sizeof lane},
               {kept}, kept);
  }
}

FakeSnpd::LocalPair* FakeSnpd::pair_of(Session& a, Session& b) {
  for (const auto& pair : local_pairs_)
    if (pair->session[0] == &a && pair->session[1] == &b) return pair.get();
  auto pair = std::make_unique<LocalPair>();
  pair->number = ++last_pair_;
  pair->session[0] = &a;
  pair->session[1] = &b;
  const std::size_t size = ipc::kPairRingsOffset + kRingSpace;
  auto memory = ipc::SharedMemory::create("fake-pair", size);
  SNP_ASSERT(memory.has_value());
  pair->memory = std::move(*memory);
  new (pair->memory.data())
      ipc::PairHeader{ipc::kPairMagic, ipc::kPairVersion, pair->number, 0, size};
  for (std::uint32_t side = 0; side < 2; ++side) {
    ipc::PairMessage message;
    message.pair = pair->number;
    message.side = side;
    message.size = size;
    send_later(*pair->session[side], {reinterpret_cast<const char*>(&message), sizeof message},
               {pair->memory.fd(), pair->session[1 - side]->process.get()}, -1);
  }
  local_pairs_.push_back(std::move(pair));
  return local_pairs_.back().get();
}

UniqueFd FakeSnpd::socket_of(const Session& session, ipc::SlotId id, std::uint32_t in_use) {
  const auto& app = session.slots[id].app;
  UniqueFd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, session.process.get(), app.fd, 0)));
  if (app.in_use.load() != in_use) socket.reset();
  return socket;
}

// The first time a slot asks: whose mate is it?
void FakeSnpd::note_names(Session& session, ipc::SlotId id) {
  const std::uint32_t in_use = session.slots[id].app.in_use.load();
  const UniqueFd socket = socket_of(session, id, in_use);
  if (!socket.is_open()) return;
  session.names[id] = {name_of(socket.get(), false), name_of(socket.get(), true), in_use, 50};
}

void FakeSnpd::offload_locally(Session& session, ipc::SlotId id) {
  if (local_flow_of(session, id) != nullptr) return;
  const auto mine = session.names.find(id);
  if (mine == session.names.end()) return;
  for (const auto& other : sessions_) {
    if (other->is_gone) continue;
    for (const auto& [peer, names] : other->names) {
      const bool is_mate = names.local == mine->second.remote &&
                           names.remote == mine->second.local && !names.local.empty();
      if (!is_mate || local_flow_of(*other, peer) != nullptr) continue;
      if (other->slots[peer].app.in_use.load() != names.in_use) continue;
      join(session, id, *other, peer);
      return;
    }
  }
}

bool FakeSnpd::close_gate(Session& session, ipc::SlotId id, std::uint32_t in_use) {
  ipc::Slot& slot = session.slots[id];
  ipc::set_mode(slot, ipc::SlotMode::kOffloading);
  return wait_for_users(slot) && slot.app.in_use.load() == in_use && (in_use & 1) != 0 &&
         (slot.app.flags.load() & (ipc::slot_flag::kStayInHost | ipc::slot_flag::kClosed)) == 0;
}

// Closes both gates, looks whether the two can move, and moves them.
void FakeSnpd::join(Session& a, ipc::SlotId id_a, Session& b, ipc::SlotId id_b) {
  Session* session[2] = {&a, &b};
  const ipc::SlotId id[2] = {id_a, id_b};
  for (std::size_t side = 0; side < 2; ++side)
    if (ipc::mode_of(session[side]->slots[id[side]].engine.mode_word.load()) !=
        ipc::SlotMode::kInHost)
      return;
  LocalPair* pair = pair_of(a, b);
  bool may_move = flush(a) && flush(b);
  auto flow = std::make_unique<LocalFlow>();
  flow->pair = pair;
  bool was_closed[2] = {};
  for (std::size_t side = 0; side < 2 && may_move; ++side) {
    flow->id[side] = id[side];
    const std::uint32_t in_use = session[side]->names[id[side]].in_use;
    flow->socket[side] = socket_of(*session[side], id[side], in_use);
    was_closed[side] = flow->socket[side].is_open();
    may_move = was_closed[side] && close_gate(*session[side], id[side], in_use);
  }
  if (may_move && fill_pair(*flow)) {
    for (std::size_t side = 0; side < 2; ++side) {
      ipc::set_mode(flow->slot(side), ipc::SlotMode::kOffloaded);
      tell(*session[side], id[side]);
    }
    ++pair->in_use;
    local_flows_.push_back(std::move(flow));
    offloads_.fetch_add(1);
    return;
  }
  if (--a.names[id_a].tries_left > 0) a.to_try_again.push_back(id_a);
  for (std::size_t side = 0; side < 2; ++side) {
    if (!was_closed[side]) continue;
    ipc::set_mode(session[side]->slots[id[side]], ipc::SlotMode::kInHost);
    tell(*session[side], id[side]);
  }
}

// Both gates are closed. False: they stay in the host, untouched.
bool FakeSnpd::fill_pair(LocalFlow& flow) {
  const std::uint32_t size = config_.ring_bytes;
  bool has_ended[2];
  for (std::size_t side = 0; side < 2; ++side) {
    const int socket = flow.socket[side].get();
    const int other = flow.socket[1 - side].get();
    if (is_ready(socket, 0)) return false;  // POLLERR, POLLHUP
    const int state = state_of(socket);
    const int state_of_other = state_of(other);
    has_ended[side] = state == TCP_FIN_WAIT2 && state_of_other == TCP_CLOSE_WAIT;
    if (!has_ended[side] && state != TCP_ESTABLISHED &&
        !(state == TCP_CLOSE_WAIT && state_of_other == TCP_FIN_WAIT2))
      return false;
    // At most: what has arrived and was not acknowledged yet counts twice.
    const int queued = ask(other, FIONREAD) + ask(socket, SIOCOUTQ);
    // Bytes before a FIN that the kernel has sent could not be put back.
    if (queued > static_cast<int>(size) || (has_ended[side] && queued != 0)) return false;
  }
  LocalPair& pair = *flow.pair;
  if (pair.free.empty()) {
    flow.index = pair.next_index++;
    flow.rings = std::exchange(pair.next_ring, pair.next_ring + 2 * std::uint64_t{size});
    SNP_ASSERT(pair.next_ring <= pair.memory.size() && flow.index < ipc::kSlots);
  } else {
    std::tie(flow.index, flow.rings) = pair.free.back();
    pair.free.pop_back();
  }
  new (&flow.end(0)) ipc::PairEnd;
  new (&flow.end(1)) ipc::PairEnd;
  for (std::size_t side = 0; side < 2; ++side) {
    flow.end(side).tx_head += empty(flow.socket[side].get(), flow.socket[1 - side].get(),
                                    flow.ring(side, size), ipc::kFirstPosition);
    const bool is_deaf = (flow.slot(side).app.flags.load() & ipc::slot_flag::kShutdownRead) != 0;
    flow.end(side).flags.store((has_ended[side] ? ipc::pair_flag::kEnd : 0) |
                               (is_deaf ? ipc::pair_flag::kDeaf : 0));
    auto& engine = flow.slot(side).engine;
    engine.pair = pair.number;
    engine.pair_side = static_cast<std::uint8_t>(side);
    engine.pair_index = flow.index;
    engine.tx_ring = flow.rings + side * size;
    engine.rx_ring = flow.rings + (1 - side) * size;
    engine.rx_size = engine.tx_size = size;
    engine.rx_head.store(flow.slot(side).app.rx_tail.load());
    engine.tx_tail.store(flow.slot(side).app.tx_head.load());
    engine.status.store(0);
  }
  return true;
}

void FakeSnpd::upload_local(LocalFlow& flow) {
  for (std::size_t side = 0; side < 2; ++side)
    if (!flow.is_closed[side]) ipc::set_mode(flow.slot(side), ipc::SlotMode::kUploading);
  ipc::FrozenEnd frozen[2] = {ipc::freeze(flow.end(0)), ipc::freeze(flow.end(1))};
  for (std::size_t side = 0; side < 2; ++side)  // scribbled over: the connection is reset
    if (!ipc::bytes_between(frozen[1 - side].rx_tail, frozen[side].tx_head, config_.ring_bytes)) {
      frozen[side].tx_head = frozen[1 - side].rx_tail;
      frozen[side].flags |= ipc::pair_flag::kReset;
    }
  for (std::size_t side = 0; side < 2; ++side)  // a FIN that came before what draws the reset
    if (flow.is_closed[side] && (frozen[side].flags & ipc::pair_flag::kEnd) != 0 &&
        frozen[side].tx_head == frozen[1 - side].rx_tail)
      ::shutdown(flow.socket[side].get(), SHUT_WR);
  for (std::size_t side = 0; side < 2; ++side)
    refill(flow.socket[side].get(), flow.ring(side, config_.ring_bytes), frozen[1 - side].rx_tail,
           frozen[side].tx_head);
  for (std::size_t side = 0; side < 2; ++side) {
    const ::linger hard{1, 0};
    if (!flow.is_closed[side]) restore_options(flow.socket[side].get(), flow.slot(side));
    if ((frozen[side].flags & ipc::pair_flag::kReset) != 0)
      ::setsockopt(flow.socket[side].get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    else if ((frozen[side].flags & ipc::pair_flag::kEnd) != 0)
      ::shutdown(flow.socket[side].get(), SHUT_WR);
    if ((frozen[side].flags & ipc::pair_flag::kDeaf) != 0)
      ::shutdown(flow.socket[side].get(), SHUT_RD);
    flow.socket[side].reset();
  }
  for (std::size_t side = 0; side < 2; ++side) {
    if (flow.is_closed[side]) continue;
    flow.slot(side).engine.status.store(0);
    flow.slot(side).engine.pair = ipc::kNoPair;
    ipc::set_mode(flow.slot(side), ipc::SlotMode::kInHost);
    tell(*flow.pair->session[side], flow.id[side]);
  }
  flow.is_leaving = true;
  uploads_.fetch_add(1);
}

void FakeSnpd::tell_lanes(LocalFlow& flow, std::size_t side) {
  LocalPair& pair = *flow.pair;
  for (const auto& named : flow.end(side).lanes) {
    const ipc::LaneId id = named.load();
    if (id == 0 || id >= ipc::kLanes) continue;
    auto& lane = pair.memory.at<ipc::Lane>(ipc::lane_offset(static_cast<std::uint32_t>(side), id));
    const std::uint64_t one = 1;
    if (ipc::tell(lane, flow.index))
      static_cast<void>(::write(pair.bells[side][id].get(), &one, sizeof one));
  }
}

// A process has ended: its side says so now.
void FakeSnpd::bury(LocalFlow& flow, std::size_t side) {
  using namespace ipc::pair_flag;  // NOLINT(google-build-using-namespace)
  const bool has_read_all = flow.end(1 - side).tx_head.load() == flow.end(side).rx_tail.load();
  const bool was_over = ipc::is_over(flow.end(0).flags.load(), flow.end(1).flags.load());
  const std::uint32_t says = was_over ? 0 : has_read_all ? kEnd : kReset;
  static_cast<void>(ipc::add_flags(flow.end(side).flags, kGone | says));
  flow.is_closed[side] = true;
  if (!was_over) tell_lanes(flow, 1 - side);
}

// True: it goes on.
bool FakeSnpd::serve_local(LocalFlow& flow) {
  LocalPair& pair = *flow.pair;
  bool wants_home = false;
  for (std::size_t side = 0; side < 2; ++side) {
    Session& session = *pair.session[side];
    if (flow.is_closed[side] || flow.is_leaving) continue;
    ipc::Slot& slot = flow.slot(side);
    const std::uint32_t flags = slot.app.flags.load();
    if ((flags & ipc::slot_flag::kClosed) != 0) {
      flow.is_closed[side] = true;
      slot.engine.status.fetch_or(ipc::slot_status::kReleased);
    } else if (session.is_gone) {
      bury(flow, side);
    } else if (is_ready(session.process.get(), POLLIN)) {
      wants_home |= (flags & ipc::slot_flag::kSharedByFork) != 0;  // else its end follows
    }
    wants_home |= slot.app.request.load() == ipc::SlotRequest::kUpload;
  }
  if (wants_home && !flow.is_leaving && !(flow.is_closed[0] && flow.is_closed[1]))
    upload_local(flow);
  if (!flow.is_leaving && !(flow.is_closed[0] && flow.is_closed[1])) return true;
  for (std::size_t side = 0; side < 2; ++side)
    if (!pair.session[side]->is_gone && ipc::has_users(flow.slot(side))) return true;
  pair.free.emplace_back(flow.index, flow.rings);
  --pair.in_use;
  return false;
}

void FakeSnpd::serve_all_local() {
  for (const auto& session : sessions_)
    for (const ipc::SlotId id : std::exchange(session->to_try_again, {}))
      if (!session->is_gone) offload_locally(*session, id);
  for (std::size_t i = 0; i < local_flows_.size();) {
    if (config_.moves_at_random && random_() % 4 == 0 && !local_flows_[i]->is_leaving &&
        !local_flows_[i]->is_closed[0] && !local_flows_[i]->is_closed[1])
      upload_local(*local_flows_[i]);
    if (serve_local(*local_flows_[i])) {
      ++i;
      continue;
    }
    std::swap(local_flows_[i], local_flows_.back());
    local_flows_.pop_back();
  }
  std::erase_if(local_pairs_, [this](const auto& pair) {
    if (pair->in_use != 0 || (!pair->session[0]->is_gone && !pair->session[1]->is_gone))
      return false;
    ipc::PairGone gone;
    gone.pair = pair->number;
    for (std::size_t side = 0; side < 2; ++side)
      if (!pair->session[side]->is_gone && (side == 0 || pair->session[0] != pair->session[1]))
        send_later(*pair->session[side], {reinterpret_cast<const char*>(&gone), sizeof gone}, {},
                   -1);
    return true;
  });
  for (const auto& session : sessions_)
    if (!session->is_gone) flush(*session);
}

bool FakeSnpd::is_in_pair(const Session& session) const {
  return std::any_of(local_pairs_.begin(), local_pairs_.end(), [&](const auto& pair) {
    return pair->session[0] == &session || pair->session[1] == &session;
  });
}

}  // namespace snp::test
