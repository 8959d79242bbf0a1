#include "snp/steer/steering.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdarg>
#include <cstring>
#include <optional>
#include <vector>

#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "snp/base/assert.h"
#include "snp/base/byte_order.h"
#include "snp/base/unique_fd.h"
#include "snp/steer/clsact.h"
#include "snp/steer/tcx.h"

#include "bpf/shared/rss_hash.h"
#include "bpf/shared/steer_map.h"
#include "steer.skel.h"

namespace snp::steer {
namespace {

static_assert(kEngineMark == SNP_MARK_ENGINE && kReinjectMark == SNP_MARK_REINJECT);
static_assert(kByHash == SNP_SHARD_BY_HASH);
static_assert(rss::kIpv4 == SNP_RSS_IPV4 && rss::kTcpIpv4 == SNP_RSS_TCP_IPV4 &&
              rss::kIpv6 == SNP_RSS_IPV6 && rss::kIpv6Ex == SNP_RSS_IPV6_EX &&
              rss::kTcpIpv6 == SNP_RSS_TCP_IPV6 && rss::kTcpIpv6Ex == SNP_RSS_TCP_IPV6_EX);
static_assert(rss::kMaxInputBytes == SNP_RSS_MAX_INPUT);
static_assert(static_cast<int>(FlowSteering::kShadow) == SNP_FLOW_SHADOW &&
              static_cast<int>(FlowSteering::kHold) == SNP_FLOW_HOLD &&
              static_cast<int>(FlowSteering::kActive) == SNP_FLOW_ACTIVE &&
              static_cast<int>(FlowSteering::kReturn) == SNP_FLOW_RETURN &&
              static_cast<int>(FlowSteering::kFollow) == SNP_FLOW_FOLLOW);

// libbpf would print to stderr what our errors say in one line.
int print_nothing(libbpf_print_level, const char*, va_list) {
  return 0;
}

snp_flow_key make_key(const FourTuple& flow) {
  snp_flow_key key{};
  std::memcpy(key.local, flow.local.address.bytes.data(), sizeof(key.local));
  std::memcpy(key.remote, flow.remote.address.bytes.data(), sizeof(key.remote));
  const be16 local_port = flow.local.port;
  const be16 remote_port = flow.remote.port;
  std::memcpy(&key.local_port, &local_port, sizeof(local_port));
  std::memcpy(&key.remote_port, &remote_port, sizeof(remote_port));
  return key;
}

Failure explain_load(int error) {
  if (error == EPERM || error == EACCES)
    return Failure(
        Error{Errc::kDenied, error,
              "cannot load the steering programs: CAP_BPF and CAP_NET_ADMIN are missing; "
              "run snpd as root or give it these capabilities"});
  return Failure(Error{Errc::kUnsupported, error,
                       std::string("cannot load the steering programs: ") +
                           ::strerrordesc_np(error) +
                           "; Linux 5.15 or later with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and "
                           "CONFIG_NET_SCH_INGRESS is needed"});
}

// The programs expect an Ethernet header.
Result<> check_device(std::uint32_t ifindex) {
  ifreq request{};
  if (::if_indextoname(ifindex, request.ifr_name) == nullptr)
    return fail(Errc::kNotFound, "no device has the index " + std::to_string(ifindex) +
                                     "; `ip link` lists the devices of this network namespace");
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return fail_errno("cannot open a socket");
  if (::ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0)
    return fail_errno(std::string("cannot ask for the type of ") + request.ifr_name);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
    return fail(Errc::kUnsupported,
                std::string(request.ifr_name) +
                    " is not an Ethernet device; its connections stay in the host");
  return {};
}

class BpfSteering final : public Steering {
 public:
  BpfSteering(steer_bpf* programs, Hook hook)
      : programs_(programs),
        hook_(hook),
        accounts_(::bpf_map__max_entries(programs->maps.snp_accounts)) {}
  BpfSteering(const BpfSteering&) = delete;
  BpfSteering& operator=(const BpfSteering&) = delete;
  ~BpfSteering() override {
    undo();
    if (account_memory_ != nullptr) ::munmap(account_memory_, account_bytes());
    steer_bpf__destroy(programs_);
  }

  // The programs' own memory, which every process after a fork shares.
  Result<> map_accounts() {
    void* memory = ::mmap(nullptr, account_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED,
                          ::bpf_map__fd(programs_->maps.snp_accounts), 0);
    if (memory == MAP_FAILED) return fail_errno("cannot map the accounts of flows");
    account_memory_ = static_cast<snp_account*>(memory);
    return {};
  }

