// One TCP connection from ESTABLISHED on: time and segments in, segments and events out. No system
// call, clock, thread, lock or allocation here; its data stands in rings lent by the owner.
// Read first: RFC 9293 3.3.1 (names), 3.10.7.4 (arrival), RFC 5681, 6298, 2018, 7323, 5961.
//
// Contract. Shard-local. Time never goes backwards. After any input drain poll_segment() until it
// is empty, then take_events(), then read next_timeout(). Extra on_timeout() calls are harmless.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "snp/base/time.h"
#include "snp/state/connection_state.h"
#include "snp/state/stream_ring.h"
#include "snp/tcp/cc/congestion_control.h"
#include "snp/tcp/reassembly.h"
#include "snp/tcp/rtt.h"
#include "snp/tcp/sack_scoreboard.h"
#include "snp/tcp/timers.h"
#include "snp/wire/segment.h"

namespace snp::tcp {

// Where the two streams stand. tx_range: [position of snd_una, end of what the application wrote).
// rx_range: [what the application has consumed, position of rcv_nxt). A FIN occupies no position.
struct Streams {
  StreamRing tx;
  StreamRange tx_range;
  StreamRing rx;
  StreamRange rx_range;
};

// A segment to send. The payload is [payload_pos, +payload_len) of the transmit ring; when it is
// longer than gso_size, the device cuts it (or the shard does where the device cannot).
struct SegmentPlan {
  SeqNum seq;
  SeqNum ack;
  std::uint16_t wnd = 0;
  std::uint8_t flags = 0;
  bool is_ect = false;  // set ECT(0) in the IP header (RFC 3168 6.1.2)
  bool is_retransmission = false;
  TcpOptions options;
  std::uint64_t payload_pos = 0;
  std::uint32_t payload_len = 0;
  std::uint32_t gso_size =
      0;  // payload bytes of each packet on the wire; >= payload_len: one packet
};

// What happened since the last take_events().
enum Event : std::uint32_t {
  kReadable = 1u << 0,      // rcv_nxt advanced over payload
  kWritable = 1u << 1,      // snd_una advanced: room in the transmit ring
  kPeerClosed = 1u << 2,    // FIN received, all before it is readable
  kReset = 1u << 3,         // the peer reset the connection: ECONNRESET
  kTimedOut = 1u << 4,      // retransmission or keepalive gave up: ETIMEDOUT
  kClosed = 1u << 5,        // state is CLOSED (LAST_ACK acknowledged, TIME_WAIT over, aborted)
  kStateChanged = 1u << 6,  // any change of TcpState
  kUrgent = 1u << 7,  // an URG segment came; not accepted, not acknowledged: upload (reference 4.4)
  kSuccessor = 1u << 8,  // a new connection's SYN came in TIME_WAIT: upload (reference 4.11)
};

enum class Sending : std::uint8_t {
  kIdle,     // nothing is there that is not acknowledged
  kBusy,     // the path, or our congestion window, takes its time
  kWindow,   // the peer's window has no room for the next segment
  kAllSent,  // and the acknowledgments are awaited
};

struct Limits {
  std::uint32_t max_segment_payload =
      1448;                          // most one SegmentPlan may carry; above the MSS with TSO
  Duration time_wait = seconds(60);  // as Linux's TCP_TIMEWAIT_LEN; RFC 9293 wants 2 MSL
  Duration max_ack_delay = milliseconds(40);
  // How much of each ring is used at first; more when the path proves to carry it (RFC 9293 3.8.6,
  // "dynamic right-sizing"). 0: all of it.
  std::uint32_t receive_buffer = 0;
  std::uint32_t send_buffer = 0;
};

// Everything getsockopt(TCP_INFO) and `snp connections` show.
struct Info {
  TcpState state = TcpState::kEstablished;
  std::uint32_t srtt_us = 0, rttvar_us = 0, rto_us = 0;
  std::uint32_t snd_mss = 0, rcv_mss = 0;
  std::uint32_t cwnd_bytes = 0, ssthresh_bytes = 0, snd_wnd = 0, rcv_wnd = 0;
  std::uint32_t unacked_bytes = 0, retransmits = 0, total_retransmits = 0;
  std::uint64_t bytes_acked = 0, bytes_received = 0;
  std::uint32_t segments_in = 0, segments_out = 0;  // modulo 2^32, as the kernel counts
  std::uint32_t data_segments_in = 0, data_segments_out = 0;
  std::uint64_t pacing_rate = 0;    // bytes per second; 0: not paced
  std::uint64_t delivery_rate = 0;  // bytes per second; 0: not measured
  bool is_delivery_app_limited = false;
  bool is_recovering = false, is_reducing = false, has_timed_out = false;
  bool is_fin_acknowledged = false;      // ours
  std::uint8_t probes = 0, backoff = 0;  // unanswered keepalive or persist probes; of the timeout
  std::uint32_t sacked_bytes = 0, lost_bytes = 0, unsent_bytes = 0;
  std::uint32_t rcv_rtt_us = 0, receive_buffer = 0;
  std::uint64_t bytes_sent = 0, bytes_resent = 0;  // again, too; of them again
  std::uint32_t resent_in_flight_bytes = 0, duplicates_reported = 0, out_of_order = 0;
  std::uint32_t reorderings = 0;   // by the path, as SACKs show
  std::uint64_t bytes_marked = 0;  // newly delivered by ACKs with ECE (RFC 3168)
  Instant last_data_sent{}, last_data_received{}, last_received{};
  std::uint32_t min_rtt_us = 0;
};

class alignas(64) Connection {
 public:
  // Starts from the state that the host (or an earlier engine) left. Pre: streams fit the state:
  // tx_range holds snd_una..snd_max and what follows; rx_range ends at rcv_nxt.
  Connection(const ConnectionState& state, const Streams& streams, const Limits& limits,
             Instant now) noexcept;

