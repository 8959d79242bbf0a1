// A live TCP connection over the lab's wire, and what a hand-over needs around park() and unpark():
// steering, rings, the frames that come meanwhile. `host` (left side) is the socket that gets
// parked; `peer` (right side) is an ordinary program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "snp/base/unique_fd.h"
#include "snp/host/parking.h"
#include "snp/steer/steering.h"

#include "test/support/netns.h"

namespace snp::test {

using Bytes = std::vector<std::byte>;

enum class Family { kV4, kV6, kMapped, kLinkLocal };

struct Connection {
  UniqueFd listener;
  UniqueFd host;
  UniqueFd peer;
  FourTuple tuple;  // as the host sees it
};

// A pair of rings with positions as the switch counts them.
struct RingPair {
  explicit RingPair(std::uint32_t size);
  static constexpr std::uint64_t kRxBegin = (1ull << 40) + 12345;
  static constexpr std::uint64_t kTxEnd = (1ull << 40) + 67890;
  std::vector<std::byte> rx_bytes, tx_bytes;
  StreamRing rx, tx;
};

// What crosses one end of the wire, as a capture would show it.
class WireTap {
 public:
  struct Seen {
    bool from_left = false;  // the host side has sent it
    std::uint8_t flags = 0;
    SeqNum seq;
    std::size_t payload_bytes = 0;
    std::uint32_t ts_val = 0;
  };
  // On the right side, behind the left side's steering: only what really came or went.
  explicit WireTap(const NetnsLab& net);
  // TCP segments since the last call.
  std::vector<Seen> take();

 private:
  UniqueFd socket_;
};

class ParkingLab {
 public:
  static constexpr std::size_t kVnetHeader = 10;

  ParkingLab();

  // Over the wire; `host_is_client`: the host side has connected, else it has accepted on a
  // listener bound to every address.
  Connection connect_pair(Family family, bool host_is_client = false);

  steer::Steering& steering() { return *steering_; }
  NetnsLab& net() { return net_; }

  // From now on nothing of this connection reaches the host, but the host may send: its peer's
  // acknowledgements are lost.
  void block_ingress(const Connection& c);
  // Nothing of the connection passes; what comes for the host waits for take_held_frames().
  void hold(const Connection& c);
  // Each behind its virtio_net_hdr: what is left to do to checksum and segments.
  std::vector<Bytes> take_held_frames();
  void release(const Connection& c);  // everything passes again
  // Gives such a frame to the host as if it had come over the wire.
  void inject(std::span<const std::byte> header_and_frame);
  // park() as a hand-over does it: shadow, hold, park.
  Result<host::Parked> park(const Connection& c, RingPair& rings);
  // unpark() as a hand-over does it: return, unpark, steering off, forged segment, held frames.
  Result<host::Unparked> unpark(const Connection& c, const host::Parked& parked, RingPair& rings);

 private:
  void open_holding_tap();
  void give_back_held_frames();

  NetnsLab net_;
  std::unique_ptr<steer::Steering> steering_;
  UniqueFd injector_;
  UniqueFd tap_;  // on the host side: the frames that came while steering held them
};

// Pseudo-random bytes: byte i of stream `seed`.
Bytes pattern(std::uint32_t seed, std::size_t length);
// Writes without blocking as much as the socket takes; returns how much.
std::size_t fill(int fd, std::span<const std::byte> bytes);
void write_all(int fd, std::span<const std::byte> bytes);
// Reads until `length` bytes or end of file have come, at most `timeout_ms` between two reads.
Bytes read_some(int fd, std::size_t length, int timeout_ms = 4000);
bool is_at_end_of_file(int fd, int timeout_ms = 4000);
std::uint8_t kernel_state(int fd);
bool wait_for_state(int fd, std::uint8_t state, int timeout_ms = 4000);
// The bytes that each end is to send and to receive; both are moved until all is done, both ends
// have shut down and seen the end of file. False: it did not come to that within `timeout_ms`.
struct Transfer {
  Bytes host_sends, peer_sends;               // still to be written
  Bytes host_expects, peer_expects;           // all that is still to be read
  bool host_shuts = true, peer_shuts = true;  // still to be done
};
testing::AssertionResult finish(const Connection& c, const Transfer& transfer,
                                int timeout_ms = 10000);
Bytes operator+(Bytes a, const Bytes& b);
Bytes ring_bytes(const StreamRing& ring, const StreamRange& range);

}  // namespace snp::test