  Result<> attach(std::uint32_t ifindex) override {
    if (auto fit = check_device(ifindex); !fit) return fit;
    const DevicePrograms programs = {::bpf_program__fd(programs_->progs.snp_ingress),
                                     ::bpf_program__fd(programs_->progs.snp_egress)};
    const bool is_tcx = hook_ == Hook::kTcx;
    if (!(is_tcx ? is_attached_to_tcx : is_attached_to_clsact)(ifindex, programs)) {
      if (auto clean = cleanup(ifindex); !clean) return clean;
      if (auto result = (is_tcx ? attach_to_tcx : attach_to_clsact)(ifindex, programs); !result)
        return result;
    }
    if (std::find(devices_.begin(), devices_.end(), ifindex) == devices_.end())
      devices_.push_back(ifindex);
    return {};
  }

  Result<> detach(std::uint32_t ifindex) override {
    const auto found = std::find(devices_.begin(), devices_.end(), ifindex);
    if (found == devices_.end())
      return fail(Errc::kNotFound, "no steering on device " + std::to_string(ifindex));
    devices_.erase(found);
    return cleanup(ifindex);
  }

  Result<> rest(std::uint32_t ifindex) override {
    return hook_ == Hook::kTcx ? remove_from_tcx(ifindex) : Result<>();
  }

  void detach_all() noexcept override { undo(); }
  void disown() noexcept override { devices_.clear(); }

  Result<> set(const FourTuple& flow, FlowSteering state, std::uint32_t shard) override {
    return set(flow, state, shard, std::nullopt);
  }
  Result<> set(const FourTuple& flow, FlowSteering state, std::uint32_t shard,
               AccountId account) override {
    SNP_ASSERT(account < accounts_);
    return set(flow, state, shard, std::optional(account));
  }

  Result<> set(const FourTuple& flow, FlowSteering state, std::uint32_t shard,
               std::optional<AccountId> account) {
    const snp_flow_key key = make_key(flow);
    snp_flow_value value{};
    const bool is_new = ::bpf_map_lookup_elem(map(), &key, &value) != 0;
    value.state = static_cast<std::uint32_t>(state);
    value.shard = shard;
    if (account) value.account = *account;
    // Counted before it is there, or the programs would not look for it.
    if (is_new) count(key, 1);
    if (::bpf_map_update_elem(map(), &key, &value, BPF_ANY) == 0) {
      forget_recent();
      return {};
    }
    const int error = errno;
    if (is_new) count(key, -1);
    if (error == E2BIG)
      return fail(Errc::kFull, "the flow map is full; raise the number of connections");
    return fail_errno("cannot steer " + to_string(flow), error);
  }

  Result<> let_follow(const FourTuple& flow, std::uint32_t shard, AccountId account,
                      std::optional<SeqNum> next) override {
    SNP_ASSERT(account < accounts_ && account != kNobodysAccount);
    set_next(account, next ? SNP_NEXT_KNOWN | next->value() : SNP_NEXT_UNKNOWN);
    return set(flow, FlowSteering::kFollow, shard, account);
  }
  void recall(AccountId account) override {
    SNP_ASSERT(account < accounts_);
    set_next(account, SNP_NEXT_NOTHING);
  }

  void end_following() noexcept override {
    std::vector<snp_flow_key> found;
    snp_flow_key key{};
    snp_flow_value value{};
    for (const snp_flow_key* last = nullptr; ::bpf_map_get_next_key(map(), last, &key) == 0;
         last = &key)
      if (::bpf_map_lookup_elem(map(), &key, &value) == 0 && value.state == SNP_FLOW_FOLLOW)
        found.push_back(key);
    for (const snp_flow_key& one : found)
      (void)remove(one);
  }

  Result<> remove(const FourTuple& flow) override {
    if (const int error = remove(make_key(flow)); error == ENOENT)
      return fail(Errc::kNotFound, to_string(flow) + " is not steered");
    else if (error != 0)
      return fail_errno("cannot stop steering " + to_string(flow), error);
    return {};
  }

  [[nodiscard]] AccountCounters counters(AccountId account) const override {
    SNP_ASSERT(account < accounts_);
    snp_account& counted = account_memory_[account];
    const auto value = [](__u64& of) {
      return std::atomic_ref<__u64>(of).load(std::memory_order_relaxed);
    };
    return {value(counted.taken_frames),   value(counted.taken_octets),
            value(counted.taken_segments), value(counted.fenced_frames),
            value(counted.fenced_octets),  value(counted.fenced_segments),
            value(counted.fenced_resets)};
  }

  [[nodiscard]] Result<AccountCounters> counters(const FourTuple& flow) const override {
    const snp_flow_key key = make_key(flow);
    snp_flow_value value{};
    if (::bpf_map_lookup_elem(map(), &key, &value) != 0)
      return fail(Errc::kNotFound, to_string(flow) + " is not steered");
    return counters(value.account);
  }