  // Inputs from the network and the clock. Returns false when the segment was not acceptable (a
  // duplicate, out of window, failed PAWS): counted by the owner, answered as the RFC says.
  bool on_segment(const Segment& segment, Instant now) noexcept;
  // For an owner that copies payload into the receive ring before it gives us the segment
  // (Segment::placed): how many bytes, from the first, it may put at rx_range.end + `ahead`.
  // `ahead` is the payload of segments that come before this one, each the next of the stream. 0:
  // leave it to on_segment(). What is placed is free memory until then, whatever becomes of the
  // segment; the condition is that all segments are given to us in the order in which this was
  // asked for them.
  [[nodiscard]] std::uint32_t placeable(const Segment& segment, std::uint32_t ahead) const noexcept;
  void on_timeout(Instant now) noexcept;

  // Inputs from the application.
  void on_written(std::uint32_t bytes, Instant now) noexcept;   // appended to the transmit ring
  void on_consumed(std::uint32_t bytes, Instant now) noexcept;  // taken from the receive ring
  void shutdown_write(Instant now) noexcept;                    // FIN after what was written
  // The application closed both directions: data that still arrives is answered with a reset
  // (RFC 9293 3.6.1), and FIN_WAIT_2 is bounded as Linux bounds it.
  void close(Instant now) noexcept;
  void abort(Instant now) noexcept;  // RST now, state CLOSED

  // Input from the host: options, path MTU. Takes effect with the next segment.
  void update(const CachedState& cached, Instant now) noexcept;

  // Outputs, in the order of the contract.
  std::optional<SegmentPlan> poll_segment(Instant now) noexcept;
  std::uint32_t take_events() noexcept;
  [[nodiscard]] Instant next_timeout() const noexcept;  // kNever: none

  // Hand-over. Sends nothing more after freeze(), except the ACK it owes, which poll_segment()
  // gives.
  void freeze(Instant now) noexcept;
  [[nodiscard]] ConnectionState export_state(Instant now) const noexcept;
  // What was found out about the path, for the flow record: now and then.
  [[nodiscard]] PathModel export_path(Instant now) const noexcept;
  [[nodiscard]] MtuSearch export_mtu_search(Instant now) const noexcept;
  // Only what changes, for the flow record: after every turn of the shard, frozen or not.
  [[nodiscard]] DelegatedState export_delegated(Instant now) const noexcept;

