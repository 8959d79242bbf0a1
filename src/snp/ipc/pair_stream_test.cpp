#include "snp/ipc/pair_stream.h"

#include <memory>
#include <random>
#include <semaphore>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace snp::ipc {
namespace {

constexpr std::uint32_t kRing = 64;

std::byte pattern(std::uint64_t position) {
  return static_cast<std::byte>(position * 31 + (position >> 8) * 7);
}

// A connection with both its views, as two processes would have them.
struct Wire {
  explicit Wire(std::uint32_t size = kRing) : ring_size(size), bytes(2 * std::size_t{size}) {}
  PairStream view(std::uint32_t side) {
    StreamRing sent{bytes.data() + std::size_t{side} * ring_size, ring_size};
    StreamRing read{bytes.data() + std::size_t{1 - side} * ring_size, ring_size};
    return {&connection.end[side], &connection.end[1 - side], read, sent};
  }
  std::uint32_t ring_size;
  PairConnection connection;
  std::vector<std::byte> bytes;
};

// What the switch does in one call; the words are read anew each time.
bool put(const PairStream& s, std::uint64_t n) {
  const std::uint64_t head = s.mine->tx_head.load();
  for (std::uint64_t at = head; at != head + n; ++at) {
    const std::byte byte = pattern(at);
    s.tx.copy_in(at, {&byte, 1});
  }
  return commit(s.mine->tx_head, head, n);
}

TEST(PairStream, MovesBytesBetweenTwoViews) {
  Wire wire;
  const PairStream a = wire.view(0);
  const PairStream b = wire.view(1);
  EXPECT_EQ(unread(b), 0u);
  EXPECT_TRUE(put(a, 40));
  EXPECT_EQ(unread(b), 40u);
  EXPECT_EQ(unread_by_peer(a), 40u);
  EXPECT_EQ(unread(a), 0u) << "the other direction is another ring";
  const std::uint64_t tail = b.mine->rx_tail.load();
  std::byte out[40];
  b.rx.copy_out(tail, out);
  for (std::uint64_t i = 0; i < 40; ++i)
    EXPECT_EQ(out[i], pattern(tail + i));
  EXPECT_TRUE(commit(b.mine->rx_tail, tail, 40));
  EXPECT_EQ(unread(b), 0u);
  EXPECT_EQ(unread_by_peer(a), 0u);
}

TEST(PairStream, NothingIsCommittedOnceFrozen) {
  Wire wire;
  const PairStream a = wire.view(0);
  ASSERT_TRUE(put(a, 10));
  ASSERT_TRUE(add_flags(a.mine->flags, pair_flag::kEnd));
  const std::uint64_t stale = a.mine->tx_head.load();
  const FrozenEnd frozen = freeze(*a.mine);
  EXPECT_EQ(frozen.tx_head, kFirstPosition + 10);
  EXPECT_EQ(frozen.rx_tail, kFirstPosition);
  EXPECT_EQ(frozen.flags, pair_flag::kEnd);
  EXPECT_FALSE(commit(a.mine->tx_head, stale, 1)) << "from a position read before";
  EXPECT_FALSE(commit(a.mine->tx_head, a.mine->tx_head.load(), 1)) << "from one read after";
  EXPECT_FALSE(commit(a.mine->rx_tail, kFirstPosition, 1));
  EXPECT_FALSE(add_flags(a.mine->flags, pair_flag::kGone));
  const FrozenEnd again = freeze(*a.mine);
  EXPECT_EQ(again.tx_head, frozen.tx_head);
  EXPECT_EQ(again.flags, frozen.flags);
  EXPECT_EQ(unread(wire.view(1)), 10u) << "what was committed can be counted as before";
}

TEST(PairStream, ImpossibleWordsAreNoNumber) {
  Wire wire;
  const PairStream a = wire.view(0);
  const PairStream b = wire.view(1);
  for (const std::uint64_t head : {kFirstPosition - 1, kFirstPosition + kRing + 1, std::uint64_t{0},
                                   ~std::uint64_t{0}, kFrozen, kFrozen - 1}) {
    a.mine->tx_head.store(head);
    EXPECT_EQ(unread(b), std::nullopt) << head;
    EXPECT_EQ(unread_by_peer(a), std::nullopt) << head;
  }
  a.mine->tx_head.store(kFirstPosition + kRing);
  EXPECT_EQ(unread(b), kRing);
  a.mine->tx_head.store((kFirstPosition + kRing) | kFrozen);
  EXPECT_EQ(unread(b), kRing) << "frozen is not impossible";
}

TEST(PairStream, ASleeperIsWokenOnce) {
  const auto lane = std::make_unique<Lane>();
  EXPECT_FALSE(tell(*lane, 5)) << "nobody sleeps";
  lane->sleeping.store(1);
  EXPECT_TRUE(tell(*lane, 5));
  EXPECT_FALSE(tell(*lane, 5));
  EXPECT_FALSE(tell(*lane, kSlots - 1));
  std::set<PairIndex> told;
  drain(lane->ready, [&](PairIndex index) { told.insert(index); });
  EXPECT_EQ(told, (std::set<PairIndex>{5, kSlots - 1}));
}

TEST(PairStream, MarksOnceIsMarked) {
  const auto map = std::make_unique<SlotBitmap>();
  mark_once(*map, 77);
  mark_once(*map, 77);
  int n = 0;
  drain(*map, [&](SlotId slot) { n += slot == 77 ? 1 : 100; });
  EXPECT_EQ(n, 1);
  mark_once(*map, 77);
  EXPECT_FALSE(is_empty(*map)) << "a drained mark can be set again";
}

// --- seeded interleaving: every step of writer, reader and snpd is one turn of the schedule ---

// Writes in three steps, as a thread may be stopped between any of them.
struct WriterSteps {
  PairStream s;
  std::uint64_t head = 0, length = 0, committed = kFirstPosition;
  int step = 0;
  bool was_refused = false;