  Result<> distribute(const Distribution& distribution) override {
    const auto entries = static_cast<std::uint32_t>(distribution.shards.size());
    if (!std::has_single_bit(entries) || entries > SNP_RSS_MAX_ENTRIES)
      return fail(Errc::kInvalid, "a table has a power of two of entries, up to " +
                                      std::to_string(SNP_RSS_MAX_ENTRIES) + ", not " +
                                      std::to_string(entries));
    snp_rss& rss = programs_->bss->snp_rss;
    const rss::ToeplitzTable key(distribution.key);
    static_assert(sizeof(rss.key) == sizeof(rss::ToeplitzTable::Table));
    std::memcpy(rss.key, key.table().data(), sizeof(rss.key));
    std::ranges::copy(distribution.shards, rss.shards);
    std::ranges::fill(rss.packets, 0);
    rss.mask = entries - 1;
    rss.default_shard = distribution.default_shard;
    rss.types = distribution.types;
    return {};
  }

  void move_bucket(std::uint32_t bucket, std::uint32_t shard) override {
    snp_rss& rss = programs_->bss->snp_rss;
    SNP_ASSERT(bucket <= rss.mask);
    std::atomic_ref(rss.shards[bucket]).store(shard, std::memory_order_release);
  }

  [[nodiscard]] std::vector<std::uint64_t> bucket_packets() const override {
    snp_rss& rss = programs_->bss->snp_rss;
    std::vector<std::uint64_t> packets;
    for (std::uint32_t bucket = 0; bucket <= rss.mask; ++bucket)
      packets.push_back(
          std::atomic_ref<unsigned long long>(rss.packets[bucket]).load(std::memory_order_relaxed));
    return packets;
  }

  [[nodiscard]] int socket_filter_fd() const override {
    return ::bpf_program__fd(programs_->progs.snp_socket);
  }
  [[nodiscard]] int fanout_fd() const override {
    return ::bpf_program__fd(programs_->progs.snp_fanout);
  }

 private:
  void undo() noexcept {
    for (const std::uint32_t ifindex : devices_)
      (void)cleanup(ifindex);  // the device may be gone, its hooks with it
    devices_.clear();
  }
  [[nodiscard]] int map() const { return ::bpf_map__fd(programs_->maps.snp_flows); }
  // In memory that the programs and every process after a fork share; one of them writes at a time.
  void count(const snp_flow_key& key, int change) const {
    volatile std::uint32_t& bucket = programs_->bss->snp_flow_buckets[snp_flow_bucket(&key)];
    volatile std::uint32_t& all = programs_->bss->snp_flow_count;
    bucket = bucket + static_cast<std::uint32_t>(change);
    all = all + static_cast<std::uint32_t>(change);
  }

  void set_next(AccountId account, std::uint64_t next) const {
    std::atomic_ref<__u64>(account_memory_[account].next).store(next);
  }

  // 0, or why not.
  int remove(const snp_flow_key& key) const noexcept {
    if (::bpf_map_delete_elem(map(), &key) != 0) return errno;
    count(key, -1);
    forget_recent();
    return 0;
  }

  // What the programs remember of the map is old from here on.
  void forget_recent() const { std::atomic_ref(programs_->bss->snp_flow_generation).fetch_add(1); }

  [[nodiscard]] std::size_t account_bytes() const { return accounts_ * sizeof(snp_account); }

  steer_bpf* programs_;
  const Hook hook_;
  const std::uint32_t accounts_;
  snp_account* account_memory_ = nullptr;
  std::vector<std::uint32_t> devices_;
};

}  // namespace

Result<std::unique_ptr<Steering>> Steering::load(std::uint32_t max_flows, Hook hook) {
  ::libbpf_set_print(print_nothing);
  steer_bpf* programs = steer_bpf__open();
  if (programs == nullptr) return explain_load(errno);
  ::bpf_map__set_max_entries(programs->maps.snp_flows, max_flows);
  ::bpf_map__set_max_entries(programs->maps.snp_accounts, max_flows);
  if (const int error = steer_bpf__load(programs); error != 0) {
    steer_bpf__destroy(programs);
    return explain_load(-error);
  }
  programs->bss->snp_flow_generation = 1;  // newer than what a CPU remembers of nothing
  auto steering = std::make_unique<BpfSteering>(programs, hook);
  if (auto mapped = steering->map_accounts(); !mapped) return tl::unexpected(mapped.error());
  return steering;
}

Hook Steering::best_hook() {
  return has_tcx() ? Hook::kTcx : Hook::kClsact;
}

Result<> Steering::cleanup(std::uint32_t ifindex) {
  ::libbpf_set_print(print_nothing);
  if (auto clean = remove_from_tcx(ifindex); !clean) return clean;
  return remove_from_clsact(ifindex);
}

}  // namespace snp::steer
