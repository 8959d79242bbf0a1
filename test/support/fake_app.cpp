#include "test/support/fake_app.h"

#include <algorithm>

#include "snp/base/assert.h"

namespace snp::test {
namespace {

constexpr Endpoint kPeers[2] = {{IpAddress::v4(10, 0, 0, 1), 0}, {IpAddress::v4(10, 0, 0, 2), 80}};
constexpr std::uint32_t kIss[2] = {0xfffff000, 1000};  // one wraps early

}  // namespace

ipc::SharedMemory FakeApp::make_memory() {
  auto memory = ipc::SharedMemory::create("snp-test-arena", ipc::kRingsOffset + kRingSpace);
  SNP_ASSERT(memory);
  return std::move(*memory);
}

ipc::SlotId FakeApp::open_slot(ipc::FlowRecord& record, std::uint32_t arena, std::uint32_t shard,
                               std::uint32_t ring_size) {
  const auto id = static_cast<ipc::SlotId>(rings_.size());
  rings_.push_back({next_ring_, next_ring_ + ring_size, ring_size, shard});
  next_ring_ += std::size_t{2} * ring_size;
  SNP_ASSERT(next_ring_ <= ipc::kRingsOffset + kRingSpace);
  slot(id).app.tx_head = ipc::kFirstPosition;
  slot(id).app.rx_tail = ipc::kFirstPosition;
  slot(id).engine.rx_head = ipc::kFirstPosition;
  slot(id).engine.tx_tail = ipc::kFirstPosition;
  slot(id).app.in_use = 1;
  record.arena = arena;
  record.slot = id;
  record.shard = shard;
  record.rx_ring = rings_[id].rx;
  record.tx_ring = rings_[id].tx;
  record.rx_size = record.tx_size = ring_size;
  return id;
}

ipc::Slot& FakeApp::slot(ipc::SlotId id) const {
  return reinterpret_cast<ipc::Slot*>(base_ + ipc::kSlotsOffset)[id];
}
ipc::WaitSet& FakeApp::wait_set(ipc::WaitSetId id) const {
  return reinterpret_cast<ipc::WaitSet*>(base_ + ipc::kWaitSetsOffset)[id];
}
ipc::SlotBitmap& FakeApp::doorbells(std::uint32_t shard) const {
  return reinterpret_cast<ipc::Doorbells*>(base_ + ipc::kDoorbellsOffset)->shard[shard];
}
StreamRing FakeApp::rx(ipc::SlotId id) const {
  return {base_ + rings_[id].rx, rings_[id].size};
}
StreamRing FakeApp::tx(ipc::SlotId id) const {
  return {base_ + rings_[id].tx, rings_[id].size};
}

std::size_t FakeApp::write(ipc::SlotId id, std::span<const std::byte> bytes) {
  ipc::Slot& s = slot(id);
  const std::uint64_t head = s.app.tx_head.load();
  const std::uint64_t limit = ipc::usable(s.buffers.tx_limit.load(), rings_[id].size);
  const std::uint64_t used = head - s.engine.tx_tail.load();
  const std::uint64_t free = limit - std::min(limit, used);
  const std::size_t length = std::min<std::size_t>(bytes.size(), free);
  if (length == 0) return 0;
  tx(id).copy_in(head, bytes.first(length));
  s.app.tx_head.store(head + length);
  ring(id);
  return length;
}

std::size_t FakeApp::read(ipc::SlotId id, std::span<std::byte> bytes) {
  const std::size_t length = std::min(bytes.size(), readable(id));
  if (length == 0) return 0;
  ipc::Slot& s = slot(id);
  const std::uint64_t tail = s.app.rx_tail.load();
  rx(id).copy_out(tail, bytes.first(length));
  s.app.rx_tail.store(tail + length);
  ring(id);
  return length;
}

std::size_t FakeApp::readable(ipc::SlotId id) const {
  return slot(id).engine.rx_head.load() - slot(id).app.rx_tail.load();
}
std::uint32_t FakeApp::status(ipc::SlotId id) const {
  return slot(id).engine.status.load();
}
void FakeApp::set_flags(ipc::SlotId id, std::uint32_t flags) {
  slot(id).app.flags.fetch_or(flags);
  ring(id);
}
void FakeApp::ring(ipc::SlotId id) {
  ipc::mark(doorbells(rings_[id].shard), id);
}

chimney::Handoff make_handoff(std::size_t end, chimney::ConnectionId id, std::uint16_t port,
                              const FakeApp& app, ipc::SlotId slot) {
  chimney::Handoff handoff;
  handoff.id = id;
  handoff.rx = app.rx(slot);
  handoff.tx = app.tx(slot);
  handoff.rx_range = handoff.tx_range = {ipc::kFirstPosition, ipc::kFirstPosition};
  ConnectionState& state = handoff.state;
  FourTuple tuple{kPeers[0], kPeers[1]};
  tuple.local.port = port;
  state.constant.tuple = end == 0 ? tuple : mirrored(tuple);
  state.constant.ifindex = static_cast<std::uint32_t>(end + 1);
  state.constant.remote_mss = 1460;
  state.constant.snd_wind_shift = state.constant.rcv_wind_shift = 7;
  state.constant.timestamps = state.constant.sack = state.constant.window_scaling = true;
  state.cached.local_mac = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(end)};
  state.cached.next_hop_mac = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(1 - end)};
  DelegatedState& delegated = state.delegated;
  delegated.snd_una = delegated.snd_nxt = delegated.snd_max = SeqNum(kIss[end]);
  delegated.rcv_nxt = delegated.rcv_wup = SeqNum(kIss[1 - end]);
  delegated.snd_wl1 = delegated.rcv_nxt;
  delegated.snd_wl2 = delegated.snd_una;
  delegated.snd_wnd = delegated.max_snd_wnd = delegated.rcv_wnd = 65536;
  return handoff;
}

std::byte pattern(std::uint64_t seed, std::uint64_t position) noexcept {
  const std::uint64_t mixed = (position + seed) * 0x9e3779b97f4a7c15;
  return static_cast<std::byte>(mixed >> 56);
}

}  // namespace snp::test