  // Questions.
  [[nodiscard]] TcpState state() const noexcept { return state_; }
  [[nodiscard]] const Streams& streams() const noexcept { return streams_; }  // as they are now
  [[nodiscard]] Info info() const noexcept;
  // How much of its rings the connection may use now: unread and still expected bytes, and bytes
  // written and not acknowledged (TCP_NOTSENT_LOWAT lowers that).
  [[nodiscard]] std::uint32_t receive_buffer() const noexcept { return rx_limit_; }
  [[nodiscard]] std::uint32_t send_buffer() const noexcept;
  // The last segment, and all that follow, are the host's to be given after the upload.
  [[nodiscard]] bool leaves_to_host() const noexcept { return has_urgent_ || has_successor_; }
  // Whether text from `seq` on might be ours: a stranger would have to guess it (RFC 5961 1.2).
  [[nodiscard]] bool is_in_window(SeqNum seq) const noexcept {
    return seq >= rcv_nxt_ && seq < rcv_adv_;
  }
  // Text that came out of order stands in the receive ring, beyond rcv_nxt. It does not move along.
  [[nodiscard]] bool has_gap() const noexcept { return !reassembly_.is_empty(); }
  // What keeps the application's bytes here, as far as TCP_INFO asks.
  [[nodiscard]] Sending sending() const noexcept {
    if (streams_.tx_range.length() == 0) return Sending::kIdle;
    const std::uint32_t unsent_bytes = unsent();
    if (unsent_bytes == 0) return Sending::kAllSent;
    const SeqNum edge = snd_una_ + snd_wnd_;
    const bool is_closed = edge < snd_nxt_ + std::min(unsent_bytes, snd_mss_);
    return is_closed ? Sending::kWindow : Sending::kBusy;
  }

 private:
  // RFC 5681, 6675, 6298: what the sender is repairing.
  enum class Recovery : std::uint8_t {
    kOpen,
    kReduction,  // ECN: the window comes down, nothing is lost (RFC 3168 6.1.2)
    kFast,       // fast recovery
    kTimeout,    // after a retransmission timeout
  };
  enum class Probe : std::uint8_t { kNone, kWindow, kKeepalive, kTailNew, kTailAgain };

  // segment_arrives_synchronized.cpp: RFC 9293 3.10.7.4, in the order of the text.
  [[nodiscard]] bool is_predicted(const Segment& seg) const noexcept;
  void accept_predicted(const Segment& seg, Instant now) noexcept;
  bool segment_arrives_synchronized(const Segment& seg, Instant now) noexcept;
  bool check_paws(const Segment& seg, Instant now) noexcept;
  bool check_sequence(const Segment& seg, Instant now) noexcept;
  void check_reset(const Segment& seg, Instant now) noexcept;
  bool check_ack(const Segment& seg, Instant now) noexcept;
  bool check_urgent(const Segment& seg) noexcept;
  void update_ts_recent(const Segment& seg, Instant now) noexcept;
  [[nodiscard]] bool is_before_ts_recent(std::uint32_t ts_val) const noexcept;
  [[nodiscard]] bool is_successor(const Segment& seg) const noexcept;
  bool send_challenge_ack(Instant now) noexcept;
  void challenge_syn(Instant now) noexcept;
  void doubt_peer(Instant now) noexcept;
  void trust_peer(Instant now) noexcept;
  void answer_unacceptable(const Segment& seg, Instant now) noexcept;
  void predict() noexcept;  // recomputes may_predict_

  // process_ack.cpp
  void process_ack(const Segment& seg, Instant now) noexcept;
  void process_sack(const Segment& seg, Delivery& delivery) noexcept;
  void note_sacked(SackBlock block, SeqNum seg_ack, Delivery& delivery) noexcept;
  void forget_sacks(const Segment& seg) noexcept;
  void note_reported_duplicate(SackBlock block, Delivery& delivery) noexcept;
  void note_resent(SeqNum from, SeqNum to) noexcept;
  void note_rtt(std::uint32_t rtt_us, Instant now) noexcept;
  void update_send_window(const Segment& seg, bool& has_changed) noexcept;
  void advance_una(SeqNum seg_ack, Delivery& delivery, Instant now) noexcept;
  void take_rtt(const Segment& seg, const Delivery& delivery, bool advanced, Instant now) noexcept;
  void process_ack_of_fin(Instant now) noexcept;
  void tell_algorithm(const Segment& seg, std::uint32_t bytes, bool may_grow, Instant now) noexcept;

