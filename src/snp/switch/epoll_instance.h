// What the switch adds to an epoll instance that has a tracked connection: its registrations, a
// wait set whose eventfd sits in the real epoll set, and the list of connections that may be ready.
//
// Lanes tell of local connections, the wait set of the others, and of every change of mode.
//
// The real set keeps every other descriptor, and our connections while they are in the host, with a
// tag of their registration as data. While a connection is offloaded its kernel registration is
// taken out. Locks: the registry's (who is registered where), then the instance's.
#pragma once

#include <atomic>
#include <cstdint>

#include <signal.h>
#include <sys/epoll.h>

#include "snp/switch/connection.h"
#include "snp/switch/epoll_lanes.h"
#include "snp/switch/stream.h"
#include "snp/switch/wait.h"

namespace snp::switch_ {

class EpollInstance;

// How many sleep in the kernel's wait of a set that had no instance when they came (nearly: of some
// sets together).
std::atomic<std::uint32_t>& kernel_waiters(int epoll_fd) noexcept;

struct EpollEntry {
  EpollInstance* owner = nullptr;  // nullptr: not in use
  Connection* connection = nullptr;
  int fd = -1;
  std::uint32_t events = 0;  // as the program asked
  epoll_data_t data{};
  bool in_kernel = false;         // the real set has it
  std::uint32_t kernel_word = 0;  // the mode word when it was told to look last
  bool is_fired = false;          // EPOLLONESHOT has reported: silent until EPOLL_CTL_MOD
  bool is_marked = false;         // something happened since the last report (EPOLLET)
  bool is_fresh = false;          // added, changed or moved since then: all there is is an edge
  bool lost_event = false;        // a kernel event was swallowed during a hand-over
  bool is_listed = false;         // in the instance's list
  Look seen;                      // at the last report
  std::uint32_t word = 0;         // the mode word under which it was attached: see attach()
  ipc::LaneId lane = 0;           // that tells of the connection, when it is local
  EpollEntry* listed_next = nullptr;
  EpollEntry* listed_before = nullptr;
  EpollEntry* same_slot_next = nullptr;        // of the instance
  EpollEntry* same_connection_next = nullptr;  // of all instances
  EpollEntry* next_free = nullptr;
  // Of this use of the memory: an event of an earlier one may still be on its way.
  std::uint16_t serial = 0;
};

// What a registration has as its data in the real set: its address, above it the serial.
inline std::uint64_t tag_of(const EpollEntry& entry) noexcept {
  return reinterpret_cast<std::uintptr_t>(&entry) | std::uint64_t{entry.serial} << 48;
}
inline EpollEntry* address_in(std::uint64_t tag) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a tagged pointer
  return reinterpret_cast<EpollEntry*>(tag & 0xffff'ffff'ffff);
}

class EpollInstance {
 public:
  // The instance's own descriptors in the real set carry its address, plus: 0 the wait set's, ...
  static constexpr std::size_t kControlMark = 1, kLaneMark = 2;

  // For a descriptor that has no instance yet; nullptr when it is no epoll descriptor or no wait
  // set is left.
  static EpollInstance* make(int epoll_fd, Session& session) noexcept;

  long control(int operation, int fd, Connection& c, epoll_event* event) noexcept;
  // As epoll_pwait. Negative errno.
  long wait(epoll_event* events, int most, Duration timeout, const sigset_t* mask) noexcept;

  // The same, after the kernel has reported `count` events of the real set to somebody who came
  // before there was the instance.
  long wait_after(epoll_event* events, int count, int most, Duration timeout,
                  const sigset_t* mask) noexcept;

  // Somebody waits for the instance's own descriptor: its eventfd must work without a sleeper here.
  void serve_outer_waiter() noexcept;
  EpollInstance* next_free = nullptr;

 private:
  friend void forget_registrations(Connection& c, int fd) noexcept;
  friend void release_epoll_descriptor(EpollInstance& instance, int fd) noexcept;
  friend void adopt_epoll_duplicate(EpollInstance& instance) noexcept;
  friend void reset_epoll_locks() noexcept;

  bool open(int epoll_fd, Session& session) noexcept;
  bool enter_set() noexcept;
  void watch_control() noexcept;
  void close() noexcept;
  void change_session(Session& session) noexcept;
  bool join(Session& session) noexcept;

  long add(int fd, Connection& c, const epoll_event& event) noexcept;
  long modify(EpollEntry& entry, const epoll_event& event) noexcept;
  bool modify(int fd, Connection& c, const epoll_event& event, long& result) noexcept;
  enum class InKernel : bool { kTakeOut, kGoesByItself };
  void remove(EpollEntry& entry, InKernel how = InKernel::kTakeOut) noexcept;
  EpollEntry* find(int fd, const Connection& c) noexcept;

