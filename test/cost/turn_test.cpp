// What a turn of a shard may not do: allocate, and touch connections that it has nothing to do
// with. Both are counted, not timed: an allocation ends the test, and so does a look at idle
// memory, which is made unreadable.
#include <cstdlib>
#include <memory>

#include <sys/mman.h>

#include <gtest/gtest.h>

#include "snp/engine/clock.h"
#include "snp/netdma/cpu_channel.h"

#include "test/cost/no_allocation.h"
#include "test/support/shard_lab.h"

namespace snp::engine {
namespace {

constexpr std::uint32_t kRing = 2048;
constexpr std::uint32_t kRequest = 64;
constexpr std::size_t kPage = 4096;
constexpr std::uint8_t kAck = TcpFlags::kAck;

constexpr std::size_t pages(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

// Memory of whole pages that can be made unreadable.
class Pages {
 public:
  explicit Pages(std::size_t bytes)
      : bytes_(pages(bytes)),
        memory_(
            ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) std::abort();
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { ::munmap(memory_, bytes_); }

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(memory_); }
  // From the first whole page at or after `from`.
  void protect(std::size_t from, int rights) const {
    from = pages(from);
    ASSERT_EQ(::mprotect(data() + from, bytes_ - from, rights), 0);
  }

 private:
  std::size_t bytes_;
  void* memory_;
};

// A lab whose first `busy` connections stand apart from the others.
class Turn {
 public:
  Turn(std::uint32_t busy, std::uint32_t all)
      : busy_(busy),
        records_(all * sizeof(ipc::FlowRecord)),
        flows_(pages(busy * sizeof(Flow)) + all * sizeof(Flow)) {
    auto* records = reinterpret_cast<ipc::FlowRecord*>(records_.data());
    std::byte* place = flows_.data();
    for (std::uint32_t id = 0; id < all; ++id, place += sizeof(Flow)) {
      if (id == busy) place = flows_.data() + pages(busy * sizeof(Flow));
      new (&records[id]) ipc::FlowRecord();
      where_.push_back(new (place) Flow());
    }
    lab_.emplace(all, kRing, records, where_);
  }
  ~Turn() {
    protect_idle(PROT_READ | PROT_WRITE);
    lab_.reset();
    for (Flow* flow : where_)
      flow->~Flow();
  }

  test::ShardLab& lab() { return *lab_; }
  void protect_idle(int rights) {
    records_.protect(busy_ * sizeof(ipc::FlowRecord), rights);
    flows_.protect(busy_ * sizeof(Flow), rights);
  }
  void run() {
    const test::NoAllocation watch("a shard");
    lab_->run();
  }

  // A request to each busy connection, and its answer.
  void exchange() {
    for (std::uint32_t id = 0; id < busy_; ++id)
      ask(id);
    run();
    answer_all();
    run();
  }
  void ask(std::uint32_t id) {
    test::ShardPeer& peer = lab().peer(id);
    peer.write(lab().queue().add(), kAck | TcpFlags::kPsh, kRequest);
    peer.seq += kRequest;
    peer.ack += answered_ ? kRequest : 0;
  }
  void answer_all() {
    std::array<std::byte, kRequest> buffer{};
    for (std::uint32_t id = 0; id < busy_; ++id) {
      while (lab().read(id, buffer) != 0) {
      }
      ASSERT_EQ(lab().write(id, buffer), kRequest);
    }
    answered_ = true;
  }