  // process_text.cpp
  void process_text(const Segment& seg, Instant now) noexcept;
  [[nodiscard]] SeqNum text_edge() const noexcept;
  void accept_in_order(std::span<const std::byte> text, std::size_t placed, Instant now) noexcept;
  void accept_out_of_order(SeqNum start, std::span<const std::byte> text,
                           std::size_t placed) noexcept;
  void place(std::uint64_t pos, std::span<const std::byte> text, std::size_t placed) const noexcept;
  void process_fin(Instant now) noexcept;
  void note_duplicate(SeqNum start, SeqNum end) noexcept;
  void note_congestion_mark(const Segment& seg) noexcept;

  // acknowledgment.cpp: when to acknowledge, and the window to offer.
  void schedule_ack(std::uint32_t bytes, Instant now) noexcept;
  void measure_peer(const Segment& seg, Instant now) noexcept;
  void on_ack_sent() noexcept;
  [[nodiscard]] SeqNum offerable_edge() const noexcept;
  [[nodiscard]] std::uint16_t select_window() noexcept;
  [[nodiscard]] bool should_offer_window() const noexcept;
  [[nodiscard]] std::uint8_t sack_blocks_due() const noexcept;

  // output.cpp
  std::optional<SegmentPlan> poll_retransmission(Instant now) noexcept;
  std::optional<SegmentPlan> poll_new_data(Instant now) noexcept;
  std::optional<SegmentPlan> poll_probe(Instant now) noexcept;
  [[nodiscard]] std::uint32_t sendable(std::uint32_t mss) noexcept;
  [[nodiscard]] bool may_send_small(bool is_last) const noexcept;
  [[nodiscard]] std::uint32_t burst_size(std::uint32_t mss) const noexcept;
  [[nodiscard]] bool defers_burst(std::uint32_t room, std::uint32_t unsent_bytes,
                                  std::uint32_t mss) const noexcept;
  SegmentPlan make_plan(SeqNum seq, std::uint32_t length, std::uint32_t mss, Instant now) noexcept;
  SegmentPlan make_ack(SeqNum seq, Instant now) noexcept;
  SegmentPlan make_earlier_ack(Instant now) noexcept;
  SegmentPlan make_reset(Instant now) noexcept;
  void fill_options(TcpOptions& options, Instant now) noexcept;
  void restart_after_idle(Instant now) noexcept;
  void on_data_sent(SegmentPlan& plan, Instant now) noexcept;
  void enter_fin_sent() noexcept;
  [[nodiscard]] std::uint8_t flags_of_end(std::uint32_t payload) const noexcept;
  [[nodiscard]] std::uint32_t effective_mss() const noexcept;
  [[nodiscard]] std::uint32_t unsent() const noexcept;       // payload written and never sent
  [[nodiscard]] bool is_fin_due() const noexcept;            // everything is sent but the FIN
  [[nodiscard]] std::uint64_t pacing_rate() const noexcept;  // bytes per second; 0: none
  [[nodiscard]] std::uint32_t most_at_once(std::uint32_t mss) const noexcept;
  void pace(std::uint32_t bytes, Instant now) noexcept;

