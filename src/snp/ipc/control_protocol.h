// Messages on the AF_UNIX SEQPACKET socket of snpd (abstract name, so one per network namespace).
// The switch speaks fixed binary messages; the command line speaks JSON text inside kCommand.
// Every message starts with MessageHeader; its length is the datagram's. Unknown kinds, wrong
// lengths and wrong versions end the session of the sender and nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

namespace snp::ipc {

inline constexpr char kControlSocketName[] = "snp.control";  // abstract: sun_path[0] = 0
inline constexpr std::uint32_t kProtocolMagic = 0x31504e53;  // "SNP1"
inline constexpr std::size_t kMaxMessage = 64 * 1024;

enum class MessageKind : std::uint16_t {
  kAttach = 1,     // switch -> snpd: Attach
  kAttached = 2,   // snpd -> switch: Attached + fds {arena, bulletin, control bell, shard bells...}
  kWaitSet = 3,    // switch -> snpd: WaitSetMessage + fd {eventfd}; snpd rings the eventfd once
  kRefused = 4,    // snpd -> switch: Refused; the session ends
  kCommand = 5,    // command line -> snpd: JSON text follows the header
  kReply = 6,      // snpd -> command line: JSON text, more parts follow
  kReplyLast = 7,  // snpd -> command line: JSON text, last part
  kPair = 8,       // snpd -> switch: PairMessage + fds {memory, pidfd of the peer process}
  kLane = 9,       // switch -> snpd: LaneMessage + fd {eventfd}: a waiter of ours in this pair.
                   // snpd -> switch: the same of the other side; snpd then rings it once, also
                   // when the other side is gone: what it told before found no descriptor
  kPairGone = 10,  // snpd -> switch: PairGone: no connection of it will come any more
  // JSON text follows the header; doc/events.md.
  kSubscribe = 11,  // client -> snpd; answered by kReplyLast
  kEvent = 12,      // snpd -> client: an event, or a question
  kVerdict = 13,    // client -> snpd: its answer
};

struct MessageHeader {
  std::uint32_t magic = kProtocolMagic;
  MessageKind kind{};
  std::uint16_t reserved = 0;
};

struct Attach {
  MessageHeader header{kProtocolMagic, MessageKind::kAttach, 0};
  std::uint32_t arena_version = 0;
  std::uint32_t pid = 0;           // as the program sees itself; snpd trusts SO_PEERPIDFD only
  std::array<char, 64> program{};  // for people
};

struct Attached {
  MessageHeader header{kProtocolMagic, MessageKind::kAttached, 0};
  std::uint32_t shards = 0;
  std::uint32_t reserved = 0;
  std::uint64_t arena_size = 0;
};

struct WaitSetMessage {
  MessageHeader header{kProtocolMagic, MessageKind::kWaitSet, 0};
  std::uint16_t wait_set = 0;  // its WaitSetId; replaces an earlier descriptor of that id
  std::uint16_t reserved = 0;
};

// snpd sends these before the gate of a connection opens that needs them; the switch reads its end
// of the socket when it meets a pair or a lane that it does not know.
struct PairMessage {
  MessageHeader header{kProtocolMagic, MessageKind::kPair, 0};
  std::uint32_t pair = 0;  // PairNumber; a process that talks to itself gets one message a side
  std::uint32_t side = 0;
  std::uint64_t size = 0;
};

struct LaneMessage {
  MessageHeader header{kProtocolMagic, MessageKind::kLane, 0};
  std::uint32_t pair = 0;
  std::uint32_t side = 0;  // whose lane it is
  std::uint16_t lane = 0;  // its LaneId; replaces an earlier descriptor of that id
  std::uint16_t reserved = 0;
  std::uint32_t reserved_too = 0;
};

struct PairGone {
  MessageHeader header{kProtocolMagic, MessageKind::kPairGone, 0};
  std::uint32_t pair = 0;
  std::uint32_t reserved = 0;
};

struct Refused {
  MessageHeader header{kProtocolMagic, MessageKind::kRefused, 0};
  std::array<char, 256> why{};
};

static_assert(std::is_trivially_copyable_v<Attach> && std::is_trivially_copyable_v<Attached> &&
              std::is_trivially_copyable_v<WaitSetMessage> &&
              std::is_trivially_copyable_v<PairMessage> &&
              std::is_trivially_copyable_v<LaneMessage> && std::is_trivially_copyable_v<PairGone> &&
              std::is_trivially_copyable_v<Refused>);

}  // namespace snp::ipc
