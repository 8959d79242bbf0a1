// One side of the socket fuzzer: an ordinary program that does what lines on its standard input
// say, with TCP sockets, and answers each with one line of what it saw. socket_fuzz.py compares
// these lines between kernel and chimney. Sockets and epoll sets go by small numbers.
//
// What is sent on a connection is a function of its key and the offset, so every receiver can tell
// whether a byte is right: `connect` and `accept` get the keys of both directions.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr std::size_t kMost = 8 << 20;          // of one call
constexpr std::size_t kMostOfFlood = 64 << 20;  // above what both queues of the kernel can take

std::atomic<int> sigpipes{0};

void on_sigpipe(int /*signal*/) {
  sigpipes.fetch_add(1);
}

char byte_at(std::uint32_t key, std::uint64_t offset) {
  return static_cast<char>((offset * 131 + (offset >> 9) * 17 + key * 29) & 0xff);
}

struct Stream {
  std::uint32_t key = 0;
  std::uint64_t offset = 0;
};

struct Socket {
  int fd = -1;
  std::shared_ptr<Stream> out, in;  // shared by duplicates
};

struct Background {
  std::thread thread;
  std::atomic<pid_t> id{0};
  std::atomic<bool> is_done{false};
  std::string said;
};

bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() && text[end + 2] == 'S';
}

// "n", or the name of the error.
std::string outcome(long n) {
  if (n >= 0) return std::to_string(n);
  return ::strerrorname_np(errno) != nullptr ? ::strerrorname_np(errno) : std::to_string(errno);
}

std::string with_sigpipe(long n, int pipes_before) {
  std::string text = outcome(n);
  return sigpipes.load() != pipes_before ? text + " SIGPIPE" : text;
}

std::vector<char> next_bytes(const Stream& stream, std::size_t n) {
  std::vector<char> bytes(n);
  for (std::size_t i = 0; i < n; ++i)
    bytes[i] = byte_at(stream.key, stream.offset + i);
  return bytes;
}

std::string judged(const Stream& stream, const std::vector<char>& bytes, long n) {
  std::string text = outcome(n);
  for (long i = 0; i < n; ++i)
    if (bytes[static_cast<std::size_t>(i)] !=
        byte_at(stream.key, stream.offset + static_cast<std::uint64_t>(i)))
      return text + " WRONG-BYTE-AT " + std::to_string(i);
  return text;
}

int flag_named(const std::string& name) {
  static const std::map<std::string, int> kFlags{{"-", 0},
                                                 {"peek", MSG_PEEK},
                                                 {"dontwait", MSG_DONTWAIT},
                                                 {"trunc", MSG_TRUNC},
                                                 {"nosignal", MSG_NOSIGNAL},
                                                 {"waitall", MSG_WAITALL},
                                                 {"more", MSG_MORE}};
  return kFlags.at(name);
}

struct Option {
  int level, name;
};

Option option_named(const std::string& name) {
  static const std::map<std::string, Option> kOptions{
      {"rcvlowat", {SOL_SOCKET, SO_RCVLOWAT}},         {"error", {SOL_SOCKET, SO_ERROR}},
      {"nodelay", {IPPROTO_TCP, TCP_NODELAY}},         {"cork", {IPPROTO_TCP, TCP_CORK}},
      {"keepalive", {SOL_SOCKET, SO_KEEPALIVE}},       {"keepidle", {IPPROTO_TCP, TCP_KEEPIDLE}},
      {"keepcnt", {IPPROTO_TCP, TCP_KEEPCNT}},         {"type", {SOL_SOCKET, SO_TYPE}},
      {"usertimeout", {IPPROTO_TCP, TCP_USER_TIMEOUT}}};
  return kOptions.at(name);
}