  // retransmit.cpp
  void process_recovery(const Segment& seg, Delivery& delivery, bool advanced, bool window_changed,
                        Instant now) noexcept;
  void detect_losses(const Segment& seg, const Delivery& delivery, Instant now) noexcept;
  void mark_losses(Instant now) noexcept;
  [[nodiscard]] std::uint32_t used_window() const noexcept;
  bool count_duplicate_ack(bool is_duplicate, bool advanced, const Delivery& delivery) noexcept;
  void enter_recovery(Recovery recovery, Instant now) noexcept;
  void leave_recovery() noexcept;
  void repeat_in_smaller_segments(Instant now) noexcept;
  void reduce_proportionally(std::uint32_t delivered) noexcept;
  void end_tail_probe(const Segment& seg, const Delivery& delivery, bool advanced,
                      Instant now) noexcept;
  void on_retransmission_timer(Instant now) noexcept;
  void on_retransmission_timeout(Instant now) noexcept;
  void on_tail_probe_timer(Instant now) noexcept;
  void on_persist_timer(Instant now) noexcept;
  void arm_retransmission(Instant now) noexcept;
  void set_retransmission_timer(Instant since) noexcept;  // since: when something left last
  void arm_persist(Instant now) noexcept;
  [[nodiscard]] Duration probe_timeout() const noexcept;  // RFC 8985 7.2
  [[nodiscard]] std::uint32_t pipe() const noexcept;

  // buffers.cpp: how much of the rings is used.
  void start_buffers(const DelegatedState& delegated, const Limits& limits, Instant now) noexcept;
  void apply_locked_buffers() noexcept;
  void measure_receive_rtt(const Segment& seg, Instant now) noexcept;
  void tune_receive_buffer(std::uint32_t consumed, Instant now) noexcept;
  void tune_send_buffer() noexcept;
  [[nodiscard]] bool is_receive_buffer_tuned() const noexcept {
    return cached_.receive_buffer == 0 && rx_limit_ < streams_.rx.size;
  }

  // path_mtu.cpp: paths that lose large packets in silence (RFC 4821, 8899).
  void suspect_black_hole(Instant now) noexcept;
  [[nodiscard]] std::uint32_t mtu_probe_due(Instant now) const noexcept;
  SegmentPlan make_mtu_probe(std::uint32_t size, Instant now) noexcept;
  void check_mtu_probe(Instant now) noexcept;
  void start_mtu_search(const MtuSearch& search, Instant now) noexcept;
  bool is_mtu_probe_lost(Instant now) noexcept;
  void forget_mss_limit() noexcept;
  void try_full_mss_later(Instant now) noexcept;
  [[nodiscard]] std::uint32_t least_mss() const noexcept;
  [[nodiscard]] std::uint32_t loss_window() const noexcept;

  // undo.cpp: recoveries that nothing had been lost for.
  void remember_for_undo(Instant now) noexcept;
  bool undo_spurious(const Segment& seg, const Delivery& delivery, bool advanced) noexcept;
  [[nodiscard]] bool is_echo_of_original(const Segment& seg) const noexcept;
  bool are_all_repeats_duplicates(const Delivery& delivery) noexcept;
  bool is_timeout_spurious(const Delivery& delivery, bool advanced) noexcept;
  void undo() noexcept;

  // timers.cpp
  void on_keepalive_timer(Instant now) noexcept;
  void arm_keepalive(Instant now) noexcept;
  bool gives_up(std::uint32_t attempts, Instant now) noexcept;

  // export_import.cpp
  void start_sending(const DelegatedState& delegated, const PathModel& path, Instant now) noexcept;
  void start_after_timeout(Instant now) noexcept;
  void start_fin(const DelegatedState& delegated) noexcept;
  void start_receiving(const DelegatedState& delegated, Instant now) noexcept;

  // application.cpp
  void set_state(TcpState state) noexcept;
  void enter_time_wait(Instant now) noexcept;
  void become_closed(std::uint32_t events) noexcept;
  void request_reset(SeqNum seq) noexcept;  // the peer gets a RST, then CLOSED
  void apply_cached() noexcept;
  [[nodiscard]] std::uint32_t path_mss() const noexcept;

  [[nodiscard]] static std::uint32_t us(Instant t) noexcept {
    return static_cast<std::uint32_t>(t.time_since_epoch().count() / 1000);
  }
  [[nodiscard]] std::uint32_t ts_now(Instant now) const noexcept {
    return ts_base_ + static_cast<std::uint32_t>((now - start_) / milliseconds(1));
  }
  [[nodiscard]] std::uint64_t position_of(SeqNum seq) const noexcept {
    return streams_.tx_range.begin + (seq - snd_una_);
  }

