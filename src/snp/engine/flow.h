// One offloaded connection as its shard keeps it: the TCP machine and where its parts are. Lives in
// the engine's slab: the address is stable, the memory is used again. Shard-local between
// kInitiate and kTerminated or kFinished, except `info`.
#pragma once

#include <optional>

#include "snp/engine/app_words.h"
#include "snp/engine/mail.h"
#include "snp/engine/published.h"
#include "snp/engine/send_clock.h"
#include "snp/engine/timing_wheel.h"
#include "snp/ipc/flow_record.h"
#include "snp/state/tcp_counters.h"
#include "snp/stats/account.h"
#include "snp/stats/stats_block.h"
#include "snp/tcp/connection.h"
#include "snp/tcp/segments_ahead.h"
#include "snp/wire/header_template.h"

namespace snp::engine {

struct Flow : WheelEntry {
  std::optional<tcp::Connection> connection;
  Flow* next_touched = nullptr;
  Flow* next_stale = nullptr;
  bool is_info_stale = false;  // in the shard's list: more happened than was published
  bool is_touched = false;
  bool is_hostile = false;         // the application broke the rules: only its close counts
  bool is_write_notified = false;  // told of room since it wrote last
  bool is_pushed = false;          // PSH came since the application was told last
  bool is_upload_requested = false;
  bool is_in_pages = false;        // the shard's list of those with one of the next two
  bool has_filled_pages = false;   // of the receive ring, since they were given back
  bool has_written_pages = false;  // the application, of the transmit ring
  std::uint32_t device = 0;        // index of the shard's queue
  std::uint32_t status = 0;        // slot_status, as published
  std::uint32_t options_generation = 0;
  std::uint32_t rx_limit = 0, tx_limit = 0;  // as published
  std::uint32_t rx_most = 0, tx_most = 0;    // ever
  SeqNum snd_max;                            // as in the record
  ipc::Slot* slot = nullptr;                 // null: the application has closed
  ipc::FlowRecord* record = nullptr;
  ShardArena* arena = nullptr;
  ipc::SlotId slot_id = ipc::kNoSlot;
  chimney::ConnectionId id = 0;
  stats::PathStats* path = nullptr;  // of its device and family
  stats::TargetAccount* account = nullptr;
  TcpState known_state = TcpState::kClosed;  // as it is counted
  AppWords accepted;
  std::uint64_t rx_head = 0;               // as the application was told
  std::uint64_t rx_kept = 0, tx_kept = 0;  // positions: pages before them are given back
  HeaderTemplate headers;
  Instant info_at;
  Instant settled_at;  // the last turn that touched it
  Instant left_at;     // the last turn of the shard that it moved from
  FourTuple tuple;
  CachedState cached;
  tcp::SegmentsAhead ahead;   // frames of it that wait for copies
  Published<tcp::Info> info;  // any thread reads
  SendClock send_clock;
  TcpCounters before;  // of its whole life, less what `connection` has counted
  Mail finished_mail, upload_mail;
};

}  // namespace snp::engine