class Worker {
 public:
  std::string run(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "listen") return listen(words);
    if (verb == "connect") return connect(words);
    if (verb == "accept") return accept(words);
    if (verb == "epoll") return epoll_create(words);
    if (verb == "epoll_ctl") return epoll_ctl(words);
    if (verb == "epoll_wait") return epoll_wait(words, 1);
    if (verb == "epoll_all") return epoll_wait(words, 10);
    int id = 0;
    words >> id;
    if (verb == "join") return join(id);
    Socket& s = sockets_.at(id);
    if (verb == "send") return send(s, words);
    if (verb == "writev") return writev(s, words);
    if (verb == "recv") return recv(s, words);
    if (verb == "readv") return readv(s, words);
    if (verb == "poll") return poll(s);
    if (verb == "shutdown") return shutdown(s, words);
    if (verb == "close") return close(id);
    if (verb == "dup") return dup(s, words);
    if (verb == "setopt") return set_option(s, words);
    if (verb == "getopt") return get_option(s, words);
    if (verb == "linger") return linger(s, words);
    if (verb == "queued") return queued(s);
    if (verb == "unsent") return unsent(s);
    if (verb == "finishing") return finishing(s);
    if (verb == "offsets") return offsets(s);
    if (verb == "names") return names(s);
    if (verb == "flood") return flood(s);
    if (verb == "drain") return drain(s, words);
    if (verb == "timed") return timed(s, words);
    if (verb == "background") return background(id, s, words);
    return "unknown verb " + verb;
  }

 private:
  std::string listen(std::istringstream& words) {
    int id = 0;
    words >> id;
    const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int off = 0;
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    socklen_t length = sizeof any;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 || ::listen(fd, 64) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&any), &length) != 0)
      return outcome(-1);
    sockets_[id] = {fd, nullptr, nullptr};
    return std::to_string(ntohs(any.sin6_port));
  }

  std::string connect(std::istringstream& words) {
    int id = 0, port = 0;
    std::string address;
    std::uint32_t out = 0, in = 0;
    words >> id >> address >> port >> out >> in;
    sockaddr_storage to{};
    socklen_t length = 0;
    if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&to);
        ::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(static_cast<std::uint16_t>(port));
      length = sizeof *v6;
    } else {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&to);
      ::inet_pton(AF_INET, address.c_str(), &v4->sin_addr);
      v4->sin_family = AF_INET;
      v4->sin_port = htons(static_cast<std::uint16_t>(port));
      length = sizeof *v4;
    }
    const int fd = ::socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int result = ::connect(fd, reinterpret_cast<sockaddr*>(&to), length);
    adopt(id, fd, out, in);
    return outcome(result);
  }

  std::string accept(std::istringstream& words) {
    int listener = 0, id = 0;
    std::uint32_t out = 0, in = 0;
    words >> listener >> id >> out >> in;
    const int fd = ::accept4(sockets_.at(listener).fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return outcome(-1);
    adopt(id, fd, out, in);
    return "accepted";
  }

  void adopt(int id, int fd, std::uint32_t out, std::uint32_t in) {
    sockets_[id] = {fd, std::make_shared<Stream>(Stream{out, 0}),
                    std::make_shared<Stream>(Stream{in, 0})};
  }

  static std::string send(Socket& s, std::istringstream& words) {
    std::size_t n = 0;
    std::string flag;
    words >> n >> flag;
    const std::vector<char> bytes = next_bytes(*s.out, std::min(n, kMost));
    const int before = sigpipes.load();
    const long sent = ::send(s.fd, bytes.data(), bytes.size(), flag_named(flag));
    if (sent > 0) s.out->offset += static_cast<std::uint64_t>(sent);
    return with_sigpipe(sent, before);
  }

  static std::string writev(Socket& s, std::istringstream& words) {
    std::size_t a = 0, b = 0, c = 0;
    words >> a >> b >> c;
    std::vector<char> bytes = next_bytes(*s.out, a + b + c);
    iovec pieces[3] = {{bytes.data(), a}, {bytes.data() + a, b}, {bytes.data() + a + b, c}};
    const int before = sigpipes.load();
    const long sent = ::writev(s.fd, pieces, 3);
    if (sent > 0) s.out->offset += static_cast<std::uint64_t>(sent);
    return with_sigpipe(sent, before);
  }

  static std::string recv(Socket& s, std::istringstream& words) {
    std::size_t n = 0;
    std::string flag;
    words >> n >> flag;
    std::vector<char> bytes(std::min(n, kMost));
    const int flags = flag_named(flag);
    const long got = ::recv(s.fd, bytes.data(), bytes.size(), flags | MSG_DONTWAIT);
    if ((flags & MSG_TRUNC) != 0) {
      const std::string text = outcome(got);
      if (got > 0) s.in->offset += static_cast<std::uint64_t>(got);
      return text;
    }
    const std::string text = judged(*s.in, bytes, got);
    if (got > 0 && (flags & MSG_PEEK) == 0) s.in->offset += static_cast<std::uint64_t>(got);
    return text;
  }

  static std::string readv(Socket& s, std::istringstream& words) {
    std::size_t a = 0, b = 0;
    words >> a >> b;
    if (!has_something(s.fd)) return "nothing to read";
    std::vector<char> bytes(a + b);
    iovec pieces[2] = {{bytes.data(), a}, {bytes.data() + a, b}};
    const long got = ::readv(s.fd, pieces, 2);
    std::string text = judged(*s.in, bytes, got);
    if (got > 0) s.in->offset += static_cast<std::uint64_t>(got);
    return text;
  }

  static bool has_something(int fd) {
    pollfd p{fd, POLLIN, 0};
    return ::poll(&p, 1, 0) > 0;
  }

  static std::string events_text(unsigned events) {
    static const std::pair<unsigned, const char*> kNames[] = {
        {EPOLLIN, "IN"},   {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"},    {EPOLLERR, "ERR"},
        {EPOLLHUP, "HUP"}, {0x20, "NVAL"},    {EPOLLRDHUP, "RDHUP"}};
    std::string text;
    for (const auto& [bit, name] : kNames)
      if ((events & bit) != 0) text += (text.empty() ? "" : "|") + std::string(name);
    return text.empty() ? "none" : text;
  }

  static std::string poll(const Socket& s) {
    pollfd p{s.fd, POLLIN | POLLOUT | POLLRDHUP | POLLPRI, 0};
    if (::poll(&p, 1, 0) < 0) return outcome(-1);
    return events_text(static_cast<unsigned short>(p.revents));
  }

  static std::string shutdown(const Socket& s, std::istringstream& words) {
    std::string how;
    words >> how;
    return outcome(::shutdown(s.fd, how == "read"    ? SHUT_RD
                                    : how == "write" ? SHUT_WR
                                                     : SHUT_RDWR));
  }

  std::string close(int id) {
    const int result = ::close(sockets_.at(id).fd);
    sockets_.erase(id);
    return outcome(result);
  }

  std::string dup(const Socket& s, std::istringstream& words) {
    int id = 0;
    words >> id;
    Socket copy = s;
    copy.fd = ::fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
    if (copy.fd < 0) return outcome(-1);
    sockets_[id] = copy;
    return "duplicated";
  }

  static std::string set_option(const Socket& s, std::istringstream& words) {
    std::string name;
    int value = 0;
    words >> name >> value;
    const Option option = option_named(name);
    return outcome(::setsockopt(s.fd, option.level, option.name, &value, sizeof value));
  }

  static std::string get_option(const Socket& s, std::istringstream& words) {
    std::string name;
    words >> name;
    const Option option = option_named(name);
    int value = 0;
    socklen_t length = sizeof value;
    if (::getsockopt(s.fd, option.level, option.name, &value, &length) != 0) return outcome(-1);
    return name == "error" && value != 0 ? ::strerrorname_np(value) : std::to_string(value);
  }

  static std::string linger(const Socket& s, std::istringstream& words) {
    ::linger how{};
    words >> how.l_onoff >> how.l_linger;
    return outcome(::setsockopt(s.fd, SOL_SOCKET, SO_LINGER, &how, sizeof how));
  }

  static std::string queued(const Socket& s) {
    int unread = 0;
    ::ioctl(s.fd, SIOCINQ, &unread);
    return std::to_string(unread);
  }

  // What the other side has not acknowledged.
  static std::string unsent(const Socket& s) {
    int left = 0;
    ::ioctl(s.fd, SIOCOUTQ, &left);
    return std::to_string(left);
  }

  // Has it said a FIN that was not acknowledged?
  static std::string finishing(const Socket& s) {
    tcp_info info{};
    socklen_t length = sizeof info;
    ::getsockopt(s.fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    const auto state = info.tcpi_state;
    return state == TCP_FIN_WAIT1 || state == TCP_CLOSING || state == TCP_LAST_ACK ? "1" : "0";
  }

  // How much was sent, and how much has arrived.
  static std::string offsets(const Socket& s) {
    int unread = 0;
    ::ioctl(s.fd, SIOCINQ, &unread);
    return std::to_string(s.out->offset) + " " +
           std::to_string(s.in->offset + static_cast<std::uint64_t>(std::max(0, unread)));
  }

  // The port of a listener differs from run to run; who is the other's peer does not.
  std::string names(const Socket& s) {
    sockaddr_storage own{}, peer{};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    const int a = ::getsockname(s.fd, reinterpret_cast<sockaddr*>(&own), &own_length);
    const int b = ::getpeername(s.fd, reinterpret_cast<sockaddr*>(&peer), &peer_length);
    return outcome(a) + " " + (b == 0 ? "0 " + text_of(peer) : outcome(b)) + " " +
           std::to_string(own.ss_family);
  }

  static std::string text_of(const sockaddr_storage& address) {
    char text[INET6_ADDRSTRLEN]{};
    if (address.ss_family == AF_INET6)
      ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text,
                  sizeof text);
    else
      ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text,
                  sizeof text);
    return text;
  }

  // Writes until there is no room, also after a while, in which what is on its way may arrive. How
  // much that is differs between kernel and rings.
  static std::string flood(Socket& s) {
    std::uint64_t total = 0;
    for (;;) {
      const std::vector<char> bytes = next_bytes(*s.out, 60'000);
      const long sent = ::send(s.fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) {
        const std::string why = outcome(-1);
        pollfd p{s.fd, POLLOUT, 0};
        if (errno == EAGAIN && ::poll(&p, 1, 50) > 0) continue;
        return why + " ; " + std::to_string(total);
      }
      s.out->offset += static_cast<std::uint64_t>(sent);
      total += static_cast<std::uint64_t>(sent);
      if (total > kMostOfFlood) return "no end ; " + std::to_string(total);
    }
  }

  // Reads exactly so much, waiting for it.
  static std::string drain(Socket& s, std::istringstream& words) {
    std::uint64_t wanted = 0;
    words >> wanted;
    std::vector<char> bytes(256 * 1024);
    while (wanted > 0) {
      pollfd p{s.fd, POLLIN, 0};
      if (::poll(&p, 1, 10'000) <= 0)
        return "no data for 10 s, " + std::to_string(wanted) + " miss";
      const long got = ::recv(s.fd, bytes.data(), std::min<std::uint64_t>(wanted, bytes.size()), 0);
      const std::string text = judged(*s.in, bytes, got);
      if (got <= 0 || text.find("WRONG") != std::string::npos) return text;
      s.in->offset += static_cast<std::uint64_t>(got);
      wanted -= static_cast<std::uint64_t>(got);
    }
    return "drained";
  }

  // A blocking receive with SO_RCVTIMEO.
  static std::string timed(Socket& s, std::istringstream& words) {
    std::size_t n = 0;
    long ms = 0;
    words >> n >> ms;
    const timeval limit{ms / 1000, ms % 1000 * 1000};
    const timeval none{};
    ::setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::vector<char> bytes(n);
    const long got = ::recv(s.fd, bytes.data(), n, 0);
    const std::string text = judged(*s.in, bytes, got);
    if (got > 0) s.in->offset += static_cast<std::uint64_t>(got);
    ::setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
    return text;
  }

  // Another thread blocks in recv(MSG_WAITALL); `join` tells what it got.
  std::string background(int id, const Socket& s, std::istringstream& words) {
    std::size_t n = 0;
    words >> n;
    auto job = std::make_unique<Background>();
    job->thread = std::thread([job = job.get(), s, n] {
      job->id.store(::gettid());
      std::vector<char> bytes(n);
      const long got = ::recv(s.fd, bytes.data(), n, MSG_WAITALL);
      job->said = judged(*s.in, bytes, got);
      if (got > 0) s.in->offset += static_cast<std::uint64_t>(got);
      job->is_done.store(true);
    });
    // It sleeps or is over before anybody else goes on: else they would race for an error.
    while (!job->is_done.load() && !is_asleep(job->id.load()))
      ::usleep(200);
    background_[id] = std::move(job);
    return "waits";
  }

  std::string join(int id) {
    Background& job = *background_.at(id);
    for (int i = 0; i < 10'000 && !job.is_done.load(); ++i)
      ::usleep(1000);
    if (!job.is_done.load()) return "still blocked after 10 s";
    job.thread.join();
    const std::string said = job.said;
    background_.erase(id);
    return said;
  }

  std::string epoll_create(std::istringstream& words) {
    int id = 0;
    words >> id;
    epolls_[id] = ::epoll_create1(EPOLL_CLOEXEC);
    return epolls_[id] >= 0 ? "made" : outcome(-1);
  }

  std::string epoll_ctl(std::istringstream& words) {
    int epoll = 0, id = 0;
    std::string verb, mode;
    words >> epoll >> verb >> id >> mode;
    epoll_event event{};
    event.data.u32 = static_cast<std::uint32_t>(id);
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
    if (mode == "in" || mode == "in-edge") event.events = EPOLLIN | EPOLLRDHUP;
    if (mode == "edge" || mode == "in-edge") event.events |= EPOLLET;
    if (mode == "once") event.events |= EPOLLONESHOT;
    const int operation = verb == "add"   ? EPOLL_CTL_ADD
                          : verb == "mod" ? EPOLL_CTL_MOD
                                          : EPOLL_CTL_DEL;
    return outcome(::epoll_ctl(epolls_.at(epoll), operation, sockets_.at(id).fd, &event));
  }

  // What so many calls together report.
  std::string epoll_wait(std::istringstream& words, int calls) {
    int id = 0;
    words >> id;
    std::map<std::uint32_t, std::string> sorted;
    for (int call = 0; call < calls; ++call) {
      epoll_event events[64];
      const int n = ::epoll_wait(epolls_.at(id), events, 64, 0);
      if (n < 0) return outcome(-1);
      if (calls > 1) ::usleep(500);  // of a move a waiter is told a little later
      for (int i = 0; i < n; ++i)
        sorted[events[i].data.u32] = events_text(events[i].events);
    }
    std::string text = std::to_string(sorted.size());
    for (const auto& [socket, what] : sorted)
      text += " " + std::to_string(socket) + ":" + what;
    return text;
  }

  std::map<int, Socket> sockets_;
  std::map<int, int> epolls_;
  std::map<int, std::unique_ptr<Background>> background_;
};

}  // namespace

int main() {
  ::signal(SIGPIPE, on_sigpipe);
  Worker worker;
  for (std::string line; std::getline(std::cin, line);) {
    std::string answer;
    try {
      answer = worker.run(line);
    } catch (const std::exception& error) {
      answer = std::string("bad line: ") + error.what();
    }
    std::cout << answer << std::endl;  // flushed: the other side waits for it
  }
  ::_exit(0);  // as a program that ends: what it left open, the kernel closes
}