  // What each segment touches comes first, by lines of 64 bytes (layout_test.cpp).
  // Line 0: any segment, either way.
  TcpState state_;
  bool may_predict_ = false;  // ESTABLISHED, nothing out of order, nothing to repair
  bool ack_now_ = false;
  bool is_frozen_ = false;
  bool timestamps_, sack_;
  std::uint8_t snd_wind_shift_, rcv_wind_shift_;
  std::uint8_t retransmits_ = 0;     // expiries for the segment at snd_una
  std::uint8_t persist_probes_ = 0;  // unanswered
  std::uint8_t persist_backoff_ = 0, keepalive_probes_ = 0;
  std::uint8_t quick_acks_ = 0;
  std::uint8_t rto_backoff_ = retransmits_;  // expiries that no measured round trip has answered
  bool is_interactive_ : 1 = true;           // answers carry our ACKs (Linux's pingpong)
  bool was_cwnd_limited_ : 1 = false;
  bool has_rtt_since_probe_ = true;  // RFC 8985 7.3: probes must not keep the estimate from growing
  std::uint32_t events_ = 0;
  SeqNum rcv_nxt_;
  SeqNum rcv_adv_;            // right edge of the window we offered
  SeqNum last_ack_sent_;      // RFC 7323 4.3 Last.ACK.sent
  SeqNum snd_una_, snd_nxt_;  // nothing is ever unsent: snd_nxt is also SND.MAX
  SeqNum snd_wl1_, snd_wl2_;
  std::uint32_t snd_wnd_, max_snd_wnd_;
  std::uint32_t ts_recent_;
  std::uint32_t unacked_bytes_ = 0;  // received since the last ACK left
  // Line 1: what arrives.
  Instant ts_recent_time_;
  Instant last_received_, last_data_received_, last_sent_;
  std::uint64_t bytes_received_ = 0;
  std::uint32_t segments_in_ = 0, data_segments_in_ = 0;
  std::uint32_t rcv_mss_;
  std::uint32_t rx_limit_ = 0, tx_limit_ = 0;  // bytes of the rings that may be used
  std::uint32_t snd_mss_ = 536;                // before SACK blocks, after timestamps
  // Line 2.
  Streams streams_;
  // Line 3: what leaves.
  TimerTable timers_;
  std::uint32_t segments_out_ = 0, data_segments_out_ = 0;
  // Lines 4 and 5: new data, and its acknowledgment.
  SeqNum small_end_;  // end of the last small segment sent (Minshall)
  SeqNum round_end_, limited_end_;
  std::uint32_t max_in_flight_ = 0;
  std::uint32_t flight_size_ = 0;    // RFC 5681 FlightSize, when the last ACK came
  std::uint32_t rtt_sample_us_ = 0;  // of the last ACK; 0: none
  std::uint32_t told_lost_ = 0;      // of the board's total, to the congestion control
  std::uint32_t prr_out_ = 0;        // RFC 6937
  RttEstimator rtt_;
  Instant retransmission_deadline_ = kNever;  // when the RTO itself expires
  Instant last_progress_;                     // snd_una moved, or sending began
  RateSample rate_sample_;                    // of the last ACK
  Instant round_at_{};                        // when the round that is under way began
  Instant pacing_at_{};                       // what has left is paid for at this moment
  std::uint64_t bytes_acked_ = 0;
  // Line 6, and one of those behind it for what is marked.
  DeliveryRate rate_;
  // Lines 14 and 15: of the rest only BBR uses more.
  const CongestionAlgorithm* cc_algorithm_;
  CongestionState cc_;

