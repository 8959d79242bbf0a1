#include "snp/switch/session.h"

#include <bit>

#include <sys/socket.h>

#include "snp/ipc/control_protocol.h"

namespace snp::switch_ {
namespace {

// snpd has written its side for the last time (kReleased), or never: both sides start afresh.
void reset(ipc::Slot& slot, bool was_released) noexcept {
  slot.app.tx_head.store(ipc::kFirstPosition, std::memory_order_relaxed);
  slot.app.rx_tail.store(ipc::kFirstPosition, std::memory_order_relaxed);
  slot.app.flags.store(0, std::memory_order_relaxed);
  slot.app.wants_write.store(0, std::memory_order_relaxed);
  slot.app.receive_low_at.store(1, std::memory_order_relaxed);
  for (auto& id : slot.app.wait_sets)
    id.store(0, std::memory_order_relaxed);
  slot.app.request.store(ipc::SlotRequest::kNone, std::memory_order_relaxed);
  slot.app.request_reason.store(0, std::memory_order_relaxed);
  slot.app.origin.store(0, std::memory_order_relaxed);
  slot.app.options_generation.store(0, std::memory_order_relaxed);
  slot.facts.options = {};
  slot.facts.host_bytes_in.store(0, std::memory_order_relaxed);
  slot.facts.host_bytes_out.store(0, std::memory_order_relaxed);
  slot.facts.host_calls_in.store(0, std::memory_order_relaxed);
  slot.facts.host_calls_out.store(0, std::memory_order_relaxed);
  slot.engine.status.store(0, std::memory_order_relaxed);
  slot.engine.error.store(0, std::memory_order_relaxed);
  slot.engine.reason.store(0, std::memory_order_relaxed);
  if (!was_released) return;
  const std::uint32_t word = slot.engine.mode_word.load(std::memory_order_relaxed);
  slot.engine.mode_word.store(
      ipc::make_mode_word(ipc::generation_of(word) + 1, ipc::SlotMode::kInHost),
      std::memory_order_relaxed);
}

bool is_released(const ipc::Slot& slot) noexcept {
  return (slot.engine.status.load(std::memory_order_acquire) & ipc::slot_status::kReleased) != 0;
}

}  // namespace

ipc::SlotId take_slot(Session& session) noexcept {
  const Guard guard(session.lock);
  if (session.retired_count != 0 &&
      is_released(session.slots[session.retired[session.retired_begin]])) {
    const ipc::SlotId id = session.retired[session.retired_begin];
    session.retired_begin = (session.retired_begin + 1) % ipc::kSlots;
    --session.retired_count;
    session.slots[id].app.in_use.fetch_add(1, std::memory_order_relaxed);
    reset(session.slots[id], true);
    return id;
  }
  ipc::SlotId id = ipc::kNoSlot;
  if (session.free_count != 0)
    id = session.free_slots[--session.free_count];
  else if (session.fresh < ipc::kSlots)
    id = session.fresh++;
  else if (session.retired_count != 0) {
    // The oldest is not released; another may be: turn the queue by one each time.
    const ipc::SlotId oldest = session.retired[session.retired_begin];
    session.retired_begin = (session.retired_begin + 1) % ipc::kSlots;
    session.retired[(session.retired_begin + session.retired_count - 1) % ipc::kSlots] = oldest;
  }
  if (id != ipc::kNoSlot) reset(session.slots[id], false);
  return id;
}

void give_slot(Session& session, ipc::SlotId id, bool snpd_needs_it) noexcept {
  const Guard guard(session.lock);
  if (snpd_needs_it) {
    session.retired[(session.retired_begin + session.retired_count++) % ipc::kSlots] = id;
  } else {
    session.free_slots[session.free_count++] = id;
  }
}

bool send_with_fd(int control, const void* message, std::size_t length, int fd) noexcept {
  iovec iov{const_cast<void*>(message), length};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))]{};
  msghdr header{};
  header.msg_iov = &iov;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  __builtin_memcpy(CMSG_DATA(c), &fd, sizeof fd);
  return sys(SYS_sendmsg, control, &header, MSG_NOSIGNAL) == static_cast<long>(length);
}

ipc::WaitSetId take_wait_set(Session& session, int eventfd) noexcept {
  ipc::WaitSetMessage message;
  {
    const Guard guard(session.lock);
    for (std::size_t word = 0; word < session.wait_set_ids.size() && message.wait_set == 0;
         ++word) {
      if (~session.wait_set_ids[word] == 0) continue;
      const int bit = std::countr_one(session.wait_set_ids[word]);
      session.wait_set_ids[word] |= 1ull << bit;
      message.wait_set = static_cast<ipc::WaitSetId>(word * 64 + static_cast<std::size_t>(bit));
    }
  }
  if (message.wait_set == 0) return 0;
  session.wait_set_fds[message.wait_set].store(eventfd);
  session.wait_sets[message.wait_set].sleeping.store(0, std::memory_order_relaxed);
  ipc::drain(session.wait_sets[message.wait_set].ready, [](ipc::SlotId) {});
  if (send_with_fd(session.control, &message, sizeof message, eventfd)) return message.wait_set;
  is_lost(session);
  give_wait_set(session, message.wait_set);
  return 0;
}

void give_wait_set(Session& session, ipc::WaitSetId id) noexcept {
  const Guard guard(session.lock);
  session.wait_set_ids[id / 64] &= ~(1ull << (id % 64));
}

void mark_watchers(Session& session, ipc::Slot& slot, ipc::SlotId id) noexcept {
  for (const auto& watcher : slot.app.wait_sets) {
    const ipc::WaitSetId set = watcher.load();
    if (set == 0 || set >= ipc::kWaitSets) continue;
    ipc::mark(session.wait_sets[set].ready, id);
    if (session.wait_sets[set].sleeping.load() != 0) write_bell(session.wait_set_fds[set].load());
  }
}

}  // namespace snp::switch_
