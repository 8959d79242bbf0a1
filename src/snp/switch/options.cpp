// getsockopt and setsockopt. The kernel socket always gets what is set, so that it is right when
// the connection comes home; the slot's mirror tells snpd what changes while it is offloaded.
#include <algorithm>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "snp/ipc/tcp_info.h"
#include "snp/switch/clock.h"
#include "snp/switch/connection.h"
#include "snp/switch/export.h"
#include "snp/switch/local.h"
#include "snp/switch/real.h"
#include "snp/switch/stream.h"
#include "snp/switch/transfer.h"

namespace snp::switch_ {
namespace {

// Newer than the C library's headers.
constexpr int kTcpUlp = 31, kTcpMd5sigExt = 32, kTcpZerocopyReceive = 35, kTcpInq = 36;
constexpr int kTcpAoFirst = 38, kTcpAoLast = 43;

// Options that only the host stack knows, or that would disturb a parked socket: setting one brings
// the connection home first, for good.
bool is_for_host_only(int level, int name) noexcept {
  if (level == SOL_SOCKET) {
    switch (name) {
      case SO_ATTACH_FILTER:
      case SO_DETACH_FILTER:
      case SO_ATTACH_BPF:
      case SO_LOCK_FILTER:
      case SO_ATTACH_REUSEPORT_CBPF:
      case SO_ATTACH_REUSEPORT_EBPF:
      case SO_PEEK_OFF:
      case SO_OOBINLINE:
      case SO_ZEROCOPY:
      case SO_TXTIME:
      case SO_TIMESTAMP:
      case SO_TIMESTAMPNS:
      case SO_TIMESTAMPING:
      case SO_BINDTODEVICE:
        return true;
      default:
        return false;
    }
  }
  if (level == IPPROTO_IP) return name == IP_OPTIONS || name == IP_RECVERR;
  if (level == IPPROTO_IPV6) {
    switch (name) {
      case IPV6_ADDRFORM:
      case IPV6_RECVERR:
      case IPV6_HOPOPTS:
      case IPV6_RTHDRDSTOPTS:
      case IPV6_RTHDR:
      case IPV6_DSTOPTS:
        return true;
      default:
        return false;
    }
  }
  if (level != IPPROTO_TCP) return false;
  switch (name) {
    case TCP_REPAIR:
    case TCP_REPAIR_QUEUE:
    case TCP_REPAIR_OPTIONS:
    case TCP_REPAIR_WINDOW:
    case TCP_QUEUE_SEQ:
    case TCP_MD5SIG:
    case kTcpUlp:
    case kTcpMd5sigExt:
    case kTcpZerocopyReceive:
    case kTcpInq:
      return true;
    default:
      return name >= kTcpAoFirst && name <= kTcpAoLast;
  }
}

std::uint32_t read_option(int fd, int level, int name) noexcept {
  std::uint32_t value = 0;
  socklen_t length = sizeof value;
  sys(SYS_getsockopt, fd, level, name, &value, &length);
  return value;
}

// Linux answers ~0 for no limit.
std::uint64_t read_pacing_rate(int fd) noexcept {
  std::uint64_t rate = 0;
  socklen_t length = sizeof rate;
  sys(SYS_getsockopt, fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &length);
  const bool is_unlimited = length == sizeof rate ? rate == ~0ull : rate == 0xffffffff;
  return is_unlimited ? 0 : rate;
}

void read_linger(ipc::SlotOptions& o, int fd) noexcept {
  ::linger how{};
  socklen_t length = sizeof how;
  sys(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &how, &length);
  o.linger_on = static_cast<std::uint32_t>(how.l_onoff);
  o.linger_s = static_cast<std::uint32_t>(how.l_linger);
}

// As the kernel has understood what was set.
void read_into_mirror(ipc::SlotOptions& o, int fd, int level, int name) noexcept {
  if (level == SOL_SOCKET) {
    if (name == SO_KEEPALIVE) o.keepalive = read_option(fd, level, name) != 0;
    if (name == SO_MAX_PACING_RATE) o.max_pacing_rate = read_pacing_rate(fd);
    if (name == SO_LINGER) read_linger(o, fd);
    return;
  }
  const std::uint32_t value = read_option(fd, level, name);
  if (level == IPPROTO_IP) {
    (name == IP_TOS ? o.v4_tos : o.v4_ttl) = static_cast<std::uint8_t>(value);
    return;
  }
  if (level == IPPROTO_IPV6) {
    (name == IPV6_TCLASS ? o.v6_tos : o.v6_ttl) = static_cast<std::uint8_t>(value);
    return;
  }
  switch (name) {
    case TCP_NODELAY:
      o.no_delay = value != 0;
      break;
    case TCP_CORK:
      o.cork = value != 0;
      break;
    case TCP_KEEPIDLE:
      o.keepalive_idle_s = value;
      break;
    case TCP_KEEPINTVL:
      o.keepalive_interval_s = value;
      break;
    case TCP_KEEPCNT:
      o.keepalive_probes = value;
      break;
    case TCP_USER_TIMEOUT:
      o.user_timeout_ms = value;
      break;
    case TCP_NOTSENT_LOWAT:
      o.notsent_lowat = value;
      break;
    default:
      break;
  }
}

// The mirror as a whole: it counts from its first generation on.
void fill_mirror(ipc::SlotOptions& o, int fd) noexcept {
  for (const int name : {SO_KEEPALIVE, SO_MAX_PACING_RATE, SO_LINGER})
    read_into_mirror(o, fd, SOL_SOCKET, name);
  for (const int name : {TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
                         TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT})
    read_into_mirror(o, fd, IPPROTO_TCP, name);
  for (const int name : {IP_TOS, IP_TTL})
    read_into_mirror(o, fd, IPPROTO_IP, name);
  for (const int name : {IPV6_TCLASS, IPV6_UNICAST_HOPS})
    read_into_mirror(o, fd, IPPROTO_IPV6, name);
}

// Of the IP header; the kernel takes those of IPv4 as a single byte, too.
bool is_header_field(int level, int name) noexcept {
  if (level == IPPROTO_IP) return name == IP_TOS || name == IP_TTL;
  return level == IPPROTO_IPV6 && (name == IPV6_TCLASS || name == IPV6_UNICAST_HOPS);
}

// True when the option is one that the mirror holds.
bool is_mirrored(int level, int name) noexcept {
  if (level == SOL_SOCKET)
    return name == SO_KEEPALIVE || name == SO_LINGER || name == SO_RCVBUF || name == SO_SNDBUF ||
           name == SO_MAX_PACING_RATE;
  if (is_header_field(level, name)) return true;
  if (level != IPPROTO_TCP) return false;
  switch (name) {
    case TCP_NODELAY:
    case TCP_CORK:
    case TCP_QUICKACK:
    case TCP_KEEPIDLE:
    case TCP_KEEPINTVL:
    case TCP_KEEPCNT:
    case TCP_USER_TIMEOUT:
    case TCP_NOTSENT_LOWAT:
    case TCP_CONGESTION:
      return true;
    default:
      return false;
  }
}

// A parked socket still knows these, as it knows what was set before it was tracked: while the host
// carries the connection, and nothing else has been mirrored, there is nothing to do. Programs set
// them on each connection, and reading the whole mirror is fourteen system calls.
bool is_kept_by_socket(int level, int name) noexcept {
  if (level == SOL_SOCKET) return name == SO_LINGER || name == SO_MAX_PACING_RATE;
  if (is_header_field(level, name)) return true;
  return name == TCP_NODELAY || name == TCP_CORK || name == TCP_KEEPIDLE || name == TCP_KEEPINTVL ||
         name == TCP_KEEPCNT || name == TCP_USER_TIMEOUT;
}

// Inside the gate, after the kernel has taken the option.
void mirror(Connection& c, int fd, int level, int name, std::uint32_t value,
            bool in_host) noexcept {
  ipc::SlotOptions& o = c.slot->facts.options;
  auto& generation = c.slot->app.options_generation;
  if (in_host && generation.load(std::memory_order_relaxed) == 0 && is_kept_by_socket(level, name))
    return;
  const bool had_keepalive = o.keepalive != 0;
  if (generation.load(std::memory_order_relaxed) == 0)
    fill_mirror(o, fd);
  else
    read_into_mirror(o, fd, level, name);
  // A parked socket keeps SO_KEEPALIVE off, whatever the program set (design section 2); snpd has
  // noted here what was set before there was a mirror.
  if (!in_host) o.keepalive = had_keepalive;
  if (level == SOL_SOCKET && name == SO_KEEPALIVE) o.keepalive = value != 0;
  // What the kernel answers is its mode of the moment, on for every fresh socket: no wish of
  // anyone.
  if (level == IPPROTO_TCP && name == TCP_QUICKACK) o.quick_ack = value != 0;
  // A name that was never set is the system's, and snpd's own default goes before that.
  if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
    socklen_t length = static_cast<socklen_t>(o.congestion_control.size() - 1);
    sys(SYS_getsockopt, fd, level, name, o.congestion_control.data(), &length);
  }
  // Within the kernel's bounds, which it doubles for its own overhead.
  if (level == SOL_SOCKET && name == SO_RCVBUF) o.receive_buffer = read_option(fd, level, name) / 2;
  if (level == SOL_SOCKET && name == SO_SNDBUF) o.send_buffer = read_option(fd, level, name) / 2;
  generation.fetch_add(1);
  if (in_host) return;
  if (is_local(c))
    c.ends.mine->receive_buffer.store(o.receive_buffer);
  else
    ring_shard(*c.session, *c.slot, c.slot_id);
}

void set_low_water(Connection& c, std::uint32_t bytes, bool in_host) noexcept {
  c.slot->app.receive_low_at.store(std::max(1u, bytes));
  if (!in_host && is_local(c)) c.ends.mine->receive_low_at.store(std::max(1u, bytes));
  // As tcp_set_rcvlowat: tells at once when there is enough.
  if (!in_host && tells_reader(c)) tell_watchers(c);
}

// The shard says how much may be written below the mark; until it has heard of the mark a writer
// would fill the ring. It answers within microseconds, on a machine that is overloaded later; that
// is bounded.
void await_low_water(const Connection& c, std::uint32_t lowat) noexcept {
  constexpr std::uint64_t kLeastUnsent = 16 * 1024;  // as tcp/buffers.cpp
  const Instant end = now() + seconds(1);
  const auto is_heard = [&] {
    const std::uint32_t most = c.slot->buffers.tx_limit.load();
    return most != 0 &&
           most <= unacknowledged_bytes(c) + std::max<std::uint64_t>(lowat, kLeastUnsent);
  };
  while (!is_heard() && now() < end) {
    const timespec nap{0, 50'000};
    sys(SYS_nanosleep, &nap, nullptr);
  }
}

constexpr bool is_timeout(int level, int name) noexcept {
  return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO);
}

long set_inside(Connection& c, int fd, int level, int name, const void* value, socklen_t length,
                bool in_host) noexcept {
  const bool is_keepalive = level == SOL_SOCKET && name == SO_KEEPALIVE;
  if (in_host || !is_keepalive || length < sizeof(int)) {
    const long result = sys(SYS_setsockopt, fd, level, name, value, length);
    if (result != 0) return result;
  }
  if (is_timeout(level, name)) {
    expect_timeouts();
    c.timeouts_known.store(false);
  }
  const bool is_name = level == IPPROTO_TCP && name == TCP_CONGESTION;
  if (length < sizeof(std::uint32_t) && !is_name && !is_header_field(level, name)) return 0;
  std::uint32_t word = 0;
  std::memcpy(&word, value, std::min<std::size_t>(length, sizeof word));
  if (level == SOL_SOCKET && name == SO_RCVLOWAT) set_low_water(c, word, in_host);
  if (is_mirrored(level, name)) mirror(c, fd, level, name, word, in_host);
  if (level == IPPROTO_TCP && name == TCP_NOTSENT_LOWAT && word != 0 && !in_host && !is_local(c))
    await_low_water(c, word);
  return 0;
}

long set_option(Connection& c, int fd, int level, int name, const void* value,
                socklen_t length) noexcept {
  for (;;) {
    const Pass pass(c);
    const long result = set_inside(c, fd, level, name, value, length, pass.in_host());
    // A local connection may go home while a call is inside: then it may have missed this.
    if (result != 0 || pass.in_host() || mode_word(c) == pass.word()) return result;
  }
}

void put(void* value, socklen_t* length, const void* source, std::size_t size) noexcept {
  *length = std::min(*length, static_cast<socklen_t>(size));
  std::memcpy(value, source, *length);
}

// Pre: inside the gate, or home for good.
void add_earlier_life(const Connection& c, void* value, socklen_t length) noexcept {
  if (c.slot->life.in_use.load(std::memory_order_relaxed) == c.in_use)
    ipc::add_earlier_life(c.slot->life, value, length);
}

// TCP_INFO as the kernel gives it for the parked socket, with what the target knows.
void overlay_info(const Connection& c, void* value, socklen_t length) noexcept {
  const ipc::StreamsNow streams = is_local(c) ? local_streams(c) : ipc::streams_of(*c.slot);
  ipc::put_counters(ipc::told_at_target(c.slot->life, streams), value, length);
  if (!is_local(c)) return ipc::overlay_tcp_info(c.slot->info, to_ms_ticks(now()), value, length);
  constexpr std::size_t kState = 0;  // tcpi_state is its first byte
  if (length > kState) static_cast<std::uint8_t*>(value)[kState] = local_tcp_state(c);
}

constexpr bool is_info(int level, int name) noexcept {
  return level == IPPROTO_TCP && name == TCP_INFO;
}

// Whose calls go to the kernel for good may have been elsewhere before.
bool get_info_at_home(int fd, void* value, socklen_t* length) noexcept {
  const Connection* c = connection_at(fd);
  if (c == nullptr || c->epoch.load(std::memory_order_relaxed) != kSettled ||
      c->slot->app.in_use.load() != c->in_use)
    return false;
  if (sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, value, length) != 0) return false;
  add_earlier_life(*c, value, *length);
  return true;
}

