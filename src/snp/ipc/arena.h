// The shared memory between one application process (its switch) and snpd. Layout only; the rules
// of use are in slot_gate.h, wait_set.h and doorbell.h.
//
//   +-------------+--------------+--------------------+-----------+--------------------+------------+
//   | ArenaHeader | Slot[kSlots] | WaitSet[kWaitSets] | Doorbells | OriginRow[kOrigins] | ring
//   space |
//   +-------------+--------------+--------------------+-----------+--------------------+------------+
//   0             kSlotsOffset   kWaitSetsOffset      ...         kOriginsOffset       kRingsOffset
//
// One memfd per attached process, made and sealed (size) by snpd, sparse: pages appear when
// touched. Every word is written by one side only, as its comment says: [app] the switch, [snpd]
// snpd. snpd reads [app] words as hostile: copy once, check, then use.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "snp/state/tcp_counters.h"

namespace snp::ipc {

inline constexpr std::uint32_t kArenaMagic = 0x504e5361;
inline constexpr std::uint32_t kArenaVersion = 6;
inline constexpr std::uint32_t kSlots = 16384;
inline constexpr std::uint32_t kWaitSets = 1024;
inline constexpr std::uint32_t kMaxShards = 64;
inline constexpr std::uint32_t kOrigins = 256;
inline constexpr std::uint32_t kSlotWords = kSlots / 64;
inline constexpr std::uint32_t kSlotSummaryWords = kSlotWords / 64;
static_assert(kSlotSummaryWords == 4);

using SlotId = std::uint32_t;
inline constexpr SlotId kNoSlot = 0xffffffff;
using WaitSetId = std::uint16_t;  // 0: none
using OriginId = std::uint16_t;   // 0: none
inline constexpr std::size_t kWaitSetsPerSlot = 4;

// Who carries the connection's calls now (the glossary's offload states).
enum class SlotMode : std::uint8_t {
  kInHost = 0,      // the kernel socket
  kOffloading = 1,  // calls wait at the gate
  kOffloaded = 2,   // the rings
  kUploading = 3,   // calls wait at the gate
};

// SlotEngineSide::mode_word: generation << 8 | SlotMode. The generation grows by one with each
// change of mode, so a caller that slept can tell that the world changed.
constexpr std::uint32_t make_mode_word(std::uint32_t generation, SlotMode mode) noexcept {
  return generation << 8 | static_cast<std::uint32_t>(mode);
}
constexpr SlotMode mode_of(std::uint32_t word) noexcept {
  return static_cast<SlotMode>(word & 0xff);
}
constexpr std::uint32_t generation_of(std::uint32_t word) noexcept {
  return word >> 8;
}

// SlotEngineSide::status bits. They stay set until the slot is freed.
namespace slot_status {
inline constexpr std::uint32_t kPeerClosed = 1u << 0;  // end of file after rx_head
inline constexpr std::uint32_t kError = 1u
                                        << 1;  // `error` holds the errno of the failed connection
inline constexpr std::uint32_t kReleased =
    1u << 2;  // snpd needs the slot no more: the application resets both sides and reuses it
}  // namespace slot_status

// SlotAppSide::flags bits, set once by the application for the life of the slot.
namespace slot_flag {
inline constexpr std::uint32_t kShutdownWrite = 1u << 0;
inline constexpr std::uint32_t kShutdownRead = 1u << 1;
inline constexpr std::uint32_t kClosed = 1u << 2;  // last descriptor closed: finish and release
inline constexpr std::uint32_t kAbort = 1u << 3;   // with kClosed: SO_LINGER 0, or unread data: RST
inline constexpr std::uint32_t kSharedByFork = 1u
                                               << 4;   // a child may hold copies of the descriptor
inline constexpr std::uint32_t kStayInHost = 1u << 5;  // never offload (again): see request_reason
}  // namespace slot_flag

// SlotAppSide::request values: what the application's side asks of snpd's control thread.
enum class SlotRequest : std::uint32_t { kNone = 0, kOffload = 1, kUpload = 2 };

// Socket options as the application set them, for snpd to follow. Written under the gate, then
// options_generation is raised and the doorbell rung.
struct SlotOptions {
  std::uint8_t no_delay = 0, cork = 0, quick_ack = 0, keepalive = 0;
  // IP_TOS and IP_TTL, IPV6_TCLASS and IPV6_UNICAST_HOPS: of the family that it has not they are 0.
  std::uint8_t v4_tos = 0, v4_ttl = 0, v6_tos = 0, v6_ttl = 0;
  std::uint32_t keepalive_idle_s = 0, keepalive_interval_s = 0, keepalive_probes = 0;
  std::uint32_t user_timeout_ms = 0, notsent_lowat = 0;
  std::uint32_t linger_on = 0, linger_s = 0;
  std::uint32_t receive_buffer = 0, send_buffer = 0;  // SO_RCVBUF, SO_SNDBUF if set by the user
  std::uint64_t max_pacing_rate = 0;                  // SO_MAX_PACING_RATE, 0: none
  std::array<char, 16> congestion_control{};          // TCP_CONGESTION if set by the user
};

struct alignas(64) SlotAppSide {                 // [app]
  std::atomic<std::uint64_t> tx_head{0};         // stream position after the last byte written
  std::atomic<std::uint64_t> rx_tail{0};         // stream position of the next byte to read
  std::atomic<std::uint32_t> users{0};           // calls inside the gate
  std::atomic<std::uint32_t> flags{0};           // slot_flag
  std::atomic<std::uint32_t> wants_write{0};     // notify when room appears in the transmit ring
  std::atomic<std::uint32_t> receive_low_at{1};  // SO_RCVLOWAT
  std::array<std::atomic<WaitSetId>, kWaitSetsPerSlot> wait_sets{};  // to be told
  std::atomic<std::uint32_t> in_use{0};  // odd: allocated; +1 at each allocate and free
  std::int32_t fd = -1;                  // a descriptor of the kernel socket, in the app
  std::atomic<SlotRequest> request{SlotRequest::kNone};
  std::atomic<std::uint32_t> options_generation{0};
  std::atomic<std::uint16_t> request_reason{0};  // chimney reason code that goes with kUpload
  std::atomic<OriginId> origin{0};               // where it came from; set before the first request
};
static_assert(sizeof(SlotAppSide) == 64);

struct alignas(64) SlotEngineSide {         // [snpd]
  std::atomic<std::uint32_t> mode_word{0};  // futex word: woken at each change
  std::atomic<std::uint32_t> status{0};     // slot_status
  std::atomic<std::uint64_t> rx_head{0};    // stream position after the last byte readable
  std::atomic<std::uint64_t> tx_tail{0};    // stream position of the oldest byte still needed
  std::uint64_t rx_ring = 0, tx_ring = 0;   // offsets into the arena; stable while offloaded
  std::uint32_t rx_size = 0, tx_size = 0;   // powers of two
  std::atomic<std::int32_t> error{0};
  std::atomic<std::uint16_t> reason{0};  // chimney reason code, shown by `snp connections`
  std::atomic<std::uint8_t> shard{0};    // whose doorbell to ring
  // Who carries it: the engine (kNoPair), or the rings of a pair, where rx_ring and tx_ring are
  // offsets into the pair's memory. Stable while offloaded.
  std::uint8_t pair_side = 0;
  std::uint32_t pair = 0;        // PairNumber
  std::uint32_t pair_index = 0;  // of the connection in its pair
};
static_assert(sizeof(SlotEngineSide) == 64);

// Bytes of the rings that may be used now; 0: all. Read with each call, seldom written: a line of
// its own.
struct alignas(64) SlotBuffers {  // [snpd]
  std::atomic<std::uint32_t> rx_limit{0}, tx_limit{0};
};

// Written by the shard at most every few milliseconds for getsockopt(TCP_INFO); advisory. What is
// counted is in SlotLife.
struct alignas(64) SlotInfo {  // [snpd]
  std::atomic<std::uint32_t> srtt_us{0}, rttvar_us{0}, rto_us{0};
  std::atomic<std::uint32_t> snd_mss{0}, rcv_mss{0}, cwnd_segments{0}, ssthresh_segments{0};
  std::atomic<std::uint32_t> unacked_segments{0}, rcv_space{0};
  std::atomic<std::uint32_t> tcp_state{0};  // the kernel's numbering (tcp_states.h)
  std::atomic<std::uint32_t> snd_wnd{0};
  std::atomic<std::uint32_t> ca_state{0};  // the kernel's: 0 open, 2 ECN, 3 recovery, 4 loss
  std::atomic<std::uint32_t> retransmits{0}, probes{0}, backoff{0};
  std::atomic<std::uint32_t> sacked_segments{0}, lost_segments{0}, resent_segments{0};
  std::atomic<std::uint32_t> notsent_bytes{0}, min_rtt_us{0}, rcv_rtt_us{0}, rcv_wnd{0};
  std::atomic<std::uint32_t> is_app_limited{0};
  std::atomic<std::uint32_t> last_data_sent_ms{0}, last_data_recv_ms{0}, last_recv_ms{0};  // ticks
  std::atomic<std::uint64_t> pacing_rate{0}, delivery_rate{0};  // bytes per second; 0: none
};
static_assert(sizeof(SlotInfo) == 128);

// What TCP_INFO counts over the connection's whole life, whoever had it. In the host: what its
// socket has counted beyond `start` is added to `counted`. With a target: `counted` is what it was
// when the target got the connection, kept up to date by its shard, but for bytes; those follow
// from the positions of the streams and these offsets, so that not even an engine that is killed
// loses any. Modulo 2^64. snpd writes them while the gate is closed.
struct alignas(64) SlotLife {  // [snpd]
  SharedTcpCounters counted, start;
  std::atomic<std::uint64_t> received_offset{0};      // to the position after what has arrived
  std::atomic<std::uint64_t> acked_offset{0};         // to that of the oldest unacknowledged byte
  std::atomic<std::uint64_t> sent_offset{0};          // to `sent`; bytes sent again come on top
  std::atomic<std::uint64_t> sent{0};                 // position after the last byte ever sent
  std::atomic<std::uint32_t> in_use{0};               // the use of the slot that it tells of
  std::atomic<std::uint32_t> is_fin_acknowledged{0};  // ours, by the peer
};
static_assert(sizeof(SlotLife) == 256);

struct alignas(64) SlotFacts {  // [app]: seldom written
  SlotOptions options;
  std::atomic<std::uint64_t> host_bytes_in{0}, host_bytes_out{0};  // carried by kernel calls
  std::atomic<std::uint32_t> host_calls_in{0}, host_calls_out{0};
};

// Where tx_head and rx_tail of a fresh slot start: far from zero, because at an offload the bytes
// of the kernel's send queue take the positions that end at tx_head.
inline constexpr std::uint64_t kFirstPosition = 1ull << 40;

struct Slot {
  SlotAppSide app;
  SlotEngineSide engine;
  SlotBuffers buffers;
  SlotInfo info;
  SlotLife life;
  SlotFacts facts;
};
static_assert(sizeof(Slot) % 64 == 0);

constexpr std::uint32_t usable(std::uint32_t limit, std::uint32_t ring) noexcept {
  return limit != 0 && limit < ring ? limit : ring;
}

// A writer that found no room sets wants_write and is told when this much is free; EPOLLOUT means
// the same (the kernel's is a third of the queue, sk_stream_is_writeable). TCP_NOTSENT_LOWAT: when
// half of that is free (tcp_stream_memory_free).
constexpr std::uint32_t write_room(std::uint32_t tx_usable, std::uint32_t notsent_lowat) noexcept {
  const std::uint32_t room = tx_usable / 4;
  return notsent_lowat == 0 || notsent_lowat / 2 > room ? room : notsent_lowat / 2;
}

// A set of slots as a bitmap with a summary: set by any thread, drained by one.
struct alignas(64) SlotBitmap {
  std::array<std::atomic<std::uint64_t>, kSlotSummaryWords>
      summary{};  // bit w: words[w] may be non-zero
  std::array<std::atomic<std::uint64_t>, kSlotWords> words{};
};

// One waiter of the application: an epoll instance, or a thread in poll, select or a blocking call.
struct alignas(64) WaitSet {
  std::atomic<std::uint32_t> sleeping{0};      // [app] 1: ring the eventfd; snpd takes it back to 0
  std::atomic<std::uint32_t> cpu{0xffffffff};  // [app] where the waiter went to sleep
  SlotBitmap ready;                            // [snpd sets, app drains]
};

// What the application wants a shard, or the control thread, to look at.
struct Doorbells {
  std::array<SlotBitmap, kMaxShards> shard;  // [app sets, shard drains]
  SlotBitmap control;                        // [app sets, control thread drains]
};

// What snpd says of the next connection of an origin, before it has carried anything.
enum class OriginAdvice : std::uint32_t {
  kNone = 0,   // nothing yet: ask once
  kProve = 1,  // it must prove itself: ask when it has
  kEager = 2,  // ask at once
};

// Where connections of this process come from: a listener of its, or the port that it connects to.
// So that connections which prove nothing need not tell snpd that they were there.
struct alignas(64) OriginRow {
  // [app]; the key is stable while a connection names the row, and `generation` grows when it
  // changes
  std::array<std::uint8_t, 16> address{};  // as IpAddress; the listener's
  std::uint16_t port = 0;                  // the listener's, or the remote one
  std::uint8_t is_listener = 0;
  std::atomic<std::uint32_t> generation{0};   // 0: the row was never used
  std::atomic<std::uint32_t> short_lived{0};  // ended in the host without having proved anything
  std::atomic<std::uint32_t> has_asked{0};    // 1: on kNone, once
  // Ended in the host with enough to be looked at, before snpd came to it; what these carried.
  std::atomic<std::uint32_t> missed{0};
  std::atomic<std::uint64_t> missed_calls{0}, missed_bytes{0};
  // [snpd]
  std::atomic<std::uint32_t> advice{0};  // generation << 2 | OriginAdvice
};
static_assert(sizeof(OriginRow) == 64);

constexpr std::uint32_t make_advice(std::uint32_t generation, OriginAdvice advice) noexcept {
  return generation << 2 | static_cast<std::uint32_t>(advice);
}
// Advice that was given to an earlier use of the row is none.
constexpr OriginAdvice advice_in(std::uint32_t word, std::uint32_t generation) noexcept {
  return word >> 2 == (generation & 0x3fffffff) ? static_cast<OriginAdvice>(word & 3)
                                                : OriginAdvice::kNone;
}

struct ArenaHeader {  // [snpd], before the application sees it
  std::uint32_t magic = kArenaMagic;
  std::uint32_t version = kArenaVersion;
  std::uint64_t arena_size = 0;
  std::uint32_t shards = 0;
  std::uint32_t reserved = 0;
};

constexpr std::size_t align_page(std::size_t n) noexcept {
  return (n + 4095) & ~std::size_t{4095};
}

inline constexpr std::size_t kSlotsOffset = 4096;
inline constexpr std::size_t kWaitSetsOffset = align_page(kSlotsOffset + sizeof(Slot) * kSlots);
inline constexpr std::size_t kDoorbellsOffset =
    align_page(kWaitSetsOffset + sizeof(WaitSet) * kWaitSets);
inline constexpr std::size_t kOriginsOffset = align_page(kDoorbellsOffset + sizeof(Doorbells));
inline constexpr std::size_t kRingsOffset =
    align_page(kOriginsOffset + sizeof(OriginRow) * kOrigins);

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// A page that snpd writes and every attached process maps read-only: who sleeps, and the policy
// that the switch applies by itself. One memfd per snpd.
struct alignas(64) ShardBell {
  // 0: awake. Else the number of this sleep: write to the shard's eventfd after ringing, once a
  // sleep.
  std::atomic<std::uint32_t> sleeping{0};
  // Where the shard ran last. A waiter on the same CPU gains nothing by spinning: it sleeps at
  // once.
  std::atomic<std::uint32_t> cpu{0xffffffff};
  // The number of the last sleep: the next engine counts on, for an application remembers for which
  // sleep it has written.
  std::atomic<std::uint32_t> last_sleep{0};
};

enum class ChimneyMode : std::uint32_t { kDisabled = 0, kEnabled = 1, kAutomatic = 2 };

struct Bulletin {  // [snpd]
  std::uint32_t magic = kArenaMagic;
  std::uint32_t version = kArenaVersion;
  std::array<ShardBell, kMaxShards> shard;
  ShardBell control;
  std::atomic<std::uint32_t> shards{1};
  std::atomic<ChimneyMode> chimney{ChimneyMode::kAutomatic};
  std::atomic<std::uint32_t> automatic_bytes{
      0};  // kAutomatic: ask once a connection moved this much
  std::atomic<std::uint32_t> automatic_calls{0};  //             or made so many calls
  std::atomic<std::uint32_t> spin_us{0};          // longest busy wait before a waiter sleeps
  std::atomic<std::uint32_t> local_spin_us{0};    // the same, where a local connection is awaited
  // kAutomatic: 1: rules may offload a connection at once, ask at its first call, too
  std::atomic<std::uint32_t> has_eager_rules{0};
};

}  // namespace snp::ipc