  void turn(std::mt19937_64& random) {
    if (step == 0) {
      head = s.mine->tx_head.load();
      const auto used = bytes_between(s.theirs->rx_tail.load(), head, s.tx.size);
      ASSERT_TRUE(used.has_value());
      length = s.tx.size == *used ? 0 : 1 + random() % (s.tx.size - *used);
      step = length != 0 ? 1 : 0;
    } else if (step == 1) {
      for (std::uint64_t at = position_of(head); at != position_of(head) + length; ++at) {
        const std::byte byte = pattern(at);
        s.tx.copy_in(at, {&byte, 1});
      }
      step = 2;
    } else {
      if (commit(s.mine->tx_head, head, length))
        committed = head + length;
      else
        was_refused = true;
      step = 0;
    }
  }
};

struct ReaderSteps {
  PairStream s;
  std::uint64_t tail = 0, length = 0, committed = kFirstPosition;
  std::vector<std::byte> copy{};
  int step = 0;
  bool was_refused = false;

  void turn(std::mt19937_64& random) {
    if (step == 0) {
      tail = s.mine->rx_tail.load();
      const auto there = bytes_between(tail, s.theirs->tx_head.load(), s.rx.size);
      ASSERT_TRUE(there.has_value());
      length = *there == 0 ? 0 : 1 + random() % *there;
      step = length != 0 ? 1 : 0;
    } else if (step == 1) {
      copy.resize(length);
      s.rx.copy_out(position_of(tail), copy);
      step = 2;
    } else {
      if (commit(s.mine->rx_tail, tail, length)) {
        committed = tail + length;
        for (std::uint64_t i = 0; i < length; ++i)
          ASSERT_EQ(copy[i], pattern(tail + i));
      } else {
        was_refused = true;
      }
      step = 0;
    }
  }
};

TEST(PairStream, AnyInterleavingWithAFreezeLosesNothing) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  int refusals = 0;
  for (int round = 0; round < 20000; ++round) {
    Wire wire;
    WriterSteps writer{.s = wire.view(0)};
    ReaderSteps reader{.s = wire.view(1)};
    const auto freeze_at = static_cast<int>(random() % 60);
    FrozenEnd from, to;
    for (int turn = 0; turn < 70 && !testing::Test::HasFatalFailure(); ++turn) {
      // snpd freezes word by word: its turns lie between those of the others, too.
      if (turn == freeze_at) from = freeze(wire.connection.end[0]);
      if (turn == freeze_at + 3) to = freeze(wire.connection.end[1]);
      if (random() % 2 == 0)
        writer.turn(random);
      else
        reader.turn(random);
    }
    ASSERT_FALSE(testing::Test::HasFatalFailure());
    // Everybody's own account is what snpd found, and what lies between is intact.
    ASSERT_EQ(from.tx_head, writer.committed);
    ASSERT_EQ(to.rx_tail, reader.committed);
    const auto left = bytes_between(to.rx_tail, from.tx_head, kRing);
    ASSERT_TRUE(left.has_value());
    std::vector<std::byte> rest(*left);
    wire.view(1).rx.copy_out(to.rx_tail, rest);
    for (std::uint64_t i = 0; i < *left; ++i)
      ASSERT_EQ(rest[i], pattern(to.rx_tail + i));
    refusals += (writer.was_refused ? 1 : 0) + (reader.was_refused ? 1 : 0);
  }
  EXPECT_GT(refusals, 1000) << "the schedule must meet callers in the middle";
}