  void list(EpollEntry& entry) noexcept;
  void unlist(EpollEntry& entry) noexcept;
  void take_marks() noexcept;
  int collect(epoll_event* events, int most) noexcept;
  bool report(EpollEntry& entry, epoll_event& event) noexcept;
  void follow_mode(EpollEntry& entry, ipc::SlotMode mode) noexcept;
  static bool is_still_true(EpollEntry& entry, std::uint32_t word, epoll_event& event) noexcept;
  bool attach(EpollEntry& entry, std::uint32_t word) noexcept;
  [[nodiscard]] SpinBounds bounds() const noexcept;
  long put_in_kernel(EpollEntry& entry, int operation) noexcept;
  void take_from_kernel(EpollEntry& entry) noexcept;

  // What the kernel said. A connection that it has told of in this call is not looked for in the
  // rings as well: it may have moved there meanwhile, and would be told twice.
  struct Told {
    long count = 0;  // negative errno
    bool has_connections = false;
  };
  Told ask_kernel(epoll_event* events, int most, Duration timeout, const sigset_t* mask) noexcept;
  Told translate(epoll_event* events, int count) noexcept;
  bool translate_one(epoll_event& event) noexcept;
  Told sleep(epoll_event* events, int most, Duration timeout, const sigset_t* mask) noexcept;
  long with_rings(epoll_event* events, int most, Told told) noexcept;
  long wait_here(epoll_event* events, int most, Deadline& deadline, const sigset_t* mask) noexcept;
  long wait_foreign(epoll_event* events, int most, Deadline& deadline,
                    const sigset_t* mask) noexcept;
  bool wait_for_moving() noexcept;
  bool is_time_to_look() noexcept;
  void look_at_all(bool is_lost) noexcept;
  void wake_sleeper() noexcept;
  void ring_without_sleeper() noexcept;
  void become_foreign() noexcept;
  template <class Visit>
  void for_each_entry(Visit&& visit) noexcept;
  [[nodiscard]] bool may_be_ready() const noexcept;

  struct Moving {  // a connection whose gate was closed, and its mode word
    Connection* connection = nullptr;
    std::uint32_t word = 0;
  };

  Lock lock_;
  Moving moving_;
  Session* session_ = nullptr;
  ipc::WaitSet* wait_set_ = nullptr;
  ipc::WaitSetId id_ = 0;
  int epoll_fd_ = -1;
  int eventfd_ = -1;
  std::uint32_t epoch_ = 0;
  bool is_foreign_ = false;  // made by the parent, used by a child: everything is in the host
  std::atomic<std::uint32_t> descriptors_{0};
  std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<std::uint32_t> offloaded_{0};  // registrations that are not in the real set
  Spinner spinner_;
  EpollLanes lanes_;
  // Where the other side of the local connection wrote last that was looked at last.
  std::atomic<std::uint32_t> peer_cpu_{0xffffffff};
  std::atomic<Instant::rep> next_look_{0};
  std::atomic<std::uint32_t> lane_edges_{0};  // wake-ups by lanes
  std::atomic<bool> has_stalled_{false};      // some wait for room, and nobody reads
  bool must_look_ = false;                    // some connection can be told only by looking again
  std::atomic<std::uint32_t> rounds_{0};      // calls served from rings since the kernel was asked
  // Whom nobody here counts: the eventfd must work for them without a sleeper.
  static constexpr std::uint32_t kOuter = 1, kEarly = 2;
  std::atomic<std::uint32_t> uncounted_{0};
  EpollEntry* listed_first_ = nullptr;
  EpollEntry* listed_last_ = nullptr;
  std::atomic<std::uint32_t> listed_count_{0};
  EpollEntry** by_slot_ = nullptr;  // [kSlots]
};

template <class Visit>
void EpollInstance::for_each_entry(Visit&& visit) noexcept {
  for (std::uint32_t id = 0; id < ipc::kSlots; ++id)
    for (EpollEntry *e = by_slot_[id], *next = nullptr; e != nullptr; e = next) {
      next = e->same_slot_next;
      visit(*e);
    }
}

// The last descriptor of a registration goes, as the kernel would forget it.
void forget_registrations(Connection& c, int fd) noexcept;
void release_epoll_descriptor(EpollInstance& instance, int fd) noexcept;
void adopt_epoll_duplicate(EpollInstance& instance) noexcept;
void reset_epoll_locks() noexcept;

}  // namespace snp::switch_
