// One shard with connections whose peers are played by the caller, without a device: what a turn
// costs is the shard's own. For benchmarks and for tests of what a turn touches.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <sys/eventfd.h>

#include "snp/engine/shard.h"
#include "snp/wire/header_template.h"

#include "test/support/fake_app.h"

namespace snp::test {

// Gives what was put into it, forgets what is sent.
class NullQueue final : public device::PacketQueue {
 public:
  std::size_t receive(std::span<device::RxFrame> out) noexcept override {
    for (; next_ > keep_; --next_) {
      spare_.push_back(std::move(frames_.front()));
      frames_.pop_front();
    }
    keep_ = 0;
    const std::size_t count = std::min(out.size(), frames_.size() - next_);
    for (std::size_t i = 0; i < count; ++i)
      out[i] = {frames_[next_ + i], device::Checksum::kValid, 0};
    next_ += count;
    return count;
  }
  void keep(std::size_t frames) noexcept override { keep_ = frames; }
  bool transmit(const device::TxFrame&) noexcept override {
    ++sent_;
    return true;
  }
  void flush() noexcept override {}
  bool reinject(const device::RxFrame&) noexcept override { return true; }
  [[nodiscard]] int wait_fd() const noexcept override { return -1; }
  [[nodiscard]] device::QueueStats stats() const noexcept override { return {}; }

  // Room for the next frame that arrives. Memory is used again when it was given back.
  std::vector<std::byte>& add() {
    if (spare_.empty()) {
      frames_.emplace_back();
      spare_.reserve(frames_.size());  // a turn allocates nothing
    } else {
      frames_.push_back(std::move(spare_.back()));
      spare_.pop_back();
    }
    return frames_.back();
  }
  [[nodiscard]] std::size_t kept() const { return next_; }  // received, not given back
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  std::deque<std::vector<std::byte>> frames_;  // the first next_ are received
  std::vector<std::vector<std::byte>> spare_;
  std::size_t next_ = 0, keep_ = 0;
  std::uint64_t sent_ = 0;
};

// The other end of one connection: what it says next.
struct ShardPeer {
  HeaderTemplate headers;
  SeqNum seq, ack;
  std::uint32_t ts = 1;
  std::uint16_t wnd = 500;

  // A segment at seq + `ahead`; the numbers stay as they are.
  void write(std::vector<std::byte>& frame, std::uint8_t flags, std::uint32_t length,
             std::uint32_t ahead = 0, std::span<const SackBlock> sack = {}) {
    frame.assign(HeaderTemplate::kMaxBytes + length, std::byte{0});
    TcpOptions options;
    options.has_timestamps = true;
    options.ts_val = ++ts;
    options.sack_count = static_cast<std::uint8_t>(sack.size());
    std::copy(sack.begin(), sack.end(), options.sack.begin());
    const SegmentFields fields{seq + ahead, ack, wnd, flags, false, length};
    frame.resize(headers.write(fields, options, frame.data()) + length);
  }
};

class ShardLab {
 public:
  // `flows` and `records`: room for so many, constructed here, the caller's.
  ShardLab(std::uint32_t connections, std::uint32_t ring, ipc::FlowRecord* records,
           std::span<engine::Flow* const> flows)
      : arena_{test::FakeApp::make_memory()}, app_(arena_.memory), view_(arena_, 0) {
    auto owned = std::make_unique<NullQueue>();
    queue_ = owned.get();
    std::vector<engine::DevicePort> ports;
    ports.push_back({std::move(owned), {61440, true, true}, 1, false});
    shard_ = std::make_unique<engine::Shard>(engine::ShardConfig{}, std::move(ports), records,
                                             answers_, guard_, now_);
    engine::Mail attach;
    attach.kind = engine::MailKind::kAttach;
    attach.arena = &view_;
    shard_->inbox().post(attach);
    peers_.resize(connections);
    for (std::uint32_t id = 0; id < connections; ++id)
      initiate(id, ring, records[id], *flows[id]);
    run();
  }

  [[nodiscard]] ShardPeer& peer(std::uint32_t id) { return peers_[id]; }
  [[nodiscard]] NullQueue& queue() { return *queue_; }
  [[nodiscard]] engine::Shard& shard() { return *shard_; }
  [[nodiscard]] Instant now() const { return now_; }
  void pass(Duration time) { now_ += time; }
  // Turns until there is nothing to do.
  void run() {
    while (shard_->run_once(now_) != 0) {
    }
  }
  std::size_t read(std::uint32_t id, std::span<std::byte> bytes) {
    return app_.read(slots_[id], bytes);
  }
  std::size_t write(std::uint32_t id, std::span<const std::byte> bytes) {
    return app_.write(slots_[id], bytes);
  }

 private:
  struct LabArena : engine::Arena {
    explicit LabArena(ipc::SharedMemory made) {
      memory = std::move(made);
      wait_set_fds = std::vector<std::atomic<int>>(ipc::kWaitSets);
      bells.emplace_back(::eventfd(0, EFD_CLOEXEC));
    }
  };

  void initiate(std::uint32_t id, std::uint32_t ring, ipc::FlowRecord& record, engine::Flow& flow) {
    slots_.push_back(app_.open_slot(record, 0, 0, ring));
    const auto handoff =
        make_handoff(0, id, static_cast<std::uint16_t>(10000 + id), app_, slots_.back());
    const auto& tuple = handoff.state.constant.tuple;
    peers_[id].headers = HeaderTemplate({{}, {}, mirrored(tuple), 64, 0, 0});
    peers_[id].seq = handoff.state.delegated.rcv_nxt;
    peers_[id].ack = handoff.state.delegated.snd_una;
    app_.slot(slots_.back()).app.wait_sets[0] = 1;
    mails_.push_back(std::make_unique<engine::Mail>());
    engine::Mail& mail = *mails_.back();
    mail.kind = engine::MailKind::kInitiate;
    mail.arena = &view_;
    mail.flow = &flow;
    mail.handoff = handoff;
    ipc::store_state(record, handoff.state, handoff.rx_range, handoff.tx_range, 0);
    shard_->inbox().post(mail);
  }

  Instant now_{seconds(1000)};
  LabArena arena_;
  FakeApp app_;
  engine::ShardArena view_;
  engine::Mailbox answers_;
  engine::WakeGuard guard_;
  NullQueue* queue_ = nullptr;  // the shard's
  std::unique_ptr<engine::Shard> shard_;
  std::vector<std::unique_ptr<engine::Mail>> mails_;
  std::vector<ShardPeer> peers_;
  std::vector<ipc::SlotId> slots_;
};

}  // namespace snp::test