// True: answered here, for an offloaded connection.
bool get_option(Connection& c, int fd, int level, int name, void* value,
                socklen_t* length) noexcept {
  const Pass pass(c);
  if (is_info(level, name)) {
    if (sys(SYS_getsockopt, fd, level, name, value, length) != 0) return false;
    if (pass.in_host())
      add_earlier_life(c, value, *length);
    else
      overlay_info(c, value, *length);
    return true;
  }
  if (pass.in_host()) return false;
  if (level == SOL_SOCKET && name == SO_ERROR) {
    const int error = take_error(c);
    put(value, length, &error, sizeof error);
    return true;
  }
  if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
    const int on = c.slot->facts.options.keepalive;
    put(value, length, &on, sizeof on);
    return true;
  }
  if (level != IPPROTO_TCP) return false;
  if (name == TCP_MAXSEG &&
      !is_local(c)) {  // the parked socket knows only what it was told when it was refilled
    const auto mss = static_cast<int>(c.slot->info.snd_mss.load(std::memory_order_relaxed));
    if (mss == 0) return false;  // the shard has not said it yet
    put(value, length, &mss, sizeof mss);
    return true;
  }
  return false;
}

// In the kernel's words: TCP_CLOSE.
bool is_closed(Connection& c) noexcept {
  const Pass pass(c);
  if (pass.in_host()) return false;
  return is_local(c) ? local_tcp_state(c) == TCP_CLOSE : has_failed(c);
}

}  // namespace
}  // namespace snp::switch_