  // Sending.
  Recovery recovery_ = Recovery::kOpen;
  Probe probe_ = Probe::kNone;
  bool is_persisting_ = false;
  bool is_push_forced_ = false;  // the persist timer overrides Nagle, cork and SWS avoidance
  bool is_fin_queued_ = false, is_fin_sent_ = false;
  bool is_reset_pending_ = false;
  bool is_closed_by_application_ = false;
  bool is_first_of_recovery_ = false;
  bool keeps_window_ = false;        // only a probe for a larger segment is being repaired
  bool is_cwr_due_ = false;          // RFC 3168 6.1.2: the next new segment carries CWR
  bool is_echo_due_ = false;         // RFC 3168 6.1.3: our ACKs carry ECE until CWR comes
  bool is_earlier_ack_due_ = false;  // RFC 8257 3.2: of what came before the marks began, or ended
  bool is_frto_ = false;             // RFC 5682: it is not decided whether the timeout was spurious
  bool sends_new_first_ = false;     // RFC 5682 2.1 step 2b
  bool has_reordering_ = false;      // RFC 8985 RACK.reordering_seen
  bool can_undo_ = false;            // by an echo (RFC 3522)
  bool is_tail_probe_again_ = false;
  bool has_tail_probe_ = false;
  std::uint8_t reo_wnd_mult_ = 1, reo_wnd_persist_ = 0;
  std::uint32_t mss_limit_ = 0;       // what a path that loses larger segments has carried; 0: none
  std::uint32_t mss_high_ = 0;        // and what it has not, or nobody has tried
  std::uint32_t mtu_probe_ = 0;       // size of the probe that is out; 0: none
  std::uint32_t kept_at_lost_ = 0;    // total_lost() when keeps_window_ began
  bool tries_full_mss_ = false;       // the next probe has all of mss_high_
  std::uint8_t mtu_probes_lost_ = 0;  // of the present size
  SeqNum mtu_probe_end_;
  Instant next_mtu_probe_ = kNever;
  SeqNum recover_;  // RFC 6582 recover, RFC 6675 RecoveryPoint
  SeqNum reset_seq_;
  SeqNum tail_probe_end_;
  SeqNum reo_round_end_;
  std::uint32_t duplicate_acks_ = 0, duplicate_bytes_ = 0;  // without SACK (RFC 6582)
  std::uint32_t prr_delivered_ = 0, recover_fs_ = 0;        // RFC 6937
  std::uint32_t undo_ts_ = 0;
  std::uint32_t undo_resent_ = 0;        // bytes sent again since, that no DSACK has named
  SeqNum undo_from_, undo_to_;           // all of them lie between
  std::uint32_t resent_unreported_ = 0;  // bytes ever sent again that no DSACK has named
  CongestionState undo_cc_;              // before the last reduction
  std::uint32_t max_segment_payload_;
  NewestDelivered rack_;  // RFC 8985 RACK.xmit_ts, RACK.end_seq
  std::uint32_t rack_rtt_us_ = 0;

  // Receiving.
  bool has_duplicate_ = false;  // RFC 2883: duplicate_ goes into the next ACK
  bool is_fin_known_ = false;   // fin_seq_ is the peer's FIN
  bool has_urgent_ = false, has_successor_ = false;
  bool is_peer_doubted_ = false;  // a blind attack, or is it gone? (reference 4.11)
  SackBlock duplicate_;
  SeqNum earlier_ack_;
  SeqNum fin_seq_;
  std::uint32_t rcv_rtt_us_ = 0;  // as the receiver sees it; 0: nothing yet
  std::uint32_t rtt_echo_ = 0;    // TSecr of the last sample
  SeqNum rtt_edge_;               // without timestamps: a window's worth of data ends here
  Instant rtt_edge_at_{};
  std::uint32_t copied_ = 0;       // by the application, since copied_since_
  std::uint32_t most_copied_ = 0;  // in any round trip
  Instant copied_since_{};

  // Clock, identity, counters.
  std::uint32_t ts_base_;
  Instant start_;
  Instant last_challenge_, last_syn_challenge_;
  Duration time_wait_, max_ack_delay_;
  ConstState constant_;
  CachedState cached_;
  std::uint32_t total_retransmits_ = 0;
  std::uint64_t bytes_resent_ = 0;
  std::uint32_t dsacks_ = 0, out_of_order_ = 0, reorderings_ = 0;
  std::uint64_t bytes_marked_ = 0;  // acknowledged with ECE

  SackScoreboard board_;
  Reassembly reassembly_;
};

// Board (6 KB) and intervals (3 KB) stand at the end and are not touched beyond their first lines
// without loss; what is left is below 2 KB, of which a segment that arrives writes four lines, and
// one that leaves nine (layout_test.cpp).
static_assert(sizeof(Connection) <= 12800);

}  // namespace snp::tcp