 private:
  std::uint32_t busy_;
  Pages records_;
  Pages flows_;
  std::vector<Flow*> where_;
  std::optional<test::ShardLab> lab_;
  bool answered_ = false;
};

TEST(ShardTurn, AllocatesNothingForRequestsAndAnswers) {
  Turn turn(16, 16);
  for (int i = 0; i < 100; ++i) {
    turn.exchange();
    turn.lab().pass(microseconds(20));
  }
  EXPECT_GE(turn.lab().queue().sent(), 1500u);
}

TEST(ShardTurn, AllocatesNothingWhileAnEngineCopies) {
  Turn turn(16, 16);
  turn.lab().shard().use_copier(std::make_unique<netdma::Copier>(
      netdma::open_cpu_channel(), netdma::CopierLimits{}, monotonic_now));
  netdma::CopierSettings settings;
  settings.is_enabled = true;
  settings.min_bytes = 1;
  settings.is_worth.fill(true);
  turn.lab().shard().configure_copies(settings);
  for (int i = 0; i < 100; ++i) {
    turn.exchange();
    turn.lab().pass(microseconds(20));
  }
  const auto counts = turn.lab().shard().copier()->stats().snapshot();
  EXPECT_EQ(counts.of(stats::CopyOutcome::kEngine).copies, 1600u);
}

TEST(ShardTurn, AllocatesNothingWhenThingsGoWrong) {
  Turn turn(16, 16);
  test::ShardLab& lab = turn.lab();
  turn.exchange();
  // Out of order, a duplicate, then the hole.
  for (std::uint32_t id = 0; id < 16; ++id) {
    test::ShardPeer& peer = lab.peer(id);
    peer.write(lab.queue().add(), kAck, 100, 200);
    peer.write(lab.queue().add(), kAck, 100, 400);
    peer.write(lab.queue().add(), kAck, 100, 200);
    peer.write(lab.queue().add(), kAck, 200, 0);
    peer.write(lab.queue().add(), kAck, 200, 200);
    peer.seq += 500;
  }
  turn.run();
  turn.answer_all();
  turn.run();
  // Nothing is acknowledged: loss probe, timeouts, and then SACKs of a part.
  const std::uint64_t before = lab.queue().sent();
  for (int i = 0; i < 40; ++i) {
    lab.pass(milliseconds(50));
    turn.run();
  }
  EXPECT_GE(lab.queue().sent(), before + 16);
  for (std::uint32_t id = 0; id < 16; ++id) {
    test::ShardPeer& peer = lab.peer(id);
    const SackBlock block{peer.ack + 32, peer.ack + kRequest};
    peer.write(lab.queue().add(), kAck, 0, 0, std::span(&block, 1));
    peer.wnd = 0;
    peer.write(lab.queue().add(), kAck, 0);
  }
  turn.run();
  turn.answer_all();
  for (int i = 0; i < 40; ++i) {  // a closed window is probed
    lab.pass(milliseconds(500));
    turn.run();
  }
  // A reset elsewhere in the window, a SYN, and the ends: FIN for some, a reset for the others.
  for (std::uint32_t id = 0; id < 16; ++id) {
    test::ShardPeer& peer = lab.peer(id);
    peer.write(lab.queue().add(), TcpFlags::kRst, 0, 10);
    peer.write(lab.queue().add(), TcpFlags::kSyn, 0);
    peer.write(lab.queue().add(), id % 2 == 0 ? TcpFlags::kFin | kAck : TcpFlags::kRst, 0);
  }
  turn.run();
}

// A few of a shard's connections talk. The others have nothing to say, and nobody looks
// at them: neither at their flow nor at their record, whether frames come or timers run.
TEST(ShardTurn, DoesNotTouchIdleConnections) {
  constexpr std::uint32_t kBusy = 64;  // whole pages of records
  static_assert(kBusy * sizeof(ipc::FlowRecord) % kPage == 0);
  Turn turn(kBusy, 10'000);
  turn.exchange();
  turn.lab().pass(seconds(300));  // whatever a connection does when it has been quiet for a while
  turn.run();
  turn.protect_idle(PROT_NONE);
  for (int i = 0; i < 1000; ++i) {
    turn.exchange();
    turn.lab().pass(i % 10 == 0 ? milliseconds(300) : microseconds(20));
    turn.run();
  }
  EXPECT_GE(turn.lab().queue().sent(), 60'000u);
}

}  // namespace
}  // namespace snp::engine
