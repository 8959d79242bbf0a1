// The kernel socket as host stack: emptied while its connection is offloaded, refilled when it
// comes home, never replaced (design section 2). Linux TCP_REPAIR. Control thread or keeper;
// CAP_NET_ADMIN.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "snp/base/result.h"
#include "snp/chimney/reason.h"
#include "snp/host/socket_mark.h"
#include "snp/state/connection_state.h"
#include "snp/state/host_socket.h"
#include "snp/state/stream_ring.h"

namespace snp::host {

// What the host holds of the connection right now; decides about eligibility and ring sizes.
struct SocketSurvey {
  FourTuple tuple;
  TcpState state = TcpState::kEstablished;
  std::uint32_t unread_bytes = 0;                        // SIOCINQ
  std::uint32_t unsent_bytes = 0;                        // SIOCOUTQNSD
  std::uint32_t unacked_bytes = 0;                       // SIOCOUTQ, all of the send queue
  std::uint64_t cookie = 0;                              // SO_COOKIE
  std::uint32_t bound_ifindex = 0;                       // SO_BINDTODEVICE or link-local scope
  chimney::Reason reason = chimney::Reason::kOffloaded;  // != kOffloaded: cannot move, and why
};

// Looks, changes nothing. Fails only when `fd` is no TCP socket at all.
Result<SocketSurvey> survey(int fd);
// What survey() would say of the address of a socket that does not exist yet: kLocalAddress or
// kOffloaded.
chimney::Reason foresee_address(const FourTuple& flow);

// Steps 2-6 of the design. Bytes of both queues go into the rings: unread ones from rx_range.begin
// on, unacknowledged and unsent ones so that they end at tx_end (what the application wrote so
// far). On failure the socket is as it was before (refilled if need be) and stays in the host.
struct Parked {
  ConnectionState state;  // constant.ifindex, MACs and path MTU are not filled in
  HostSocketMemo memo;
  StreamRange rx_range;
  StreamRange tx_range;  // begin: snd_una
  SocketMark mark;       // at the end of its stay in the host
};

// Told by park() before each step that takes something from the socket, so that it stands where it
// survives this process: whoever is left can then put the socket right (design section 4).
class ParkJournal {
 public:
  virtual ~ParkJournal() = default;
  // From here on release() puts the socket right.
  virtual void before_silencing(const HostSocketMemo& memo) = 0;
  // The bytes of both queues are in the rings. From here on unpark() does, from the start, also
  // while the socket is still whole.
  virtual void before_emptying(const Parked& parked) = 0;
};
// `journal` may be null. After a failure it counts no more.
Result<Parked> park(int fd, const StreamRing& rx, std::uint64_t rx_begin, const StreamRing& tx,
                    std::uint64_t tx_end, ParkJournal* journal = nullptr);

// The steps of park(), for two sockets that are each other's peer: both are silenced before either
// is dumped, or a segment from the live end is answered with a reset; both are dumped before either
// is emptied, so that until then both can be released as if nothing had been. While the first is
// emptied it is nobody's for a moment: a timer of the second may then draw a reset, which ends at
// the second's filter.
// On failure the socket is as it was before. What does not reach it any more, its peer still has.
Result<HostSocketMemo> silence(int fd, ParkJournal* journal);
// Pre: silence(). Copies, changes nothing.
Result<Parked> dump(int fd, const HostSocketMemo& memo, const StreamRing& rx,
                    std::uint64_t rx_begin, const StreamRing& tx, std::uint64_t tx_end);
// Pre: dump(). On failure whatever is left of the socket is silent, and refill() is the way back.
Result<> empty(int fd, const Parked& parked);

// For a socket that a park() cut short may have silenced and has not emptied: as it was before.
Result<> release(int fd, const HostSocketMemo& memo);

// The way back. Pre: steering is kReturn: nothing reaches the half-built socket, but what it sends
// passes (bytes that were never sent leave at once; fenced, they would wait for a timer). When the
// socket must be told once more what the peer had already said (its FIN; its ACK of ours; its ACK
// of an old byte, from which the socket learns a round-trip time), needs_forged_segment is set: the
// caller, after steering is off, gives it make_forged_segment() through PacketQueue::reinject(),
// before the frames that arrived meanwhile: their timestamps are newer. May be called again
// from the start after a crash in the middle. Every state comes home. LAST_ACK and CLOSING become
// FIN_WAIT_1, which the forged FIN of the peer makes CLOSING: what is in flight, our FIN behind it,
// is the kernel's to repeat. TIME_WAIT becomes FIN_WAIT_1, and the forged FIN, which acknowledges
// ours, makes it the kernel's TIME_WAIT. CLOSED is a connection that was reset or has timed out:
// the unread bytes go in, `tx_range` does not, and the forged segment is a reset.
struct Unparked {
  bool needs_forged_segment = false;
  SocketMark mark;             // where its stay in the host begins
  std::uint32_t filtered = 0;  // segments that its filter has dropped while it was parked
};
Result<Unparked> unpark(int fd, const ConnectionState& state, const HostSocketMemo& memo,
                        const StreamRing& rx, const StreamRange& rx_range, const StreamRing& tx,
                        const StreamRange& tx_range);

// The steps of unpark(), for two sockets that are each other's peer: each step is done for both
// before the next. After refill() a socket is whole but for what was never sent, and still silent:
// it can neither send nor answer. After resume() it hears and answers. send_rest() sends.
struct Refilled {
  std::uint32_t sent = 0;     // bytes of tx_range that count as sent and are in the send queue
  std::uint32_t probed = 0;   // bytes that had been sent and go out once more
  bool asks_peer = false;     // a window probe goes out
  bool shut_after = false;    // our FIN leaves behind the rest
  bool needs_forged = false;  // see unpark()
  bool repeats_fin = false;   // our FIN had been sent and goes out once more
  SocketMark mark;            // see unpark()
  std::uint32_t filtered = 0;
};
Result<Refilled> refill(int fd, const ConnectionState& state, const HostSocketMemo& memo,
                        const StreamRing& rx, const StreamRange& rx_range, const StreamRing& tx,
                        const StreamRange& tx_range);
Result<> resume(int fd, const CachedState& cached, const HostSocketMemo& memo,
                const Refilled& refilled);
Result<> send_rest(int fd, const CachedState& cached, const HostSocketMemo& memo,
                   const Refilled& refilled, const StreamRing& tx, const StreamRange& tx_range);

// The frame for that: the peer's FIN, if it has sent one, else its ACK of all up to SND.UNA, our
// FIN among it in FIN_WAIT_2; a reset in CLOSED; with checksums. It echoes what the refilled socket
// `fd` would have sent a round trip ago. Returns the length written. Pre: out.size() >= 128.
std::size_t make_forged_segment(const ConnectionState& state, int fd, std::span<std::byte> out);

// Ends a parked socket for good, in silence: drop it without a packet. The descriptor is closed by
// its owner. For connections that the engine has finished or aborted.
void bury(int fd);

// Resets a connection that the host has: its peer, too, sees ECONNRESET.
void reset(int fd);

}  // namespace snp::host