// --- two threads that sleep, and a third that freezes ---

// A waiter with its lane; the semaphore stands for its eventfd.
struct Waiter {
  std::unique_ptr<Lane> lane = std::make_unique<Lane>();
  std::counting_semaphore<> bell{0};

  template <class Ready>
  void wait(Ready&& is_ready) {
    while (!is_ready()) {
      lane->sleeping.store(1);
      const bool marked = !is_empty(lane->ready);
      drain(lane->ready, [](PairIndex index) { EXPECT_EQ(index, 3u); });
      if (!marked && !is_ready()) bell.acquire();
      lane->sleeping.store(0);
    }
  }
  void told() {
    if (tell(*lane, 3)) bell.release();
  }
};

constexpr std::uint64_t kTotal = 200'000;

bool is_frozen(const PairEnd& end) {
  return (end.tx_head.load() & kFrozen) != 0 || (end.rx_tail.load() & kFrozen) != 0;
}

void write_all(const PairStream& s, Waiter& self, Waiter& peer) {
  std::uint32_t n = 1;
  while (s.mine->tx_head.load() < kFirstPosition + kTotal) {
    const auto room = [&s] { return s.tx.size - unread_by_peer(s).value(); };
    if (room() == 0) {
      s.mine->wants_write.store(1 + s.tx.size / 2);
      self.wait([&] { return room() != 0 || is_frozen(*s.mine); });
      if (room() == 0) return;
    }
    n = n % 13 + 1;
    const std::uint64_t rest = kFirstPosition + kTotal - position_of(s.mine->tx_head.load());
    if (!put(s, std::min<std::uint64_t>({n, room(), rest}))) return;
    peer.told();
  }
}

void read_all(const PairStream& s, Waiter& self, Waiter& peer) {
  while (s.mine->rx_tail.load() < kFirstPosition + kTotal) {
    self.wait([&] { return unread(s).value() != 0 || is_frozen(*s.mine); });
    const std::uint64_t tail = s.mine->rx_tail.load();
    const std::uint32_t n = unread(s).value();
    if (n == 0) return;
    std::vector<std::byte> copy(n);
    s.rx.copy_out(tail & ~kFrozen, copy);
    if (!commit(s.mine->rx_tail, tail, n)) return;
    for (std::uint32_t i = 0; i < n; ++i)
      ASSERT_EQ(copy[i], pattern(tail + i));
    const std::uint32_t wanted = s.theirs->wants_write.load();
    if (wanted != 0 && unread(s).value() <= wanted - 1 && s.theirs->wants_write.exchange(0) != 0)
      peer.told();
  }
}

void transfer(Wire& wire, int freeze_after_us) {
  Waiter writer_waits, reader_waits;
  std::thread writer([&] { write_all(wire.view(0), writer_waits, reader_waits); });
  std::thread reader([&] { read_all(wire.view(1), reader_waits, writer_waits); });
  if (freeze_after_us >= 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(freeze_after_us));
    freeze(wire.connection.end[0]);
    freeze(wire.connection.end[1]);
    writer_waits.bell.release();
    reader_waits.bell.release();
  }
  writer.join();
  reader.join();
}

TEST(PairStream, TwoThreadsLoseNoByteAndNoWakeUp) {
  Wire wire(256);
  transfer(wire, -1);
  EXPECT_EQ(wire.connection.end[0].tx_head.load(), kFirstPosition + kTotal);
  EXPECT_EQ(wire.connection.end[1].rx_tail.load(), kFirstPosition + kTotal);
}

TEST(PairStream, FreezingTwoThreadsLeavesAnIntactStream) {
  for (int round = 0; round < 50; ++round) {
    Wire wire(256);
    transfer(wire, round * 40);
    const FrozenEnd from = freeze(wire.connection.end[0]);
    const FrozenEnd to = freeze(wire.connection.end[1]);
    const auto left = bytes_between(to.rx_tail, from.tx_head, 256);
    ASSERT_TRUE(left.has_value());
    std::vector<std::byte> rest(*left);
    wire.view(1).rx.copy_out(to.rx_tail, rest);
    for (std::uint64_t i = 0; i < *left; ++i)
      ASSERT_EQ(rest[i], pattern(to.rx_tail + i));
  }
}

}  // namespace
}  // namespace snp::ipc