using namespace snp::switch_;  // NOLINT(google-build-using-namespace): C entry points only

// A parked socket knows its peer for as long as it lives, the kernel's own until it is closed.
SNP_EXPORT int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
  if (Connection* c = tracked(fd); c != nullptr && is_closed(*c)) return finish<int>(-ENOTCONN);
  return real().getpeername(fd, address, length);
}

SNP_EXPORT int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  Connection* c = tracked(fd);
  if (c == nullptr && is_info(level, name) && value != nullptr && length != nullptr &&
      get_info_at_home(fd, value, length))
    return 0;
  if (c == nullptr) return real().getsockopt(fd, level, name, value, length);
  if (level == IPPROTO_TCP && name == kTcpZerocopyReceive)
    settle_in_host(*c, Why::kUnsupportedCall);
  if (value != nullptr && length != nullptr && get_option(*c, fd, level, name, value, length))
    return 0;
  return real().getsockopt(fd, level, name, value, length);
}

SNP_EXPORT int setsockopt(int fd, int level, int name, const void* value,
                          socklen_t length) noexcept {
  Connection* c = tracked(fd);
  if (c == nullptr && is_timeout(level, name)) expect_timeouts();
  if (c == nullptr || value == nullptr) return real().setsockopt(fd, level, name, value, length);
  if (is_for_host_only(level, name)) {
    settle_in_host(*c, Why::kUnsupportedCall);
    return real().setsockopt(fd, level, name, value, length);
  }
  return finish<int>(set_option(*c, fd, level, name, value, length));
}
